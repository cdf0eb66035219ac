"""Item texts in, whitened vectors out."""
