"""Runs the parsers of files of others on mutated inputs: ``make fuzz``."""
