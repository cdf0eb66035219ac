"""Pairs of a user and an item in, click probabilities out: P(y=1|u,c), calibrated."""
