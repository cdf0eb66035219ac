"""Outside packages as floors: each in an environment of its own, on our events, measured by our metrics."""
