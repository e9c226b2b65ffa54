"""Collections of audio: the vectors of all recordings of a corpus, a folder or a table, as Parquet files."""
