"""Lists and truth in, metrics with intervals and the guard's decisions out."""
