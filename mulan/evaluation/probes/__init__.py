"""Probes: small classifiers and regressions that are trained on frozen vectors, to measure what these contain."""
