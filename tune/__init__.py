"""Sweeps: search spaces, the trial, and the sweep over Ray Tune."""
