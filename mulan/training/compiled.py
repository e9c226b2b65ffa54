"""Towers under ``torch.compile``."""

import torch._inductor.config

from mulan.model.joint import JointModel
from mulan.model.tagging import TaggingModel


def compile_towers(model: JointModel | TaggingModel) -> None:
    """Compiles, in place and at their first use, the audio network and the text encoder; names of weights stay.

    Random numbers stay torch's own: gradient caching runs a micro-batch again and must meet the same dropout, and the
    compiler's own numbers differ between a forward with and one without gradient.
    """
    torch._inductor.config.fallback_random = True
    model.audio_encoder.tower.compile()
    if isinstance(model, JointModel):
        model.text_tower.encoder.compile()
