"""Several models in, one score out: what each says of a candidate, weighed."""
