"""Tasks in, heads out that a user's few events adapt; and where they help."""
