"""The jobs that are submitted to a cluster: ``python -m jobs.NAME``."""
