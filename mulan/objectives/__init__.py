"""Loss terms over the global batch and over single micro-batches."""
