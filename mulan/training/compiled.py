"""Towers under ``torch.compile``."""

import torch._inductor.config

from mulan.model.build import Model
from mulan.model.fusion import FusionModel
from mulan.model.joint import JointModel


def compile_towers(model: Model) -> None:
    """Compiles, in place and at their first use, the audio network and the text encoder; names of weights stay.

    Random numbers stay torch's own: gradient caching runs a micro-batch again and must meet the same dropout, and the
    compiler's own numbers differ between a forward with and one without gradient.
    """
    torch._inductor.config.fallback_random = True
    model.audio_encoder.tower.compile()
    if isinstance(model, JointModel | FusionModel):
        model.text_tower.encoder.compile()
