"""What a run is: frozen sections, one per component, validated where they are made.

Units stand in the names (``_hz``, ``_s``, ``_ms``); ranges stand in the fields. A component receives its own
section and never the whole recipe.
"""

from typing import Annotated, Literal, get_args

from pydantic import Field, PlainValidator, model_validator

from mulan.config.audio import AugmentationConfig
from mulan.config.base import Fraction, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt, Section, Variables

Source = Literal["short_form", "long_form", "playlist", "audioset", "short_form_unfiltered", "long_form_unfiltered"]
"""The four kinds of text of MuLan §3.4, SF, LF, PL and ASET; and SF and LF as they were before filtering."""

SOURCES: tuple[Source, ...] = get_args(Source)


class SourceRatioConfig(Section):
    """Share of each text source in every global batch, in any unit (MuLan §3.4: 2:2:1:1); 0 leaves a source out."""

    short_form: NonNegativeFloat = 2
    long_form: NonNegativeFloat = 2
    playlist: NonNegativeFloat = 1
    audioset: NonNegativeFloat = 1
    short_form_unfiltered: NonNegativeFloat = 0
    long_form_unfiltered: NonNegativeFloat = 0

    @model_validator(mode="after")
    def _some_source(self) -> "SourceRatioConfig":
        if not any(getattr(self, source) for source in SOURCES):
            raise ValueError("at least one source must have a share above 0")
        return self


class DataConfig(Section):
    """Where the recordings are and what is taken from each."""

    uri: str = ""
    """Folder of a prepared corpus (``index.parquet`` and its shards); a local path or any fsspec URI."""
    sample_rate_hz: PositiveInt = 16_000
    """Rate at which audio reaches the model; other rates are resampled."""
    window_s: PositiveFloat = 10.0
    """Length of the context window (MuLan §3.2: 10 s)."""
    min_duration_s: NonNegativeFloat = 0.5
    """A recording with less sound than this is not used; 0 takes any."""
    source_ratio: SourceRatioConfig = SourceRatioConfig()
    max_skipped_share: Fraction = 0.01
    """Share of examples replaced because they could not be used above which the run stops."""

    @property
    def window_samples(self) -> int:
        return round(self.window_s * self.sample_rate_hz)


class TextTowerConfig(Section):
    """A pretrained BERT-type encoder; its [CLS] output is the sentence (MuLan §3.3)."""

    pretrained: str = ""
    """Folder, or its URI (``s3://...``), in the layout of ``transformers`` (``config.json``, weights, tokenizer);
    ``hub:OWNER/NAME`` for a model of the Hugging Face hub or its local cache; or ``python:PACKAGE/FOLDER`` for a folder
    inside an installed Python package. Empty: no text tower; for terms that read no text."""
    layers: NonNegativeInt = 0
    """Keep only the first layers of the encoder; 0 keeps all."""
    frozen_layers: NonNegativeInt = 0
    """Leave this many first layers, and the token embeddings below them, as they are pretrained, without dropout; 0
    trains all."""
    length_groups: PositiveInt = 1
    """Encode the texts of a micro-batch in this many groups of like length, each padded to its own longest: the same
    result, and less work where lengths differ much and the device is a CPU."""
    max_tokens: Annotated[int, Field(ge=3, le=512)] = 512
    """Longer texts are cut ([CLS] and [SEP] count)."""


class LossWeightsConfig(Section):
    """Weight of each term of the objective; a term of weight 0 is not computed."""

    contrastive: NonNegativeFloat = 1.0
    """MuLan's batch-wise contrastive multiview coding (§3.1)."""
    semisupcon: NonNegativeFloat = 0.0
    """Semi-supervised contrastive learning of windows (Guinot et al. 2024); alone, or beside ``contrastive``."""
    mlm: NonNegativeFloat = 0.0
    """Masked language modelling (MuLaP §2.2, equation 2)."""
    mam: NonNegativeFloat = 0.0
    """Masked audio modelling (MuLaP §2.2, equation 3)."""
    atm: NonNegativeFloat = 0.0
    """Audio-text matching (MuLaP §2.2, equation 4)."""
    tagging: NonNegativeFloat = 0.0
    """Logistic regression over the classes of ``tagging`` (MuLan §3.2, pretraining on AudioSet)."""

    @property
    def of_mulap(self) -> bool:
        """Whether any of MuLaP's terms is trained."""
        return self.mlm > 0 or self.mam > 0 or self.atm > 0

    @property
    def read_text(self) -> bool:
        """Whether any term reads texts."""
        return self.contrastive > 0 or self.of_mulap


class LossConfig(Section):
    weights: LossWeightsConfig = LossWeightsConfig()
    temperature_init: Annotated[float, Field(gt=0, lt=1)] = 0.1
    """Initial value of the trainable temperature (MuLan §4)."""


class TaggingConfig(Section):
    """The classes of logistic regression: all tags of the corpus that begin with the prefix, in alphabetical order."""

    prefix: str = "audioset:"
    classes: PositiveInt = 527
    """Their number, so that a corpus with other tags is noticed; AudioSet has 527."""


def _share_or_as_found(value: object) -> object:
    """A validator of its own: that of a union would tell a fault once for each of its kinds."""
    if value == "as_found" or (isinstance(value, int | float) and 0 <= value <= 1):
        return value
    raise ValueError("give a share from 0 to 1, or as_found")


class SemiSupConConfig(Section):
    """Contrastive learning of windows, with and without labels (Guinot et al. 2024); used where its weight is above 0.

    Labels are the tags that begin with a prefix. Windows of one recording are positives of each other, and so are those
    of recordings that share labels.
    """

    views: Annotated[int, Field(ge=2)] = 2
    """Adjacent windows of each recording; in a shorter recording they overlap."""
    temperature: Annotated[float, Field(gt=0, le=1)] = 0.1
    tag_prefix: str = ""
    """Empty: all tags of the corpus are labels."""
    labelled_share: Annotated[float | Literal["as_found"], PlainValidator(_share_or_as_found)] = 0.5
    """Of each training batch: recordings with labels. 1 where all are labelled, 0 to learn without; ``as_found`` takes
    recordings as they come, and their labels where there are any."""
    labels_used: Fraction = 1.0
    """Of the labelled training recordings; the others count as unlabelled."""
    min_shared_tags: PositiveInt = 1
    """Recordings with fewer in common are no positives."""
    weighting: Literal["equal", "dice"] = "equal"
    """Of positives with shared tags: all alike, or by the Dice coefficient of the two sets of tags."""
    head_hidden_size: PositiveInt = 512
    head_dim: PositiveInt = 128
    """The term's projection head, two linear layers without bias, is no part of the exported model."""
    augmentation: AugmentationConfig = AugmentationConfig()


class MulapConfig(Section):
    """The fusion model and the masks of MuLaP (Manco et al. 2022); used where one of its terms has a weight.

    The text branch is ``text_tower``, whose ``layers`` are the plain ones, L - N = 4. What the paper does not say has
    the values of the code that its authors published.
    """

    segment_s: PositiveFloat = 3.0
    """The window is cut into segments of this length, of which the audio tower makes a feature each (§2.1)."""
    fusion_layers: PositiveInt = 2
    """N, of queries of one modality and keys and values of the other."""
    fusion_size: PositiveInt = 1024
    """Of queries, keys and values, over all heads."""
    fusion_heads: PositiveInt = 8
    audio_size: PositiveInt = 256
    """Of the audio stream."""
    audio_feed_forward_size: PositiveInt = 1024
    dropout: Fraction = 0.1
    token_mask_probability: Fraction = 0.15
    """Of a token to be predicted; of those, 80 % become [MASK], 10 % a random token, and 10 % stay (BERT §3.1)."""
    segment_mask_probability: Fraction = 0.15
    mismatch_probability: Fraction = 0.5
    """Of a caption to be replaced by another one of its micro-batch."""

    @model_validator(mode="after")
    def _heads_divide(self) -> "MulapConfig":
        if self.fusion_size % self.fusion_heads:
            raise ValueError(f"fusion_size {self.fusion_size} is not a multiple of fusion_heads {self.fusion_heads}")
        return self


class BatchConfig(Section):
    """A global batch is ``micro_batches`` of ``pairs_per_micro_batch`` pairs, whatever the number of workers."""

    micro_batches: PositiveInt = 2
    pairs_per_micro_batch: Annotated[int, Field(ge=2)] = 32

    @property
    def pairs(self) -> int:
        return self.micro_batches * self.pairs_per_micro_batch


class OptimConfig(Section):
    """Adam with a linear warm-up and a step decay (MuLan §4: factor 0.9 every 40K steps)."""

    lr: PositiveFloat = 1e-4
    """Peak learning rate. MuLan's own values are not published."""
    pretrained_lr_scale: NonNegativeFloat = 1.0
    """Learning rate of warm-started trunks (text encoder, pretrained audio tower), as a multiple of ``lr``."""
    beta1: Annotated[float, Field(ge=0, lt=1)] = 0.9
    beta2: Annotated[float, Field(ge=0, lt=1)] = 0.999
    epsilon: PositiveFloat = 1e-8
    weight_decay: NonNegativeFloat = 0.0
    """Of matrices and convolutions; norms, biases and the temperature do not decay."""
    warmup_steps: NonNegativeInt = 0
    decay_factor: Annotated[float, Field(gt=0, le=1)] = 0.9
    decay_every_steps: PositiveInt = 40_000
    max_grad_norm: PositiveFloat = 1.0
    """The norm of the whole gradient is clipped to this."""


class TrainConfig(Section):
    steps: PositiveInt = 1000
    seed: int = 0
    precision: Literal["float32", "bf16"] = "float32"
    """bf16: matrix products and convolutions under autocast; weights, front end and loss stay float32."""
    compile: bool = False
    """Compile the towers with ``torch.compile``: minutes at the start, and faster steps on GPUs. What a worker compiles
    may depend on the lengths of texts that it has met first, so that on GPUs equal bits on another number of workers,
    or after a restart, are not promised."""
    zero_stage: Literal[0, 1, 2, 3] = 0
    """DeepSpeed ZeRO stage: what is sharded over the workers (nothing, optimizer, gradients, weights). With
    ``exact_sums`` each worker holds whole gradients at stage 2 as well."""
    exact_sums: bool = True
    """Add gradients up in fixed point, as multiples of 2^-38 or 4e-12, so that every step has the same bits on any
    number of workers and at any ZeRO stage. Without it steps are faster, by what ``python -m jobs.bench sums`` says,
    and runs on other numbers of workers drift apart."""
    deterministic: bool = True
    """Take only kernels that give the same bits each time, and stop with an error at a model that has none for some
    operation. Without it attention, convolutions and indexing may be faster on GPUs, and no two runs are quite the same
    there, not even on the same machine."""
    checkpoint_every_steps: PositiveInt = 500
    keep_latest_checkpoints: PositiveInt = 2
    """The newest so many."""
    keep_best_checkpoints: NonNegativeInt = 1
    """And so many more, of those that a validation stands beside: the ones with the highest scores."""
    validate_every_steps: NonNegativeInt = 0
    """Steps between validations; 0 for none but the last."""
    validation_micro_batches: NonNegativeInt = 0
    """Micro-batches of the validation split used each time; 0 for no validation."""


class HealthConfig(Section):
    """What is done when the numbers of a run go wrong; it may differ when a run is resumed."""

    non_finite: Literal["stop", "warn"] = "stop"
    """Where the loss or the gradient of a step is not finite: stop, or leave out the update of this step and go on."""
    collapse: Literal["stop", "warn"] = "warn"
    """Where the contrastive term stays within 1 % of ln(2 (B - 1)), its value when all B pairs have the same embedding:
    stop, or say so. Other terms have no such value, or one that depends on the labels of the batch."""
    collapse_steps: PositiveInt = 200
    """It stays there for so many steps in a row, all after the warm-up."""


class ScaleConfig(Section):
    """What the run takes of the cluster. Changes the speed, and never the result but in its last bits: those depend on
    the kind of device (``use_gpu``) and, on CPUs, on ``cpus_per_worker``."""

    workers: PositiveInt | tuple[PositiveInt, PositiveInt] = 1
    """Training processes, or the least and the most of them (``workers=[2, 8]``): as many as the cluster has room for,
    more or fewer as machines come and go. A number must divide ``batch.micro_batches``; of a range, those that do are
    used."""
    use_gpu: bool = False
    """One GPU a worker (NCCL); otherwise CPU workers (gloo)."""
    cpus_per_worker: PositiveInt = 1
    """CPUs of each worker. A CPU worker computes in so many threads, whatever ``OMP_NUM_THREADS`` says: sums within
    kernels are divided among threads, so that another number makes other bits. The events of a run say how many there
    were, and where a run goes on with another number. Of a GPU worker they change no result."""
    data_cpus: PositiveInt = 1
    """CPUs that read, decode and tokenize, a process each, for all workers together. Where the cluster has fewer of
    them, or none, training goes on more slowly: a worker without batches reads for itself, on its own node."""
    data_label: Annotated[
        str, Field(pattern=r"^(auto|[A-Za-z0-9./_-]+=[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?)?$")
    ] = "auto"
    """Label of the nodes that read and decode, ``name=value``; empty for any node. ``auto`` is ``pool=cpu`` where the
    cluster has such nodes, so that readers keep off GPU nodes, and any node elsewhere."""
    max_failures: NonNegativeInt = 3
    """Failures of workers survived in a row, without a new checkpoint between them; machines that were taken back after
    a notice do not count."""
    collective_timeout_s: PositiveFloat = 600.0
    """A worker that others wait for longer than this is taken for lost, and all start again from the newest
    checkpoint."""
    env: Variables = Field(default_factory=dict)
    """Environment variables of training workers, for NCCL and the network: ``scale.env.NCCL_SOCKET_IFNAME=eth0``. They
    are kept with the recipe in the run's folder, where secrets do not belong."""

    @property
    def max_workers(self) -> int:
        return self.workers if isinstance(self.workers, int) else self.workers[1]

    @property
    def min_workers(self) -> int:
        return self.workers if isinstance(self.workers, int) else self.workers[0]

    @model_validator(mode="after")
    def _range_in_order(self) -> "ScaleConfig":
        if self.min_workers > self.max_workers:
            raise ValueError(f"workers = [{self.min_workers}, {self.max_workers}]: the least come first")
        return self
