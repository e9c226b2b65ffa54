"""Benchmarks against simple reference implementations and other libraries, measured in the same run."""
