"""Collectives, and sums over workers that are bitwise independent of their number and order."""
