"""First weights of an audio tower from a network that was trained before (MuLan §3.2)."""

import json
import math
from collections.abc import Iterator
from pathlib import Path

import safetensors.torch
import torch
from pydantic import ValidationError
from safetensors import SafetensorError
from torch import Tensor, nn
from transformers import ASTConfig, ASTFeatureExtractor, ASTModel

from mulan.config.audio import AstTowerConfig, AudioTowerConfig, FrontEndConfig, KaldiFrontEndConfig
from mulan.config.base import Section
from mulan.model.inference.files import CONFIG, WEIGHTS, EncoderConfig, TaggerConfig, config_faults
from mulan.model.towers.audio import AstAudioTower, AudioTower
from mulan.model.towers.pretrained_networks import load_network
from mulan.storage import filesystem
from mulan.storage.hub import AST_CHECKPOINT, Needed, PretrainedError, loading
from mulan.storage.weights_cache import on_this_machine, weights_folder

TRUNK = "audio_encoder.tower."
"""What the names of the audio tower's weights begin with in an exported model."""

_AST_FIELDS = {
    "hidden_size": ("hidden_size",),
    "layers": ("num_hidden_layers",),
    "heads": ("num_attention_heads",),
    "feed_forward_size": ("intermediate_size",),
    "patch_size": ("patch_size",),
    "patch_stride": ("frequency_stride", "time_stride"),
}
"""Fields of the section, each with its names in ``transformers``."""
_AST_CONSTANTS = ("hidden_act", "layer_norm_eps", "qkv_bias")
"""What no recipe can change and yet a checkpoint may have otherwise."""

_CHANGES_NO_OUTPUT = {"pretrained", "dropout", "frequency_mask_bins", "time_mask_frames"}
"""Fields in which two runs may differ and still compute the same in evaluation."""

_AST_REMEDY = "Set audio_tower.pretrained to an AST checkpoint saved by transformers."
_EXPORTED = Needed("audio_tower.pretrained", {"configuration": (CONFIG,), "weights": (WEIGHTS,)}, ())
_TRUNK_REMEDY = "Set audio_tower.pretrained to a folder in which a run exported a tagger or an audio encoder."

Grid = tuple[int, int]
"""Patches along mel channels and along time."""


def warm_start(tower: AudioTower, section: AudioTowerConfig, *, front_end: FrontEndConfig, sample_rate_hz: int) -> None:
    """Loads what the section's ``pretrained`` names into a tower of that section.

    Raises:
        PretrainedError: it is not there, is of another kind, or differs from the recipe in its structure or in the
            front end that it was trained on; all differing fields are listed.
    """
    if isinstance(tower, AstAudioTower):
        assert isinstance(section, AstTowerConfig)
        _load_ast(tower, section, front_end, sample_rate_hz)
    else:
        _load_trunk(tower, section, front_end, sample_rate_hz)


def resized_positions(embeddings: Tensor, grid: Grid, wanted: Grid) -> Tensor:
    """Position embeddings of another grid of patches, by bilinear interpolation.

    Args:
        embeddings: [1, 2 + patches of ``grid``, D]; the first two, [CLS] and distillation, have no place and stay.

    Returns:
        [1, 2 + patches of ``wanted``, D]; ``embeddings`` themselves if the grids are equal.
    """
    if grid == wanted:
        return embeddings
    placeless, patches = embeddings[:, :2], embeddings[:, 2:]
    image = patches.mT.reshape(1, -1, *grid)
    resized = nn.functional.interpolate(image, size=wanted, mode="bilinear", align_corners=False)
    return torch.cat([placeless, resized.flatten(2).mT], dim=1)


def _load_ast(tower: AstAudioTower, section: AstTowerConfig, front_end: FrontEndConfig, sample_rate_hz: int) -> None:
    spec = section.pretrained
    folder = weights_folder(spec, AST_CHECKPOINT)
    config = _ast_config(spec, folder)
    ours: ASTConfig = tower.network.config
    faults = [
        *_ast_structure(config, section, ours),
        *_ast_front_end(spec, folder, front_end, sample_rate_hz),
    ]
    if faults:
        raise PretrainedError(spec, faults, "Give the recipe the values of the checkpoint.")
    network = load_network(ASTModel, spec, folder, config, remedy=_AST_REMEDY)
    weights = network.state_dict()
    positions = "embeddings.position_embeddings"
    shape = network.embeddings.get_shape
    weights[positions] = resized_positions(weights[positions], shape(config), shape(ours))
    # the tower lacks the biases of the projections to keys
    tower.network.load_state_dict({name: weights[name] for name in tower.network.state_dict()})


def _ast_config(spec: str, folder: Path) -> ASTConfig:
    with loading(spec, "cannot be loaded", _AST_REMEDY):
        values = json.loads((folder / CONFIG).read_bytes())
        kind = values.get("model_type") if isinstance(values, dict) else None
        if kind != ASTConfig.model_type:
            raise ValueError(f"{CONFIG} is that of {kind or 'no model of transformers'}, not {ASTConfig.model_type}")
        return ASTConfig.from_dict(values)


def _ast_structure(theirs: ASTConfig, section: AstTowerConfig, ours: ASTConfig) -> Iterator[str]:
    for field, names in _AST_FIELDS.items():
        values = [getattr(theirs, name) for name in names]
        if any(value != getattr(section, field) for value in values):
            there = " by ".join(map(str, dict.fromkeys(values)))
            yield f"audio_tower.{field}: {there} there, {getattr(section, field)} here"
    if theirs.num_mel_bins != ours.num_mel_bins:
        yield f"front_end.mel_channels: {theirs.num_mel_bins} there, {ours.num_mel_bins} here"
    for name in _AST_CONSTANTS:
        if getattr(theirs, name) != getattr(ours, name):
            yield f"{name}: {getattr(theirs, name)} there, always {getattr(ours, name)} here"


def _ast_front_end(spec: str, folder: Path, front_end: FrontEndConfig, sample_rate_hz: int) -> Iterator[str]:
    """How the front end differs from the one that the checkpoint's own feature extractor is."""
    if not (folder / "preprocessor_config.json").is_file():
        return
    with loading(spec, "preprocessor_config.json cannot be read", "Restore it, or remove it to do without."):
        extractor = ASTFeatureExtractor.from_pretrained(folder, local_files_only=True)
        theirs = KaldiFrontEndConfig(
            mel_channels=extractor.num_mel_bins,
            mel_max_hz=extractor.sampling_rate / 2,
            mean=extractor.mean if extractor.do_normalize else 0.0,
            std=2 * extractor.std if extractor.do_normalize else 1.0,
        )
    yield from _differences("front_end", theirs, front_end)
    if extractor.sampling_rate != sample_rate_hz:
        yield f"data.sample_rate_hz: {extractor.sampling_rate} there, {sample_rate_hz} here"


def _load_trunk(tower: AudioTower, section: AudioTowerConfig, front_end: FrontEndConfig, sample_rate_hz: int) -> None:
    spec = section.pretrained
    try:
        folder = on_this_machine(spec, _EXPORTED)
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
        faults.append(f"data.sample_rate_hz: {config.sample_rate_hz} there, {sample_rate_hz} here")
    if faults:
        raise PretrainedError(spec, faults, "Give the recipe the values of the run that exported it.")
    trunk = {name.removeprefix(TRUNK): tensor for name, tensor in weights.items() if name.startswith(TRUNK)}
    try:
        tower.load_state_dict(trunk)
    except RuntimeError as error:
        raise PretrainedError(spec, [f"{WEIGHTS} does not fit {CONFIG}: {error}"], _TRUNK_REMEDY) from error


def _exported_config(content: bytes) -> TaggerConfig | EncoderConfig:
    values = json.loads(content)
    written = values.get("format") if isinstance(values, dict) else None
    for kind in (TaggerConfig, EncoderConfig):
        if kind.model_fields["format"].default == written:
            return kind.model_validate(values)
    raise ValueError(f"{CONFIG} has format {written!r}, neither that of a tagger nor that of an audio encoder")


def _differences(name: str, theirs: Section, ours: Section) -> Iterator[str]:
    there, here = theirs.model_dump(), ours.model_dump()
    fields = ["family"] if there["family"] != here["family"] else there.keys() - _CHANGES_NO_OUTPUT
    for field in sorted(fields):
        if not _same(there[field], here[field]):
            yield f"{name}.{field}: {there[field]} there, {here[field]} here"


def _same(one: object, other: object) -> bool:
    if isinstance(one, float) and isinstance(other, float):
        return math.isclose(one, other, rel_tol=1e-6)
    return one == other
