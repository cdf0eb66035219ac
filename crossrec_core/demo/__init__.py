"""Data to try CrossRec with: a generated world whose right answers are known, and MovieLens."""
