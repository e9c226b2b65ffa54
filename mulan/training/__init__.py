"""Training: the step, the engine (DeepSpeed), the loop, checkpoints, and the fit (Ray Train)."""
