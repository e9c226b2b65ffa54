"""Benchmarks of the loss, the step and the data path, each against its twin and against peers in the same run."""
