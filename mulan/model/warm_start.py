"""Initial weights of an audio tower from a pretrained network (MuLan §3.2)."""

import math
from collections.abc import Iterator
from pathlib import Path

import safetensors.torch
import torch
from pydantic import ValidationError
from safetensors import SafetensorError
from torch import Tensor, nn
from transformers import ASTConfig, ASTFeatureExtractor, ASTModel

from mulan.config.audio import AstTowerConfig, AudioTowerConfig, FrontEndConfig
from mulan.config.base import Section
from mulan.config.parsing import parse_json
from mulan.model.audio.extractors import ast_section
from mulan.model.inference.files import CONFIG, WEIGHTS, EncoderConfig, TaggerConfig, config_faults, weights_fault
from mulan.model.towers.audio import AstAudioTower, AudioTower
from mulan.model.towers.pretrained_networks import load_network
from mulan.storage import filesystem
from mulan.storage.hub import AST_CHECKPOINT, PretrainedError, RequiredFiles, loading
from mulan.storage.weights_cache import cached_folder, weights_folder

TRUNK = "audio_encoder.tower."
"""Prefix of the audio tower's weights in an exported model."""

_AST_FIELDS = {
    "hidden_size": ("hidden_size",),
    "layers": ("num_hidden_layers",),
    "heads": ("num_attention_heads",),
    "feed_forward_size": ("intermediate_size",),
    "patch_size": ("patch_size",),
    "patch_stride": ("frequency_stride", "time_stride"),
}
"""Fields of the section, with their names in ``transformers``."""
_AST_CONSTANTS = ("hidden_act", "layer_norm_eps", "qkv_bias")
"""Fields of ``transformers`` that are constant in the tower but may differ in a checkpoint."""

_TRAINING_ONLY = {"pretrained", "expects_pretrained", "dropout", "frequency_mask_bins", "time_mask_frames"}
"""Fields that do not affect the output in evaluation mode, and may therefore differ between two runs."""

_AST_REMEDY = "Set audio_tower.pretrained to an AST checkpoint saved by transformers."
_EXPORTED = RequiredFiles("audio_tower.pretrained", {"configuration": (CONFIG,), "weights": (WEIGHTS,)}, ())
_TRUNK_REMEDY = "Set audio_tower.pretrained to the folder of an exported tagger or audio encoder."

Grid = tuple[int, int]
"""Number of patches along mel channels and along time."""


def warm_start(tower: AudioTower, section: AudioTowerConfig, *, front_end: FrontEndConfig, sample_rate_hz: int) -> None:
    """Loads the weights that ``section.pretrained`` names into a tower that was built from the section.

    Raises:
        PretrainedError: The weights do not exist, belong to another kind of network, or were trained with a different
            structure or front end; the message lists all fields that differ from the recipe.
    """
    if isinstance(tower, AstAudioTower):
        assert isinstance(section, AstTowerConfig)
        _load_ast(tower, section, front_end, sample_rate_hz)
    else:
        _load_trunk(tower, section, front_end, sample_rate_hz)


def interpolate_positions(embeddings: Tensor, grid: Grid, target: Grid) -> Tensor:
    """Interpolates position embeddings bilinearly to another grid of patches.

    Where the target has fewer columns, the code of AST's authors cuts them from the middle of the grid instead. For
    windows of 10 s, 99 columns of the public checkpoint's 101, the two differ by at most one column.

    Args:
        embeddings: [1, 2 + patches of ``grid``, D]; the first two, [CLS] and distillation, are kept.

    Returns:
        [1, 2 + patches of ``target``, D]; ``embeddings`` themselves if the grids are equal.
    """
    if grid == target:
        return embeddings
    tokens, patches = embeddings[:, :2], embeddings[:, 2:]
    image = patches.mT.reshape(1, -1, *grid)
    resized = nn.functional.interpolate(image, size=target, mode="bilinear", align_corners=False)
    return torch.cat([tokens, resized.flatten(2).mT], dim=1)


def _load_ast(tower: AstAudioTower, section: AstTowerConfig, front_end: FrontEndConfig, sample_rate_hz: int) -> None:
    spec = section.pretrained
    folder = weights_folder(spec, AST_CHECKPOINT)
    config = _ast_config(spec, folder)
    tower_config: ASTConfig = tower.network.config
    faults = dict.fromkeys(  # mel_channels is a field of both
        [*_ast_structure(config, section, tower_config), *_ast_front_end(spec, folder, front_end, sample_rate_hz)]
    )
    if faults:
        raise PretrainedError(spec, list(faults), "Set these fields of the recipe to the checkpoint's values.")
    network = load_network(ASTModel, spec, folder, config, remedy=_AST_REMEDY)
    weights = network.state_dict()
    positions = "embeddings.position_embeddings"
    shape = network.embeddings.get_shape
    weights[positions] = interpolate_positions(weights[positions], shape(config), shape(tower_config))
    # the tower has no key biases
    tower.network.load_state_dict({name: weights[name] for name in tower.network.state_dict()})


def _ast_config(spec: str, folder: Path) -> ASTConfig:
    with loading(spec, "cannot be loaded", _AST_REMEDY):
        values = parse_json((folder / CONFIG).read_bytes())
        kind = values.get("model_type") if isinstance(values, dict) else None
        if kind != ASTConfig.model_type:
            raise ValueError(f"{CONFIG} describes {kind or 'no model of transformers'}, not {ASTConfig.model_type}")
        return ASTConfig.from_dict(values)


def _ast_structure(config: ASTConfig, section: AstTowerConfig, tower_config: ASTConfig) -> Iterator[str]:
    """Yields the differences between the structures of the checkpoint and of the recipe's tower."""
    for field, names in _AST_FIELDS.items():
        values = [getattr(config, name) for name in names]
        if any(value != getattr(section, field) for value in values):
            described = " by ".join(map(str, dict.fromkeys(values)))
            yield _difference(f"audio_tower.{field}", described, getattr(section, field))
    if config.num_mel_bins != tower_config.num_mel_bins:
        yield _difference("front_end.mel_channels", config.num_mel_bins, tower_config.num_mel_bins)
    for name in _AST_CONSTANTS:
        theirs, ours = getattr(config, name), getattr(tower_config, name)
        if theirs != ours:
            yield f"{name} is {theirs} in the checkpoint, but always {ours} in mulan"


def _ast_front_end(spec: str, folder: Path, front_end: FrontEndConfig, sample_rate_hz: int) -> Iterator[str]:
    """Yields the differences between the front end and the checkpoint's feature extractor."""
    if not (folder / "preprocessor_config.json").is_file():
        return
    with loading(spec, "preprocessor_config.json cannot be read", "Restore it, or remove it to skip this check."):
        extractor = ASTFeatureExtractor.from_pretrained(folder, local_files_only=True)
        trained_with = ast_section(extractor)
    yield from _differences("front_end", trained_with, front_end)
    if extractor.sampling_rate != sample_rate_hz:
        yield _difference("data.sample_rate_hz", extractor.sampling_rate, sample_rate_hz)


def _load_trunk(tower: AudioTower, section: AudioTowerConfig, front_end: FrontEndConfig, sample_rate_hz: int) -> None:
    spec = section.pretrained
    try:
        folder = cached_folder(spec, _EXPORTED)
        config = _exported_config(filesystem.read_bytes(filesystem.join(folder, CONFIG)))
        weights = safetensors.torch.load(filesystem.read_bytes(filesystem.join(folder, WEIGHTS)))
    except ValidationError as error:
        raise PretrainedError(spec, config_faults(error), _TRUNK_REMEDY) from error
    except PretrainedError:
        raise
    except (OSError, ValueError, ImportError, SafetensorError) as error:
        raise PretrainedError(spec, [f"cannot be read: {error}"], _TRUNK_REMEDY) from error
    faults = [
        *_differences("front_end", config.front_end, front_end),
        *_differences("audio_tower", config.audio_tower, section),
    ]
    if config.sample_rate_hz != sample_rate_hz:
        faults.append(_difference("data.sample_rate_hz", config.sample_rate_hz, sample_rate_hz))
    if faults:
        raise PretrainedError(spec, faults, "Set these fields of the recipe to the values of the run that exported it.")
    trunk = {name.removeprefix(TRUNK): tensor for name, tensor in weights.items() if name.startswith(TRUNK)}
    try:
        tower.load_state_dict(trunk)
    except RuntimeError as error:
        raise PretrainedError(spec, [weights_fault(error)], _TRUNK_REMEDY) from error


def _exported_config(content: bytes) -> TaggerConfig | EncoderConfig:
    values = parse_json(content)
    file_format = values.get("format") if isinstance(values, dict) else None
    for kind in (TaggerConfig, EncoderConfig):
        if kind.model_fields["format"].default == file_format:
            return kind.model_validate(values)
    if isinstance(values, dict) and "model_type" in values:
        raise ValueError(
            f"{CONFIG} is that of a checkpoint of transformers, which needs audio_tower.family and front_end.family = "
            "pretrained or, for AST, audio_tower.family = ast and front_end.family = kaldi"
        )
    raise ValueError(f"{CONFIG} has format {file_format!r}, which is not that of a tagger or an audio encoder")


def _differences(name: str, checkpoint: Section, recipe: Section) -> Iterator[str]:
    """Yields the differing fields of a section, of which only ``family`` if that differs."""
    theirs, ours = checkpoint.model_dump(), recipe.model_dump()
    fields = ["family"] if theirs["family"] != ours["family"] else theirs.keys() - _TRAINING_ONLY
    for field in sorted(fields):
        if not _is_close(theirs[field], ours[field]):
            yield _difference(f"{name}.{field}", theirs[field], ours[field])


def _difference(field: str, checkpoint: object, recipe: object) -> str:
    return f"{field} is {checkpoint} in the checkpoint, {recipe} in the recipe"


def _is_close(one: object, other: object) -> bool:
    if isinstance(one, float) and isinstance(other, float):
        return math.isclose(one, other, rel_tol=1e-6)
    return one == other
