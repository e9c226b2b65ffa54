"""Distributed training of joint music-text embeddings.

``mulan.MuLan`` loads a trained model and embeds audio and text; ``mulan.AudioBackbone`` loads a trained audio encoder
without texts; ``mulan.Tagger`` loads a trained tagger. They are imported at first use, so that commands that only read
a recipe do not wait for torch.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mulan.model.inference.backbone import AudioBackbone
    from mulan.model.inference.mulan import MuLan
    from mulan.model.inference.tagger import Tagger

__version__ = "0.1.0"
__all__ = ["AudioBackbone", "MuLan", "Tagger", "__version__"]


def __getattr__(name: str) -> Any:
    if name == "MuLan":
        from mulan.model.inference.mulan import MuLan

        return MuLan
    if name == "AudioBackbone":
        from mulan.model.inference.backbone import AudioBackbone

        return AudioBackbone
    if name == "Tagger":
        from mulan.model.inference.tagger import Tagger

        return Tagger
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
