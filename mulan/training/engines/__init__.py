"""Engines: a model under an optimizer on one worker, by DeepSpeed or in plain PyTorch."""
