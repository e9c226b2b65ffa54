"""What happens to waveforms on the training device: augmentation, front ends and SpecAugment."""
