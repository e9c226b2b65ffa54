"""Metrics of tagging and retrieval, and their distribution over resampled recordings."""
