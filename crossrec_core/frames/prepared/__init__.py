"""Clean events in, what every model stands on out: numbers, splits, sequences, histories, popularity, truth."""
