"""The sections of a recipe other than those of audio and objectives: frozen, validated on construction.

Units are part of the field names (``_hz``, ``_s``, ``_ms``); ranges are part of the field types. A component receives
its own section, not the whole recipe.
"""

import math
from typing import Annotated, Literal, get_args

from pydantic import Field, model_validator

from mulan.config.base import Fraction, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt, Section, Variables

StoredSource = Literal[
    "short_form", "long_form", "playlist", "audioset", "short_form_unfiltered", "long_form_unfiltered"
]
"""The sources of a recording's texts: those of MuLan §3.4 (SF, LF, PL and ASET), and SF and LF before filtering."""

STORED_SOURCES: tuple[StoredSource, ...] = get_args(StoredSource)

Source = Literal[StoredSource, "tags"]
"""The sources of the texts of pairs: the stored ones, and a recording's tags without their category."""

SOURCES: tuple[Source, ...] = get_args(Source)


class SourceRatioConfig(Section):
    """Relative share of each text source in every global batch (MuLan §3.4: 2:2:1:1); 0 disables a source."""

    short_form: NonNegativeFloat = 2
    long_form: NonNegativeFloat = 2
    playlist: NonNegativeFloat = 1
    audioset: NonNegativeFloat = 1
    short_form_unfiltered: NonNegativeFloat = 0
    long_form_unfiltered: NonNegativeFloat = 0
    tags: NonNegativeFloat = 0
    """Share of recordings whose texts are their tags without the category: "bossa nova" of "genre:bossa nova"."""

    @model_validator(mode="after")
    def _check_sources(self) -> "SourceRatioConfig":
        if not any(getattr(self, source) for source in SOURCES):
            raise ValueError("at least one source must have a share above 0")
        return self


TextSampling = Literal["one", "subset", "all"]
"""Rule by which the text of a pair is formed from a recording's texts of one source."""


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
    text_sampling: TextSampling = "one"
    """Rule by which the text of a training pair is formed from the recording's texts of the pair's source: ``one`` of
    them at random (MuLan §3.1); a ``subset`` of k in random order, joined by commas, with k uniform from 1 to their
    number, as TTMR joins tags (Doh et al. 2023, arXiv:2211.14558); or ``all``, joined by commas in their stored order,
    which MuLan tried too and found to work less well (§3.1). Equal texts are joined once, and
    ``text_tower.max_tokens`` truncates the result. Validation always uses ``one``, so that scores of runs with
    different rules are over the same queries."""
    max_skipped_share: Fraction = 0.01
    """Maximum share of examples whose recording was skipped and replaced; the run stops above it."""

    @property
    def window_samples(self) -> int:
        """Length of the audio window in samples."""
        return round(self.window_s * self.sample_rate_hz)


Pooling = Literal["cls", "mean", "last"]
"""The output of a text encoder that represents a text: at its first position, the mean over its tokens, or at its last
token."""


class TextTowerConfig(Section):
    """A pretrained encoder whose pooled outputs represent the text; MuLan's is BERT at its [CLS] position (§3.3)."""

    pretrained: str = ""
    """Folder or URI (``s3://...``) in the layout of ``transformers`` (``config.json``, weights, tokenizer);
    ``hub:OWNER/NAME`` for a model of the Hugging Face hub or its local cache; or ``python:PACKAGE/FOLDER`` for a folder
    inside an installed Python package. If empty, there is no text tower, as for losses that use no text."""
    layers: NonNegativeInt = 0
    """Number of encoder layers to keep, from the bottom; 0 keeps all."""
    frozen_layers: NonNegativeInt = 0
    """Number of layers to freeze, from the bottom. The token embeddings are frozen too, and frozen layers have no
    dropout. 0 trains all layers."""
    pooling: Pooling = "cls"
    """The output that represents a text, best the one that the encoder was trained with: ``cls``, at the first
    position, whose token is a special one (MuLan §3.3); ``mean`` over the tokens of the text, special ones included, as
    of most sentence encoders; or ``last``, at the last token, as of embedders with a causal network."""
    prefix: str = ""
    """Text before every text, in training, evaluation and exported models, for encoders that were trained with one
    before every text and represent texts worse without it: ``query: `` for those of the E5 family. On the command line
    quotes keep a space at its end: ``--set 'text_tower.prefix="query: "'``."""
    length_groups: PositiveInt = 1
    """Number of groups of similar length in which the texts of a micro-batch are encoded, each padded to its longest
    text. The result does not depend on it; on CPUs, more groups save time if lengths vary widely."""
    max_tokens: Annotated[int, Field(ge=3, le=512)] = 512
    """Maximum number of tokens of a text, including special ones ([CLS], [SEP]) and the prefix; longer texts are
    truncated."""


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
    """Adam, and the schedule of its learning rate: a linear warm-up, then one of three decays."""

    lr: PositiveFloat = 1e-4
    """Peak learning rate. MuLan states one for each of its models (§4). We do not know these numbers: the default
    is our choice."""
    pretrained_lr_scale: NonNegativeFloat = 1.0
    """Learning rate of pretrained parameters (text encoder, pretrained audio tower), as a multiple of ``lr``. MuLan
    mentions no such multiple."""
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
    schedule: Literal["step", "linear", "cosine"] = "step"
    """Decay of the learning rate: ``step`` multiplies it by ``decay_factor`` at intervals (MuLan §4: 0.9 every 40K
    steps); ``linear`` and ``cosine`` (half a period) lower it from the warm-up to 0 at ``decay_until_step``, and do not
    use the three fields of ``step``."""
    decay_factor: Annotated[float, Field(gt=0, le=1)] = 0.9
    """With ``step``, factor by which the learning rate is multiplied every ``decay_every_steps`` steps; 1 keeps it
    constant."""
    decay_every_steps: PositiveInt = 40_000
    """With ``step``, number of steps between decays of the learning rate."""
    decay_start_step: NonNegativeInt = 0
    """With ``step``, the step from which the intervals are counted: the first decay is at
    ``decay_start_step + decay_every_steps``."""
    decay_until_step: NonNegativeInt = 0
    """With ``linear`` and ``cosine``, which require it, the number of steps after which the learning rate is 0: the
    length of the longest run, normally ``train.steps``. It is a field of its own so that no step depends on
    ``train.steps``, and cannot change when a run is resumed."""
    max_grad_norm: NonNegativeFloat = 1.0
    """Maximum norm of the gradient over all parameters; larger gradients are clipped. 0 switches clipping off; the norm
    is still measured. MuLan does not mention clipping, and the published code of MuLaP, SemiSupCon and PSLA does not
    clip: that MuLan's recipes clip to 1 is our choice."""
    ema_decay: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Decay rate, per update, of an exponential moving average of the trained weights that starts from the initial
    ones; 0 keeps none. Validation and export use the average, with the running statistics of batch norm as they are,
    and checkpoints contain it. It takes one more float32 copy of the weights that a worker holds: of all trained
    weights or, at ZeRO stage 3, of its shards."""

    @property
    def clipping_norm(self) -> float:
        """The norm above which gradients are clipped: infinity without clipping."""
        return self.max_grad_norm or math.inf


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
    embedding, or those of ``clip`` and ``decoupled`` within 1 % of ln B and ln(B - 1): stop the run, or warn. Other
    terms have no such value, or one that depends on the batch, as these do with ``loss.mask_equal_texts``."""
    collapse_steps: PositiveInt = 200
    """Number of consecutive steps after the warm-up for which the terms must stay in this range."""


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
    gpus_per_worker: Annotated[float, Field(gt=0, le=1)] = 1.0
    """GPUs of each worker with ``use_gpu``: 1, or a fraction, so that several trials of a sweep share a GPU. Workers of
    one run never share a GPU, which NCCL does not allow: with a fraction, ``workers`` must be 1."""
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
    def _check_workers(self) -> "ScaleConfig":
        if self.min_workers > self.max_workers:
            raise ValueError(f"workers = [{self.min_workers}, {self.max_workers}]: the minimum must come first")
        if self.gpus_per_worker < 1 and self.max_workers > 1:
            raise ValueError(
                f"gpus_per_worker = {self.gpus_per_worker:g} with up to {self.max_workers} workers: workers of one run "
                "cannot share a GPU; set workers to 1"
            )
        return self
