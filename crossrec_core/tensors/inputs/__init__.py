"""Parquet and pandas in, batches of tensors out."""
