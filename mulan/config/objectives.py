"""The objectives of a recipe: the weights of the loss terms, which of them go together, and their other settings.

The metric by which runs are compared is chosen here too, where no command needs torch for it.
"""

import math
from typing import Annotated, Literal, NamedTuple

from pydantic import Field, PlainValidator, model_validator

from mulan.config.augmentation import AugmentationConfig
from mulan.config.base import Fraction, NonNegativeFloat, PositiveFloat, PositiveInt, Section


class LossWeightsConfig(Section):
    """Weight of each loss term; a term of weight 0 is not computed."""

    contrastive: NonNegativeFloat = 1.0
    """Weight of MuLan's batch-wise contrastive multiview coding (§3.1)."""
    clip: NonNegativeFloat = 0.0
    """Weight of CLIP's symmetric InfoNCE (Radford et al. 2021), another loss of the same pairs."""
    decoupled: NonNegativeFloat = 0.0
    """Weight of decoupled contrastive learning (Yeh et al. 2022), the mean of both directions, by which public MuLan
    code (musiclm-pytorch, MuQ-MuLan) trains the same pairs."""
    siglip: NonNegativeFloat = 0.0
    """Weight of the sigmoid loss (SigLIP, Zhai et al. 2023) of the same pairs; it learns a bias besides the
    temperature, and is not trained together with the three above."""
    semisupcon: NonNegativeFloat = 0.0
    """Weight of semi-supervised contrastive learning of windows (Guinot et al. 2024), alone or with the terms above."""
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
    def uses_classes(self) -> bool:
        """True if any term with a weight requires labels of the classes in the section ``tagging``."""
        return self.tagging > 0

    @property
    def embeds_text(self) -> bool:
        """True if the trained model embeds audio and text in one space, so that it can be queried by text."""
        return any(getattr(self, term) > 0 for term in CROSS_MODAL)


CROSS_MODAL = ("contrastive", "clip", "decoupled", "siglip")
"""The terms that compare audio with text. They share the learnable temperature."""


class SelectionMetric(NamedTuple):
    """A validation score by which checkpoints, and the trials of a sweep, are compared; higher is better."""

    name: str
    """Name of the metric among the scores of a validation."""
    label: str
    """Name of the metric in tables and progress lines."""


TRAINED_TOGETHER: tuple[tuple[str, ...], ...] = (
    (*CROSS_MODAL, "semisupcon"),
    ("mlm", "mam", "atm"),
    ("tagging",),
)
"""Groups of terms that a model can be trained on together; terms of different groups need different models."""

_RECALL = SelectionMetric("recall10", "recall@10")

SELECTION_METRICS = {
    **dict.fromkeys(CROSS_MODAL, _RECALL),
    "semisupcon": _RECALL,
    "atm": SelectionMetric("atm_accuracy", "matching accuracy"),
    "mlm": SelectionMetric("mlm_accuracy", "masked-token accuracy"),
    "mam": SelectionMetric("mam_r2", "masked-audio R2"),
    "tagging": SelectionMetric("map", "mAP"),
}
"""The selection metric of each term. If several terms have a weight, the first one listed here is used."""


def selection_metric(weights: LossWeightsConfig) -> SelectionMetric:
    """Returns the selection metric of a recipe: that of the first term in :data:`SELECTION_METRICS` with a weight.

    It does not depend on the model, so that progress lines and the tables of sweeps can show it without loading torch.
    """
    return next(metric for term, metric in SELECTION_METRICS.items() if getattr(weights, term) > 0)


class LossConfig(Section):
    """The weights of the loss terms, and the other settings of those that compare audio with text."""

    weights: LossWeightsConfig = LossWeightsConfig()
    temperature_init: Annotated[float, Field(gt=0, lt=1)] = 0.1
    """Initial value of the learnable temperature. MuLan states it (§4); 0.1 is the value in published summaries of the
    paper. SigLIP's is 0.1 too, CLIP's 0.07. A sigmoid keeps it between 0 and 1; it is not clipped at 0.01, as CLIP's
    is."""
    bias_init: Annotated[float, Field(ge=-1000, le=1000)] = -10.0
    """Initial value of the learnable bias that ``siglip`` adds to the similarities (Zhai et al. 2023, §3.2)."""
    mask_equal_texts: bool = False
    """Do not treat pairs with equal texts as negatives of each other: their similarities are left out of the
    denominators, and of the sum of ``siglip``. Texts are equal if their tokens are. No paper of the recipes does so."""


def collapsed_losses(loss: LossConfig, pairs: int) -> dict[str, float]:
    """Returns the values of the terms with a weight if all B pairs have the same embedding.

    Only the values that follow from B are known: those of ``contrastive``, ln(2 (B - 1)), of ``clip``, ln B, and of
    ``decoupled``, ln(B - 1). That of ``siglip`` depends on temperature and bias, and with ``mask_equal_texts`` all
    depend on the texts of the batch.
    """
    if loss.mask_equal_texts:
        return {}
    values = {"contrastive": math.log(2 * (pairs - 1)), "clip": math.log(pairs), "decoupled": math.log(pairs - 1)}
    return {term: value for term, value in values.items() if getattr(loss.weights, term) > 0}


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

    In both modalities, self-attention follows each co-attention layer, as in the code that the authors published and in
    ViLBERT; the paper's figure 2 shows co-attention only. The self-attention layers of the text are those of
    ``text_tower``, L = 6 in the recipe: the last ``fusion_layers`` of them each follow a co-attention layer, and the
    others, L - N = 4, precede the first. Values that the paper does not state are those of the authors' code.
    """

    segment_s: PositiveFloat = 3.0
    """Length in seconds of the segments that the window is divided into (§3.1: 3 s); the audio tower computes one
    feature per segment (§2.1)."""
    fusion_layers: PositiveInt = 2
    """Number of co-attention layers N, in which each modality attends to the other."""
    fusion_size: PositiveInt = 1024
    """Size of queries, keys and values in co-attention, over all heads."""
    fusion_heads: PositiveInt = 8
    """Number of attention heads in co-attention."""
    audio_layers: PositiveInt = 6
    """Number of self-attention layers of the audio stream: one after each co-attention layer, and the others after the
    last one."""
    audio_heads: PositiveInt = 8
    """Number of attention heads in the self-attention of the audio stream; it must divide ``audio_size``."""
    audio_size: PositiveInt = 256
    """Hidden size of the audio stream."""
    audio_feed_forward_size: PositiveInt = 1024
    """Size of the feed-forward layers of the audio stream."""
    dropout: Fraction = 0.1
    """Dropout probability of the fusion model, apart from the text layers, which have that of their encoder."""
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
        if self.audio_size % self.audio_heads:
            raise ValueError(f"audio_size {self.audio_size} is not a multiple of audio_heads {self.audio_heads}")
        return self
