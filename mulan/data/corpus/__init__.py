"""A corpus on storage: WebDataset tar shards and the Parquet index over them, written, adopted and read."""
