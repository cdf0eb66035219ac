"""Known events in, simple models out: what a network must beat, and the prior inside it."""
