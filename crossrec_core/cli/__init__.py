"""The `crossrec` command: the door for ad-hoc work on a published lake, without Spark."""
