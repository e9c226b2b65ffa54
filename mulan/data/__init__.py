"""From shards to batches: index and shards, the plan, audio, text, the Batch contract and the Ray Data pipeline."""
