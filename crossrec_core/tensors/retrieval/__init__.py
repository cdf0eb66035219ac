"""Vectors of users and of a catalogue in, each user's best unseen items out: exactly, in eight bits, by cells."""
