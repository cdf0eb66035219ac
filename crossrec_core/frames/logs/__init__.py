"""Raw files in, clean events and rejects with a reason out."""
