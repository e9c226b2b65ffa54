"""Measures of a run for monitoring: what its steps compute, and gauges for Prometheus."""
