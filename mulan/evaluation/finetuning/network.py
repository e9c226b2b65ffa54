"""The network that is trained end to end: the audio encoder of an exported model with a linear head."""

import torch

from mulan.config.audio import PretrainedTowerConfig
from mulan.evaluation.encoders.exported import read_exported_config
from mulan.model.inference.exported import build_audio_encoder
from mulan.model.inference.files import open_model_folder
from mulan.model.tagging import TaggingModel

_ENCODER = "audio_encoder."
"""Prefix of the audio encoder's tensors in an exported model of any kind."""


def end_to_end_network(uri: str, *, outputs: int, from_scratch: bool, seed: int) -> TaggingModel:
    """Builds the audio encoder of an exported model with a new linear head, on the CPU.

    The projection of a joint model and the classifier of a tagger are left out. A checkpoint's network that was frozen
    in training is not frozen here.

    Args:
        uri: Path or URI of a folder that mulan exported.
        outputs: Number of outputs of the head.
        from_scratch: Whether the encoder has random weights too, those of the encoder ``untrained`` with this seed.
        seed: Seed of random weights.

    Raises:
        ModelFolderError: The folder does not exist or is incomplete, or is not compatible with this version.
        StorageError: The storage does not respond.
    """
    with open_model_folder(uri) as folder:
        config = read_exported_config(folder)
        if isinstance(config.audio_tower, PretrainedTowerConfig):
            config = config.replace({"audio_tower.frozen": False})
        with torch.random.fork_rng(devices=[]):  # leaves the caller's generator unchanged
            torch.manual_seed(seed)
            network = TaggingModel(build_audio_encoder(folder, config), classes=outputs)
        if not from_scratch:
            folder.load_weights(network.audio_encoder, prefix=_ENCODER)
    return network
