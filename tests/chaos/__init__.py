"""Compares runs that are disturbed by killed processes and preempted machines with undisturbed runs."""
