"""Artifact folders in, a function from users to ranked lists out: what a Spark worker runs."""
