"""Counted and factorised models in, scores out: nothing here is learned by gradients."""
