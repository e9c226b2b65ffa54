"""Writing, adopting and reading of corpora: WebDataset tar shards with a Parquet index."""
