"""The sections of a recipe: frozen, validated on construction, one per component.

Units are part of the field names (``_hz``, ``_s``, ``_ms``); ranges are part of the field types. A component receives
its own section, not the whole recipe.
"""

from typing import Annotated, Literal, get_args

from pydantic import Field, PlainValidator, model_validator

from mulan.config.audio import AugmentationConfig
from mulan.config.base import Fraction, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt, Section, Variables

Source = Literal["short_form", "long_form", "playlist", "audioset", "short_form_unfiltered", "long_form_unfiltered"]
"""The text sources of MuLan §3.4 (SF, LF, PL and ASET), and SF and LF before filtering."""

SOURCES: tuple[Source, ...] = get_args(Source)


class SourceRatioConfig(Section):
    """Relative share of each text source in every global batch (MuLan §3.4: 2:2:1:1); 0 disables a source."""

    short_form: NonNegativeFloat = 2
    long_form: NonNegativeFloat = 2
    playlist: NonNegativeFloat = 1
    audioset: NonNegativeFloat = 1
    short_form_unfiltered: NonNegativeFloat = 0
    long_form_unfiltered: NonNegativeFloat = 0

    @model_validator(mode="after")
    def _check_sources(self) -> "SourceRatioConfig":
        if not any(getattr(self, source) for source in SOURCES):
            raise ValueError("at least one source must have a share above 0")
        return self


class DataConfig(Section):
    """The corpus, and how windows and texts are sampled from it."""

    uri: str = ""
    """Folder of a prepared corpus (``index.parquet`` and its shards): a local path or any fsspec URI. When a run is
    resumed, it may name a copy of the corpus, which must have the same ``index.parquet``."""
    sample_rate_hz: PositiveInt = 16_000
    """Sample rate of the model's input in Hz; recordings of other rates are resampled."""
    window_s: PositiveFloat = 10.0
    """Length of the audio window in seconds (MuLan §3.2: 10 s)."""
    min_duration_s: NonNegativeFloat = 0.5
    """Minimum duration of a recording in seconds; shorter ones are skipped. 0 accepts any duration."""
    source_ratio: SourceRatioConfig = SourceRatioConfig()
    max_skipped_share: Fraction = 0.01
    """Maximum share of examples whose recording was skipped and replaced; the run stops above it."""

    @property
    def window_samples(self) -> int:
        """Length of the audio window in samples."""
        return round(self.window_s * self.sample_rate_hz)


class TextTowerConfig(Section):
    """A pretrained BERT-type encoder whose [CLS] output represents the text (MuLan §3.3)."""

    pretrained: str = ""
    """Folder or URI (``s3://...``) in the layout of ``transformers`` (``config.json``, weights, tokenizer);
    ``hub:OWNER/NAME`` for a model of the Hugging Face hub or its local cache; or ``python:PACKAGE/FOLDER`` for a folder
    inside an installed Python package. If empty, there is no text tower, as for losses that use no text."""
    layers: NonNegativeInt = 0
    """Number of encoder layers to keep, from the bottom; 0 keeps all."""
    frozen_layers: NonNegativeInt = 0
    """Number of layers to freeze, from the bottom. The token embeddings are frozen too, and frozen layers have no
    dropout. 0 trains all layers."""
    length_groups: PositiveInt = 1
    """Number of groups of similar length in which the texts of a micro-batch are encoded, each padded to its longest
    text. The result does not depend on it; on CPUs, more groups save time if lengths vary widely."""
    max_tokens: Annotated[int, Field(ge=3, le=512)] = 512
    """Maximum number of tokens of a text, including [CLS] and [SEP]; longer texts are truncated."""


class LossWeightsConfig(Section):
    """Weight of each loss term; a term of weight 0 is not computed."""

    contrastive: NonNegativeFloat = 1.0
    """Weight of MuLan's batch-wise contrastive multiview coding (§3.1)."""
    semisupcon: NonNegativeFloat = 0.0
    """Weight of semi-supervised contrastive learning of windows (Guinot et al. 2024), alone or with ``contrastive``."""
    mlm: NonNegativeFloat = 0.0
    """Weight of masked language modelling (MuLaP §2.2, equation 2)."""
    mam: NonNegativeFloat = 0.0
    """Weight of masked audio modelling (MuLaP §2.2, equation 3)."""
    atm: NonNegativeFloat = 0.0
    """Weight of audio-text matching (MuLaP §2.2, equation 4)."""
    tagging: NonNegativeFloat = 0.0
    """Weight of logistic regression over the classes of ``tagging`` (MuLan §3.2, pretraining on AudioSet)."""

    @property
    def uses_mulap(self) -> bool:
        """True if any of MuLaP's terms has a weight."""
        return self.mlm > 0 or self.mam > 0 or self.atm > 0

    @property
    def uses_text(self) -> bool:
        """True if any term with a weight requires texts."""
        return self.embeds_text or self.uses_mulap

    @property
    def embeds_text(self) -> bool:
        """True if the trained model embeds audio and text in one space, so that it can be queried by text."""
        return self.contrastive > 0


class LossConfig(Section):
    """The weights of the loss terms, and the temperature of the contrastive one."""

    weights: LossWeightsConfig = LossWeightsConfig()
    temperature_init: Annotated[float, Field(gt=0, lt=1)] = 0.1
    """Initial value of the learnable temperature (MuLan §4)."""


class TaggingConfig(Section):
    """The classes of logistic regression: all tags of the corpus with the given prefix, in alphabetical order."""

    prefix: str = "audioset:"
    """Prefix of the tags that are classes."""
    classes: PositiveInt = 527
    """Expected number of classes (AudioSet: 527); a corpus with a different number is rejected."""


def _share_or_as_found(value: object) -> object:
    """Validates ``labelled_share``; the validator of a union would report one error for each of its members."""
    if value == "as_found" or (isinstance(value, int | float) and 0 <= value <= 1):
        return value
    raise ValueError("must be between 0 and 1, or as_found")


class SemiSupConConfig(Section):
    """Contrastive learning of windows, with and without labels (Guinot et al. 2024).

    The section is used if ``loss.weights.semisupcon`` is above 0.

    Labels are the tags with a given prefix. Positives are windows of the same recording, and windows of recordings that
    share labels.
    """

    views: Annotated[int, Field(ge=2)] = 2
    """Number of adjacent windows of each recording; they overlap if the recording is too short."""
    temperature: Annotated[float, Field(gt=0, le=1)] = 0.1
    """Fixed temperature of the similarities."""
    tag_prefix: str = ""
    """Prefix of the tags that are labels; empty uses all tags of the corpus."""
    labelled_share: Annotated[float | Literal["as_found"], PlainValidator(_share_or_as_found)] = 0.5
    """Share of labelled recordings in each training batch: 1 uses only labelled ones, 0 none. ``as_found`` samples from
    all recordings and uses the labels that they have."""
    labels_used: Fraction = 1.0
    """Share of the labelled training recordings whose labels are used; the others count as unlabelled."""
    min_shared_tags: PositiveInt = 1
    """Minimum number of labels that two recordings must share to be positives."""
    weighting: Literal["equal", "dice"] = "equal"
    """Weight of positives with shared labels: 1, or the Dice coefficient of the two sets of labels."""
    head_hidden_size: PositiveInt = 512
    """Hidden size of the projection head, two linear layers without bias that are not exported."""
    head_dim: PositiveInt = 128
    """Output dimension of the projection head."""
    augmentation: AugmentationConfig = AugmentationConfig()


class MulapConfig(Section):
    """The fusion model and the masking of MuLaP (Manco et al. 2022).

    The section is used if the weight of ``mlm``, ``mam`` or ``atm`` is above 0.

    The text branch is ``text_tower``, whose ``layers`` are the self-attention layers below the fusion, L - N = 4.
    Values that the paper does not state are those of the code that its authors published.
    """

    segment_s: PositiveFloat = 3.0
    """Length in seconds of the segments that the window is divided into; the audio tower computes one feature per
    segment (§2.1)."""
    fusion_layers: PositiveInt = 2
    """Number of co-attention layers N, in which each modality attends to the other."""
    fusion_size: PositiveInt = 1024
    """Size of queries, keys and values in co-attention, over all heads."""
    fusion_heads: PositiveInt = 8
    """Number of attention heads in co-attention."""
    audio_size: PositiveInt = 256
    """Hidden size of the audio stream."""
    audio_feed_forward_size: PositiveInt = 1024
    """Size of the feed-forward layers of the audio stream."""
    dropout: Fraction = 0.1
    """Dropout probability of the fusion model."""
    token_mask_probability: Fraction = 0.15
    """Probability that a token is predicted. Of the predicted tokens, 80 % are replaced by [MASK] and 10 % by a random
    token, and 10 % stay unchanged (BERT §3.1)."""
    segment_mask_probability: Fraction = 0.15
    """Probability that a segment is masked and its feature predicted."""
    mismatch_probability: Fraction = 0.5
    """Probability that a caption is replaced by that of another recording in its micro-batch."""

    @model_validator(mode="after")
    def _check_heads(self) -> "MulapConfig":
        if self.fusion_size % self.fusion_heads:
            raise ValueError(f"fusion_size {self.fusion_size} is not a multiple of fusion_heads {self.fusion_heads}")
        return self


class BatchConfig(Section):
    """The size of the global batch, which does not depend on the number of workers."""

    micro_batches: PositiveInt = 2
    """Number of micro-batches in a global batch; the workers share them evenly."""
    pairs_per_micro_batch: Annotated[int, Field(ge=2)] = 32
    """Number of audio-text pairs in a micro-batch."""

    @property
    def pairs(self) -> int:
        """Number of pairs in a global batch."""
        return self.micro_batches * self.pairs_per_micro_batch


class OptimConfig(Section):
    """Adam with linear warm-up and step decay of the learning rate (MuLan §4: factor 0.9 every 40K steps)."""

    lr: PositiveFloat = 1e-4
    """Peak learning rate; MuLan's own values are not published."""
    pretrained_lr_scale: NonNegativeFloat = 1.0
    """Learning rate of pretrained parameters (text encoder, pretrained audio tower), as a multiple of ``lr``."""
    beta1: Annotated[float, Field(ge=0, lt=1)] = 0.9
    """Adam's decay rate of the first moment."""
    beta2: Annotated[float, Field(ge=0, lt=1)] = 0.999
    """Adam's decay rate of the second moment."""
    epsilon: PositiveFloat = 1e-8
    """Adam's term added to the denominator for numerical stability."""
    weight_decay: NonNegativeFloat = 0.0
    """Weight decay of matrices and convolutions; norms, biases and the temperature do not decay."""
    warmup_steps: NonNegativeInt = 0
    """Number of steps over which the learning rate increases linearly to ``lr``."""
    decay_factor: Annotated[float, Field(gt=0, le=1)] = 0.9
    """Factor by which the learning rate is multiplied every ``decay_every_steps`` steps; 1 keeps it constant."""
    decay_every_steps: PositiveInt = 40_000
    """Number of steps between decays of the learning rate."""
    max_grad_norm: PositiveFloat = 1.0
    """Maximum norm of the gradient over all parameters; larger gradients are clipped."""


class TrainConfig(Section):
    """The training loop: length, seed, numerics, checkpoints and validation.

    :data:`mulan.runs.run.MAY_CHANGE` lists the fields that may change when a run is resumed.
    """

    steps: PositiveInt = 1000
    """Number of training steps. No step depends on it, so that a run may be resumed with more steps."""
    seed: int = 0
    """Seed of all random draws: initial weights, order of the data, augmentation, masks and dropout."""
    precision: Literal["float32", "bf16"] = "float32"
    """Precision of the towers. ``bf16`` runs matrix products and convolutions under autocast; weights, front end and
    loss stay in float32."""
    compile: bool = False
    """Compile the towers with ``torch.compile``, which takes minutes at the start and makes steps faster on GPUs. The
    compiled code may depend on the text lengths that a worker encounters first, so that on GPUs results are not
    guaranteed to be bitwise equal on a different number of workers or after a restart."""
    zero_stage: Literal[0, 1, 2, 3] = 0
    """DeepSpeed ZeRO stage: shards nothing (0), the optimizer state (1), also gradients (2), also weights (3). With
    ``exact_sums`` each worker holds whole gradients at stage 2, too."""
    exact_sums: bool = True
    """Sum gradients in fixed point, as multiples of 2^-38 (4e-12), so that every step is bitwise equal on any number of
    workers and at any ZeRO stage. Without it, steps are faster (``python -m jobs.bench sums`` measures by how much),
    and runs on different numbers of workers drift apart."""
    deterministic: bool = True
    """Use only deterministic kernels, and stop with an error if an operation of the model has none. Without it,
    attention, convolutions and indexing may be faster on GPUs, but no two runs on GPUs are bitwise equal, not even on
    the same machine."""
    checkpoint_every_steps: PositiveInt = 500
    """Number of steps between checkpoints."""
    keep_latest_checkpoints: PositiveInt = 2
    """Number of latest checkpoints to keep."""
    keep_best_checkpoints: NonNegativeInt = 1
    """Number of checkpoints with the highest validation scores to keep in addition to the latest ones."""
    validate_every_steps: NonNegativeInt = 0
    """Number of steps between validations; 0 validates only after the last step."""
    validation_micro_batches: NonNegativeInt = 0
    """Number of micro-batches of the validation split used in each validation; 0 disables validation. It cannot change
    when a run is resumed, because scores over different numbers of recordings are not comparable."""


class HealthConfig(Section):
    """Reactions to non-finite values and collapse; they may change when a run is resumed."""

    non_finite: Literal["stop", "warn"] = "stop"
    """Reaction to a non-finite loss or gradient: stop the run, or warn and skip the update of that step."""
    collapse: Literal["stop", "warn"] = "warn"
    """Reaction if the contrastive term stays within 1 % of ln(2 (B - 1)), its value when all B pairs have the same
    embedding: stop the run, or warn. Other terms have no such value, or one that depends on the labels of the batch."""
    collapse_steps: PositiveInt = 200
    """Number of consecutive steps after the warm-up for which the contrastive term must stay in this range."""


class ScaleConfig(Section):
    """The resources of a run, which determine its speed.

    At most the last bits of its results depend on them: on the kind of device (``use_gpu``) and, for CPU workers, on
    ``cpus_per_worker``.
    """

    workers: PositiveInt | tuple[PositiveInt, PositiveInt] = 1
    """Number of training workers, or its minimum and maximum (``workers=[2, 8]``): the run then uses as many as the
    cluster can hold, and adapts as machines join and leave. The number must divide ``batch.micro_batches``; of a range,
    only numbers that do are used."""
    use_gpu: bool = False
    """Use one GPU per worker (NCCL) instead of CPU workers (gloo)."""
    cpus_per_worker: PositiveInt = 1
    """Number of CPUs of each worker. A CPU worker computes in this many threads, regardless of ``OMP_NUM_THREADS``:
    kernels divide sums among threads, so that a different number changes the last bits. The events of a run record the
    number, and any change of it when the run is resumed. The results of GPU workers do not depend on it."""
    data_cpus: PositiveInt = 1
    """Number of CPUs that read, decode and tokenize for all workers, in one process each. If the cluster has fewer, or
    none, training is slower: a worker that receives no batches reads for itself, on its own node."""
    data_label: Annotated[
        str, Field(pattern=r"^(auto|[A-Za-z0-9./_-]+=[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?)?$")
    ] = "auto"
    """Label ``name=value`` of the nodes that read and decode; empty for any node. ``auto`` is ``pool=cpu`` if the
    cluster has such nodes, so that readers stay off GPU nodes, and any node otherwise."""
    max_failures: NonNegativeInt = 3
    """Maximum number of consecutive worker failures without a new checkpoint in between; preempted nodes do not
    count."""
    collective_timeout_s: PositiveFloat = 600.0
    """Timeout of collectives in seconds. A worker that the others wait for longer is considered lost, and all workers
    restart from the latest checkpoint."""
    env: Variables = Field(default_factory=dict)
    """Environment variables of the training workers, for NCCL and the network:
    ``scale.env.NCCL_SOCKET_IFNAME=eth0``. They are stored with the recipe in the run's folder, so do not put secrets
    there."""

    @property
    def max_workers(self) -> int:
        """Maximum number of training workers."""
        return self.workers if isinstance(self.workers, int) else self.workers[1]

    @property
    def min_workers(self) -> int:
        """Minimum number of training workers."""
        return self.workers if isinstance(self.workers, int) else self.workers[0]

    @model_validator(mode="after")
    def _check_range(self) -> "ScaleConfig":
        if self.min_workers > self.max_workers:
            raise ValueError(f"workers = [{self.min_workers}, {self.max_workers}]: the minimum must come first")
        return self
