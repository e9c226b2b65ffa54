"""Checks of the sections of a recipe against each other. Each function yields one message per error or warning."""

from collections.abc import Iterator, Sequence

from mulan.config.audio import (
    AstTowerConfig,
    AudioTowerConfig,
    FrontEndConfig,
    MelFrontEndConfig,
    MusicnnTowerConfig,
    PretrainedFrontEndConfig,
    PretrainedTowerConfig,
    ResNetTowerConfig,
    SampleCnnTowerConfig,
    WaveformFrontEndConfig,
)
from mulan.config.augmentation import AugmentationConfig, pitch_ratios
from mulan.config.objectives import CROSS_MODAL, TRAINED_TOGETHER, LossConfig, LossWeightsConfig, MulapConfig
from mulan.config.sections import BatchConfig, DataConfig, OptimConfig, ScaleConfig, TextTowerConfig, TrainConfig

_MIN_FRAMES = 16


def term_faults(weights: LossWeightsConfig) -> Iterator[str]:
    """Yields an error if no model has these loss terms."""
    groups = [[f"loss.weights.{term}" for term in group if getattr(weights, term)] for group in TRAINED_TOGETHER]
    used = [term for group in groups for term in group]
    if sum(map(bool, groups)) > 1:
        yield (
            f"{_enumerate(used)} cannot be trained together; give weights either to "
            f"{', or to '.join(map(_enumerate, TRAINED_TOGETHER))}"
        )
    if not used:
        yield "loss.weights are all 0; at least one term needs a weight"


def mulap_faults(
    weights: LossWeightsConfig, mulap: MulapConfig, data: DataConfig, text_tower: TextTowerConfig
) -> Iterator[str]:
    """Yields an error for each unmet requirement of MuLaP's terms, if one has a weight."""
    if not weights.uses_mulap:
        return
    if mulap.segment_s > data.window_s:
        yield f"mulap.segment_s = {mulap.segment_s:g} is longer than data.window_s = {data.window_s:g}"
    if text_tower.length_groups > 1:
        yield f"text_tower.length_groups = {text_tower.length_groups} is not supported by MuLaP; set it to 1"
    if text_tower.pooling != "cls":
        yield (
            f"text_tower.pooling = {text_tower.pooling} is not supported by MuLaP, which uses the outputs at all "
            "positions; set it to cls"
        )
    if text_tower.prefix:
        yield (
            f"text_tower.prefix = {text_tower.prefix!r} is not supported by MuLaP, which would predict its tokens "
            "in every caption; leave it empty"
        )
    if mulap.audio_layers < mulap.fusion_layers:
        yield (
            f"mulap.audio_layers = {mulap.audio_layers} is less than one for each of mulap.fusion_layers = "
            f"{mulap.fusion_layers}; set it to {mulap.fusion_layers} or more"
        )
    if 0 < text_tower.layers < mulap.fusion_layers:
        yield (
            f"text_tower.layers = {text_tower.layers} is less than one for each of mulap.fusion_layers = "
            f"{mulap.fusion_layers}; set it to {mulap.fusion_layers} or more, or to 0 for all"
        )


def loss_faults(loss: LossConfig) -> Iterator[str]:
    """Yields an error if terms cannot share a temperature, and for each setting that no term with a weight uses."""
    used = [term for term in CROSS_MODAL if getattr(loss.weights, term)]
    softmax = [term for term in CROSS_MODAL if term != "siglip"]
    if loss.weights.siglip and len(used) > 1:
        yield (
            f"{_enumerate([f'loss.weights.{term}' for term in used])} would share one temperature, although only "
            f"siglip has a bias beside it; give weights either to siglip, or to {_enumerate(softmax)}"
        )
    using = {"temperature_init": CROSS_MODAL, "mask_equal_texts": CROSS_MODAL, "bias_init": ("siglip",)}
    for field, terms in using.items():
        value, default = getattr(loss, field), LossConfig.model_fields[field].default
        if value != default and not any(term in terms for term in used):
            yield (
                f"loss.{field} = {_format_value(value)} needs a weight of {_enumerate(terms, 'or')} in loss.weights; "
                f"give one, or leave it at {_format_value(default)}"
            )


def _format_value(value: float | bool) -> str:
    return str(value).lower() if isinstance(value, bool) else f"{value:g}"


def _enumerate(names: Sequence[str], last: str = "and") -> str:
    return f" {last} ".join(filter(None, (", ".join(names[:-1]), names[-1])))


def schedule_faults(optim: OptimConfig, train: TrainConfig) -> Iterator[str]:
    """Yields an error for each setting that the schedule of the learning rate does not use, needs, or cannot follow."""
    until = optim.decay_until_step
    if optim.schedule == "step":
        if until:
            yield (
                f"optim.decay_until_step = {until} has no effect with optim.schedule = step; set it to 0, or set "
                "optim.schedule to linear or cosine"
            )
    elif not until:
        yield (
            f"optim.schedule = {optim.schedule} needs the step at which the learning rate reaches 0; set "
            f"optim.decay_until_step, normally to train.steps = {train.steps}"
        )
    else:
        if until <= optim.warmup_steps:
            yield (
                f"optim.decay_until_step = {until} must be above optim.warmup_steps = {optim.warmup_steps}, where the "
                "decay begins"
            )
        if train.steps > until:
            yield (
                f"train.steps = {train.steps} is above optim.decay_until_step = {until}, after which the learning rate "
                f"is 0; set train.steps to at most {until}, or optim.decay_until_step to {train.steps} in a new run"
            )


def sharing_faults(batch: BatchConfig, train: TrainConfig, scale: ScaleConfig) -> Iterator[str]:
    """Yields an error for each setting with which the workers cannot share the work evenly."""
    allowed = range(scale.min_workers, scale.max_workers + 1)
    sharing = [n for n in allowed if batch.micro_batches % n == 0]
    if not sharing:
        fitting = [str(n) for n in range(1, batch.micro_batches + 1) if batch.micro_batches % n == 0]
        yield (
            f"scale.workers = {_format_workers(scale)} cannot share batch.micro_batches = {batch.micro_batches}; "
            f"it must be one of {', '.join(fitting)}"
        )
    if all(train.validation_micro_batches % n for n in sharing or allowed):
        yield (
            f"train.validation_micro_batches = {train.validation_micro_batches} cannot be shared evenly among "
            f"scale.workers = {_format_workers(scale)}; make it a multiple"
        )
    if train.compile and train.zero_stage == 3:
        yield "train.compile does not work with the sharded weights of train.zero_stage = 3; use stage 1 or 2"


def worker_counts(batch: BatchConfig, train: TrainConfig, scale: ScaleConfig) -> list[int]:
    """Returns the numbers of workers within ``scale.workers`` that share all work evenly."""
    counts = range(scale.min_workers, scale.max_workers + 1)
    return [n for n in counts if batch.micro_batches % n == 0 and train.validation_micro_batches % n == 0]


def _format_workers(scale: ScaleConfig) -> str:
    return str(scale.workers) if isinstance(scale.workers, int) else str(list(scale.workers))


def frozen_faults(weights: LossWeightsConfig, tower: AudioTowerConfig) -> Iterator[str]:
    """Yields an error if a term would train nothing that is exported, since the audio tower is frozen."""
    discarded = [f"loss.weights.{term}" for term in ("semisupcon", "mlm", "mam", "atm") if getattr(weights, term)]
    if isinstance(tower, PretrainedTowerConfig) and tower.frozen and tower.layers == "last" and discarded:
        yield (
            f"with audio_tower.frozen = true, {_enumerate(discarded)} would only train modules that are not exported; "
            "set audio_tower.frozen to false, or audio_tower.layers to weighted"
        )


def audio_faults(
    front_end: FrontEndConfig, tower: AudioTowerConfig, *, sample_rate_hz: int, window_s: float
) -> Iterator[str]:
    """Yields an error for each mismatch between front end and audio, and between audio tower and front end.

    Args:
        front_end: Section of the front end.
        tower: Section of the audio tower.
        sample_rate_hz: Sample rate of the waveform in Hz.
        window_s: Length of the encoder's input in seconds.
    """
    if isinstance(front_end, PretrainedFrontEndConfig) or isinstance(tower, PretrainedTowerConfig):
        # everything else is checked where the checkpoint is read
        if not (isinstance(front_end, PretrainedFrontEndConfig) and isinstance(tower, PretrainedTowerConfig)):
            yield (
                f"audio_tower.family = {tower.family} does not go with front_end.family = {front_end.family}; a "
                "pretrained tower needs its own feature extractor, so set both to pretrained or neither"
            )
    elif isinstance(front_end, WaveformFrontEndConfig) != isinstance(tower, SampleCnnTowerConfig):
        yield (
            f"audio_tower.family = {tower.family} does not accept the output of front_end.family = "
            f"{front_end.family}; samplecnn needs the waveform, all others a spectrogram"
        )
    elif isinstance(front_end, WaveformFrontEndConfig):
        assert isinstance(tower, SampleCnnTowerConfig)
        needed = 3 ** (len(tower.block_channels) + 1)
        if round(window_s * sample_rate_hz) < needed:
            yield (
                f"audio_tower.block_channels has {len(tower.block_channels)} blocks, which require {needed} samples; "
                f"a window has {round(window_s * sample_rate_hz)}"
            )
    else:
        yield from _spectrogram_faults(front_end, tower, sample_rate_hz, window_s)


def _spectrogram_faults(
    front_end: MelFrontEndConfig, tower: AudioTowerConfig, sample_rate_hz: int, window_s: float
) -> Iterator[str]:
    if front_end.mel_max_hz > sample_rate_hz / 2:
        yield (
            f"front_end.mel_max_hz = {front_end.mel_max_hz:g} is above half of data.sample_rate_hz = {sample_rate_hz}"
        )
    if front_end.mel_min_hz >= front_end.mel_max_hz:
        yield f"front_end.mel_min_hz = {front_end.mel_min_hz:g} is not below mel_max_hz = {front_end.mel_max_hz:g}"
    for name in ("window_ms", "hop_ms"):
        if round(getattr(front_end, name) * sample_rate_hz / 1000) < 1:
            yield f"front_end.{name} = {getattr(front_end, name):g} is less than one sample"
    frames = max(0.0, (window_s * 1000 - front_end.window_ms) / front_end.hop_ms + 1)
    if frames < _MIN_FRAMES:
        yield (
            f"{window_s:g} s (data.window_s or, for MuLaP, mulap.segment_s) give {int(frames)} frames of the front "
            f"end; at least {_MIN_FRAMES} are required"
        )
    if isinstance(tower, AstTowerConfig) and tower.patch_size > min(front_end.mel_channels, frames):
        yield (
            f"audio_tower.patch_size = {tower.patch_size} does not fit {front_end.mel_channels} mel channels "
            f"by {int(frames)} frames"
        )
    if isinstance(tower, MusicnnTowerConfig):
        for height in tower.vertical_heights:
            if int(height * front_end.mel_channels) < 1:
                yield (
                    f"audio_tower.vertical_heights: {height:g} of {front_end.mel_channels} mel channels rounds down to "
                    "0"
                )
    if front_end.frequency_mask_bins > front_end.mel_channels:
        yield (
            f"front_end.frequency_mask_bins = {front_end.frequency_mask_bins} is above "
            f"mel_channels = {front_end.mel_channels}"
        )
    if front_end.time_mask_frames > frames:
        yield f"front_end.time_mask_frames = {front_end.time_mask_frames} is above the window's {int(frames)} frames"


def augmentation_faults(
    weights: LossWeightsConfig, augmentation: AugmentationConfig, data: DataConfig
) -> Iterator[str]:
    """Yields an error if pitches are to be shifted and no ratio of divisors of the sample rate is small enough."""
    shifts_pitch = weights.semisupcon and augmentation.probability and augmentation.pitch_probability
    if shifts_pitch and not pitch_ratios(data.sample_rate_hz, augmentation.pitch_semitones):
        yield (
            f"semisupcon.augmentation.pitch_semitones = {augmentation.pitch_semitones:g} allows no ratio of divisors "
            f"of data.sample_rate_hz = {data.sample_rate_hz}; raise it, or set "
            "semisupcon.augmentation.pitch_probability to 0"
        )


def pretraining_warnings(tower: AudioTowerConfig) -> Iterator[str]:
    """Yields a warning if the audio tower starts from random weights, and its recipe's source pretrains it."""
    if isinstance(tower, ResNetTowerConfig | AstTowerConfig) and tower.expects_pretrained and not tower.pretrained:
        weights = "an AST checkpoint" if isinstance(tower, AstTowerConfig) else "an exported tagger or audio encoder"
        yield (
            "the audio tower starts from random weights, but the source of this recipe pretrains it; set "
            f"audio_tower.pretrained to {weights}, or audio_tower.expects_pretrained=false"
        )
