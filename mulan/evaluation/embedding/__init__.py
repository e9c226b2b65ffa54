"""Embedding of the recordings of a corpus: with Ray, in one process, or from files of earlier evaluations."""
