"""Sequences of events in, vectors out: item vectors, the encoders and their parts, and the folder that keeps them."""
