"""Runs that are disturbed as spot machines, users and chance disturb them, held against runs that are not."""
