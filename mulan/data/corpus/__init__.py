"""Corpora, and how they are written, adopted and read: WebDataset tar shards with a Parquet index."""
