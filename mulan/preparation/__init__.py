"""Preparation of corpora: sources of recordings and texts, their filters, and the job that writes shards."""
