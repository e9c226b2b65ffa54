"""Collectives, and sums over workers that are bitwise independent of the order and number of workers."""
