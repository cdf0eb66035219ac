"""The doors that nightly runs go through."""
