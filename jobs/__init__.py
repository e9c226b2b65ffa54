"""What is submitted to a cluster: ``python -m jobs.NAME``."""
