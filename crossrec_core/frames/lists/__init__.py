"""Users in, ranked lists out, by a scorer that is handed in."""
