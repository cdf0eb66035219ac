"""The Spark room: DataFrame in, DataFrame out."""
