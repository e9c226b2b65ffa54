"""Encoders that can be evaluated: exported models, other projects' models, stored vectors, and baselines."""
