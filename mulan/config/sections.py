"""What a run is: frozen sections, one per component, validated where they are made.

Units stand in the names (``_hz``, ``_s``, ``_ms``); ranges stand in the fields. A component receives its own
section and never the whole recipe.
"""

from typing import Annotated, Literal, get_args

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, model_validator

Source = Literal["short_form", "long_form", "playlist", "audioset", "short_form_unfiltered", "long_form_unfiltered"]
"""The four kinds of text of MuLan §3.4, SF, LF, PL and ASET; and SF and LF as they were before filtering."""

SOURCES: tuple[Source, ...] = get_args(Source)

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=1)]
CountOrNone = Annotated[int, Field(ge=0)]


class Section(BaseModel):
    """Frozen; unknown keys are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class SourceRatio(Section):
    """Share of each text source in every global batch, in any unit (MuLan §3.4: 2:2:1:1); 0 leaves a source out."""

    short_form: NonNegative = 2
    long_form: NonNegative = 2
    playlist: NonNegative = 1
    audioset: NonNegative = 1
    short_form_unfiltered: NonNegative = 0
    long_form_unfiltered: NonNegative = 0

    @model_validator(mode="after")
    def _some_source(self) -> "SourceRatio":
        if not any(getattr(self, source) for source in SOURCES):
            raise ValueError("at least one source must have a share above 0")
        return self


class Data(Section):
    """Where the recordings are and what is taken from each."""

    uri: str = ""
    """Folder of a prepared corpus (``index.parquet`` and its shards); a local path or any fsspec URI."""
    sample_rate_hz: Count = 16_000
    """Rate at which audio reaches the model; other rates are resampled."""
    window_s: Positive = 10.0
    """Length of the context window (MuLan §3.2: 10 s)."""
    source_ratio: SourceRatio = SourceRatio()
    max_bad_share: Share = 0.01
    """Share of examples replaced because they could not be read above which the run stops."""

    @property
    def window_samples(self) -> int:
        return round(self.window_s * self.sample_rate_hz)


class _AnyFrontEnd(Section):
    """What all front ends have: a log-mel spectrogram in float32 on the training device, and SpecAugment."""

    mel_channels: Count
    window_ms: Positive = 25.0
    hop_ms: Positive = 10.0
    mel_low_hz: NonNegative
    mel_high_hz: Positive
    mean: float
    """Subtracted from the log-mel values."""
    deviation: Positive
    """Divides them afterwards, so that towers see values of about unit size."""
    frequency_mask_bins: CountOrNone
    """Widest SpecAugment mask over mel channels; its width is uniform in [0, this)."""
    time_mask_frames: CountOrNone
    """Widest SpecAugment mask over frames; its width is uniform in [0, this)."""


class VggishFrontEnd(_AnyFrontEnd):
    """The front end of the ResNet-50 that M-Resnet-50 adapts (Hershey et al. 2017, known as VGGish's).

    Mel channels, window and hop are MuLan's (§3.2). Its band edges and log offset are not published; the defaults are
    those of the network it adapts.
    """

    family: Literal["vggish"] = "vggish"
    mel_channels: Count = 64
    mel_low_hz: NonNegative = 125.0
    mel_high_hz: Positive = 7500.0
    log_offset: Positive = 0.01
    mean: float = -1.0
    deviation: Positive = 1.5
    frequency_mask_bins: CountOrNone = 12
    time_mask_frames: CountOrNone = 50


class KaldiFrontEnd(_AnyFrontEnd):
    """The front end of the public AST checkpoints: Kaldi's filter banks (Gong et al. 2021).

    All defaults are those of ``ASTFeatureExtractor`` for the AudioSet checkpoints, and AST's SpecAugment for AudioSet.
    """

    family: Literal["kaldi"] = "kaldi"
    mel_channels: Count = 128
    mel_low_hz: NonNegative = 20.0
    mel_high_hz: Positive = 8000.0
    preemphasis: Share = 0.97
    """Share of each sample's predecessor that is subtracted from it."""
    mean: float = -4.2677393
    deviation: Positive = 2 * 4.5689974
    frequency_mask_bins: CountOrNone = 48
    time_mask_frames: CountOrNone = 192


def _family(default: str) -> Discriminator:
    """A section that does not name its family is of the default one."""
    return Discriminator(
        lambda value: value.get("family", default) if isinstance(value, dict) else getattr(value, "family", None)
    )


FrontEnd = Annotated[
    Annotated[VggishFrontEnd, Tag("vggish")] | Annotated[KaldiFrontEnd, Tag("kaldi")], _family("vggish")
]


class ResNetTower(Section):
    """A residual network over the log-mel spectrogram taken as a grey image (MuLan §3.2, M-Resnet)."""

    family: Literal["resnet"] = "resnet"
    layer: Literal["basic", "bottleneck"] = "bottleneck"
    stem_channels: Count = 64
    stem_stride: Literal[1, 2] = 1
    """Stride of the first convolution; MuLan removes the usual 2."""
    stage_channels: tuple[Count, ...] = (256, 512, 1024, 2048)
    stage_depths: tuple[Count, ...] = (3, 4, 6, 3)
    pretrained: str = ""
    """Folder or URI of a model that a tagging run exported; its trunk is the first weights, its last layer is dropped
    (MuLan §3.2). Empty: weights are drawn."""

    @model_validator(mode="after")
    def _one_depth_a_stage(self) -> "ResNetTower":
        if len(self.stage_channels) != len(self.stage_depths):
            raise ValueError(
                f"stage_channels has {len(self.stage_channels)} stages and stage_depths {len(self.stage_depths)}"
            )
        return self


class AstTower(Section):
    """An Audio Spectrogram Transformer (Gong et al. 2021; MuLan §3.2, M-AST)."""

    family: Literal["ast"] = "ast"
    hidden_size: Count = 768
    layers: Count = 12
    heads: Count = 12
    feed_forward_size: Count = 3072
    patch_size: Count = 16
    patch_stride: Count = 10
    dropout: Share = 0.0
    pretrained: str = ""
    """Folder of a public AST checkpoint in the layout of ``transformers``, or ``hub:OWNER/NAME``; its position
    embeddings are interpolated to our window, its classifier is dropped (MuLan §3.2). Empty: weights are drawn."""

    @model_validator(mode="after")
    def _heads_divide(self) -> "AstTower":
        if self.hidden_size % self.heads:
            raise ValueError(f"hidden_size {self.hidden_size} is not a multiple of heads {self.heads}")
        return self


AudioTower = Annotated[Annotated[ResNetTower, Tag("resnet")] | Annotated[AstTower, Tag("ast")], _family("resnet")]


class TextTower(Section):
    """A pretrained BERT-type encoder; its [CLS] output is the sentence (MuLan §3.3)."""

    pretrained: str = ""
    """Folder in the layout of ``transformers`` (``config.json``, weights, tokenizer), ``hub:OWNER/NAME`` for a model of
    the Hugging Face hub or its local cache, or ``python:PACKAGE/FOLDER`` for a folder inside an installed Python
    package. Empty: no text tower; for tagging alone."""
    layers: CountOrNone = 0
    """Keep only the first layers of the encoder; 0 keeps all."""
    frozen_layers: CountOrNone = 0
    """Leave this many first layers, and the token embeddings below them, as they are pretrained, without dropout; 0
    trains all."""
    length_groups: Count = 1
    """Encode the texts of a micro-batch in this many groups of like length, each padded to its own longest: the same
    result, and less work where lengths differ much and the device is a CPU."""
    max_tokens: Annotated[int, Field(ge=3, le=512)] = 512
    """Longer texts are cut ([CLS] and [SEP] count)."""


class LossWeights(Section):
    """Weight of each term of the objective; a term of weight 0 is not computed."""

    contrastive: NonNegative = 1.0
    """MuLan's batch-wise contrastive multiview coding (§3.1)."""
    tagging: NonNegative = 0.0
    """Logistic regression over the classes of ``tagging`` (MuLan §3.2, pretraining on AudioSet)."""


class Loss(Section):
    weights: LossWeights = LossWeights()
    temperature_init: Annotated[float, Field(gt=0, lt=1)] = 0.1
    """Initial value of the trainable temperature (MuLan §4)."""


class Tagging(Section):
    """The classes of logistic regression: all tags of the corpus that begin with the prefix, in alphabetical order."""

    prefix: str = "audioset:"
    classes: Count = 527
    """Their number, so that a corpus with other tags is noticed; AudioSet has 527."""


class Batch(Section):
    """A global batch is ``micro_batches`` of ``pairs_per_micro_batch`` pairs, whatever the number of workers."""

    micro_batches: Count = 2
    pairs_per_micro_batch: Annotated[int, Field(ge=2)] = 32

    @property
    def pairs(self) -> int:
        return self.micro_batches * self.pairs_per_micro_batch


class Optim(Section):
    """Adam with a linear warm-up and a step decay (MuLan §4: factor 0.9 every 40K steps)."""

    lr: Positive = 1e-4
    """Peak learning rate. MuLan's own values are not published."""
    pretrained_lr_scale: NonNegative = 1.0
    """Learning rate of warm-started trunks (text encoder, pretrained audio tower), as a multiple of ``lr``."""
    beta1: Annotated[float, Field(ge=0, lt=1)] = 0.9
    beta2: Annotated[float, Field(ge=0, lt=1)] = 0.999
    epsilon: Positive = 1e-8
    weight_decay: NonNegative = 0.0
    """Of matrices and convolutions; norms, biases and the temperature do not decay."""
    warmup_steps: CountOrNone = 0
    decay_factor: Annotated[float, Field(gt=0, le=1)] = 0.9
    decay_every_steps: Count = 40_000
    max_gradient_norm: Positive = 1.0
    """The norm of the whole gradient is clipped to this."""


class Train(Section):
    steps: Count = 1000
    seed: int = 0
    precision: Literal["float32", "bf16"] = "float32"
    """bf16: matrix products and convolutions under autocast; weights, front end and loss stay float32."""
    compile: bool = False
    """Compile the towers with ``torch.compile``: minutes at the start, and faster steps on GPUs."""
    zero_stage: Literal[0, 1, 2, 3] = 0
    """DeepSpeed ZeRO stage: what is sharded over the workers (nothing, optimizer, gradients, weights)."""
    checkpoint_every_steps: Count = 500
    checkpoints_kept: Count = 2
    validate_every_steps: CountOrNone = 0
    """Steps between validations; 0 for none but the last."""
    validation_micro_batches: CountOrNone = 0
    """Micro-batches of the validation split used each time; 0 for no validation."""


class Scale(Section):
    """What the run takes of the cluster. Changes the speed, never the result."""

    workers: Count = 1
    """Training processes; must divide ``batch.micro_batches``."""
    use_gpu: bool = False
    """One GPU a worker (NCCL); otherwise CPU workers (gloo)."""
    cpus_per_worker: Count = 1
    data_cpus: Count = 1
    """CPUs that read, decode and tokenize: a process each, shared out among the workers, of which each has at least
    one."""
    max_failures: CountOrNone = 3
    """Lost workers survived before the run gives up."""
