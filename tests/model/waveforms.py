"""Waveforms, and augmentation chains with selected steps."""

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mulan.config.augmentation import AugmentationConfig
from mulan.model.audio.augmentation import WaveformAugmentation

STEPS = ["gain", "polarity", "noise", "filter", "pitch", "delay"]
RATE_HZ = 8000


def chain(*steps: str, sample_rate_hz: int = RATE_HZ, **settings: Any) -> WaveformAugmentation:
    """Returns an augmentation that applies only these steps, to all examples unless probabilities are given."""
    probabilities = {f"{step}_probability": float(step in steps) for step in STEPS}
    section = AugmentationConfig(**({"probability": 1.0} | probabilities | settings))
    return WaveformAugmentation(section, sample_rate_hz=sample_rate_hz).train()


def augmented(augmentation: WaveformAugmentation, waveform: Tensor, *, seed: int = 0) -> Tensor:
    torch.manual_seed(seed)
    return augmentation(waveform)


def white(examples: int, samples: int, *, seed: int = 1) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(examples, samples, generator=generator) - 0.5


def impulses(examples: int, samples: int) -> Tensor:
    waveform = torch.zeros(examples, samples)
    waveform[:, 0] = 1
    return waveform


def sines(examples: int, samples: int, *, share: float = 0.05) -> Tensor:
    """Returns sines whose frequency is this share of the sample rate."""
    return (
        (0.5 * torch.sin(2 * math.pi * share * torch.arange(samples, dtype=torch.float64))).float().repeat(examples, 1)
    )


def ratio_db(signal: Tensor, other: Tensor) -> np.ndarray:
    """Returns the ratio of the energies of two tensors [n, samples] in decibels, [n]."""
    energy, other_energy = (each.double().square().sum(dim=-1).numpy() for each in (signal, other))
    return 10 * np.log10(energy / other_energy)
