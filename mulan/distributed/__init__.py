"""Collectives, and sums over workers whose bits do not depend on the order or the number of workers."""
