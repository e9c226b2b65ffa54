"""Engines, which hold a model and its optimizer on one worker: DeepSpeed and plain PyTorch."""
