"""The data path from a corpus to batches: the plan, the reader, the Batch contract and the Ray Data pipeline."""
