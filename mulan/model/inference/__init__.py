"""Exported models: written to a folder, loaded from a path or URI, and used for embeddings."""
