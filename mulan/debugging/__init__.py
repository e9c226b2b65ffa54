"""A step of a run, replayed and taken apart."""
