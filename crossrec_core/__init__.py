"""CrossRec: cross-domain batch recommendation on Spark and PyTorch."""

__version__ = "0.1.0"
