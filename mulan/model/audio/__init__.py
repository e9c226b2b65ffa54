"""Audio processing on the device: waveform augmentation, front ends and SpecAugment."""
