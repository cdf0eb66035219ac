"""Batches and a network in, a trained one out: losses, the steps of every stage, the one loop."""
