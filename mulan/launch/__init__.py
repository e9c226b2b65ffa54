"""Training on a Ray cluster: Ray Train, its policies, checks before the start, and progress on the terminal."""
