"""A run's folder: recipe, metrics, events, checkpoints, exported model, and the lease of its driver."""
