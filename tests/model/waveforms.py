"""Waveforms, and chains of augmentation, of which some steps alone are on."""

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mulan.config.audio import AugmentationConfig
from mulan.model.audio.augmentation import WaveformAugmentation

STEPS = ["gain", "polarity", "noise", "filter", "pitch", "delay"]
RATE_HZ = 8000


def chain(*steps: str, sample_rate_hz: int = RATE_HZ, **settings: Any) -> WaveformAugmentation:
    """Changes all examples, by these steps alone unless their probabilities are given."""
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
    """Of a frequency that is this share of the sample rate."""
    return (
        (0.5 * torch.sin(2 * math.pi * share * torch.arange(samples, dtype=torch.float64))).float().repeat(examples, 1)
    )


def ratio_db(signal: Tensor, other: Tensor) -> np.ndarray:
    """[n], of the energies of [n, samples] both."""
    energy, other_energy = (each.double().square().sum(dim=-1).numpy() for each in (signal, other))
    return 10 * np.log10(energy / other_energy)
