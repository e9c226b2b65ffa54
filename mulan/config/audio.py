"""The audio sections of a recipe: front ends and audio towers."""

from typing import Annotated, Literal

from pydantic import Field, Tag, model_validator

from mulan.config.base import Fraction, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt, Section, family


class _MelFrontEndConfig(Section):
    """A log-mel spectrogram in float32, computed on the training device, followed by SpecAugment."""

    mel_channels: PositiveInt
    """Number of mel channels."""
    window_ms: PositiveFloat = 25.0
    """Length of the analysis window in milliseconds."""
    hop_ms: PositiveFloat = 10.0
    """Distance between frames in milliseconds."""
    mel_min_hz: NonNegativeFloat
    """Lower edge of the lowest mel channel in Hz."""
    mel_max_hz: PositiveFloat
    """Upper edge of the highest mel channel in Hz."""
    mean: float
    """Mean that is subtracted from the log-mel values."""
    std: PositiveFloat
    """Divisor of the centred log-mel values, so that the tower's input has about unit variance."""
    frequency_mask_bins: NonNegativeInt
    """Upper bound of the width of SpecAugment's frequency mask in mel channels, uniform in [0, bound)."""
    time_mask_frames: NonNegativeInt
    """Upper bound of the width of SpecAugment's time mask in frames, uniform in [0, bound)."""


class VggishFrontEndConfig(_MelFrontEndConfig):
    """The log-mel front end of the ResNet-50 that M-Resnet-50 adapts (Hershey et al. 2017), known as VGGish's.

    Window and hop are MuLan's (§3.2). Mel channels, band edges and log offset are those of the network that it adapts.
    """

    family: Literal["vggish"] = "vggish"
    mel_channels: PositiveInt = 64
    mel_min_hz: NonNegativeFloat = 125.0
    mel_max_hz: PositiveFloat = 7500.0
    log_offset: PositiveFloat = 0.01
    """Offset added to the mel values before the logarithm."""
    mean: float = -1.0
    std: PositiveFloat = 1.5
    frequency_mask_bins: NonNegativeInt = 12
    time_mask_frames: NonNegativeInt = 50


class KaldiFrontEndConfig(_MelFrontEndConfig):
    """The front end of the public AST checkpoints: Kaldi filter banks (Gong et al. 2021).

    The defaults are those of ``ASTFeatureExtractor`` for the AudioSet checkpoints, and of AST's SpecAugment for
    AudioSet.
    """

    family: Literal["kaldi"] = "kaldi"
    mel_channels: PositiveInt = 128
    mel_min_hz: NonNegativeFloat = 20.0
    mel_max_hz: PositiveFloat = 8000.0
    preemphasis: Fraction = 0.97
    """Pre-emphasis coefficient: the fraction of the previous sample that is subtracted from each sample."""
    mean: float = -4.2677393
    std: PositiveFloat = 2 * 4.5689974
    frequency_mask_bins: NonNegativeInt = 48
    time_mask_frames: NonNegativeInt = 192


class DecibelFrontEndConfig(_MelFrontEndConfig):
    """The front end of musicnn (Pons et al. 2016) in the code of MuLaP's authors: a power mel spectrogram in decibels.

    Window and hop are 512 and 256 samples at 16 kHz. By default nothing is masked or normalised, since MuLaP masks
    segments and the network begins with a batch norm.
    """

    family: Literal["decibel"] = "decibel"
    mel_channels: PositiveInt = 96
    window_ms: PositiveFloat = 32.0
    hop_ms: PositiveFloat = 16.0
    mel_min_hz: NonNegativeFloat = 0.0
    mel_max_hz: PositiveFloat = 8000.0
    range_db: PositiveFloat = 80.0
    """Dynamic range in dB; values further below the maximum of their window are clamped."""
    mean: float = 0.0
    std: PositiveFloat = 1.0
    frequency_mask_bins: NonNegativeInt = 0
    time_mask_frames: NonNegativeInt = 0


class WaveformFrontEndConfig(Section):
    """No front end: the waveform is the tower's input."""

    family: Literal["waveform"] = "waveform"


class PretrainedFrontEndConfig(Section):
    """The feature extractor of the checkpoint that ``audio_tower.pretrained`` names (``preprocessor_config.json``).

    It is computed on the training device, and has no fields: all of its values are those of the checkpoint. Nothing is
    masked (no SpecAugment).
    """

    family: Literal["pretrained"] = "pretrained"


MelFrontEndConfig = VggishFrontEndConfig | KaldiFrontEndConfig | DecibelFrontEndConfig
FrontEndConfig = Annotated[
    Annotated[VggishFrontEndConfig, Tag("vggish")]
    | Annotated[KaldiFrontEndConfig, Tag("kaldi")]
    | Annotated[DecibelFrontEndConfig, Tag("decibel")]
    | Annotated[WaveformFrontEndConfig, Tag("waveform")]
    | Annotated[PretrainedFrontEndConfig, Tag("pretrained")],
    family("vggish"),
]


ExportedTower = str
"""Folder or URI of a tagger or audio encoder that was exported by a run with the same tower; the classifier of a tagger
is discarded (MuLan §3.2). If empty, the tower is initialised randomly."""

ExpectsPretrained = bool
"""Whether the source of the recipe starts this tower from pretrained weights. If so, a run without ``pretrained`` says
that it departs from its source (:func:`mulan.config.checks.pretraining_warnings`); nothing else depends on it."""


class ResNetTowerConfig(Section):
    """A residual network over the log-mel spectrogram as a one-channel image (MuLan §3.2, M-Resnet)."""

    family: Literal["resnet"] = "resnet"
    layer: Literal["basic", "bottleneck"] = "bottleneck"
    """Type of the residual blocks."""
    stem_channels: PositiveInt = 64
    """Number of output channels of the first convolution."""
    stem_stride: Literal[1, 2] = 1
    """Stride of the first convolution; MuLan removes the usual stride of 2."""
    stage_channels: tuple[PositiveInt, ...] = (256, 512, 1024, 2048)
    """Number of output channels of each stage."""
    stage_depths: tuple[PositiveInt, ...] = (3, 4, 6, 3)
    """Number of residual blocks of each stage."""
    pretrained: ExportedTower = ""
    expects_pretrained: ExpectsPretrained = False

    @model_validator(mode="after")
    def _check_stages(self) -> "ResNetTowerConfig":
        if len(self.stage_channels) != len(self.stage_depths):
            raise ValueError(
                f"stage_channels has {len(self.stage_channels)} stages and stage_depths {len(self.stage_depths)}"
            )
        return self


class AstTowerConfig(Section):
    """An Audio Spectrogram Transformer (Gong et al. 2021; MuLan §3.2, M-AST)."""

    family: Literal["ast"] = "ast"
    hidden_size: PositiveInt = 768
    """Hidden size of the transformer."""
    layers: PositiveInt = 12
    """Number of transformer layers."""
    heads: PositiveInt = 12
    """Number of attention heads; it must divide ``hidden_size``."""
    feed_forward_size: PositiveInt = 3072
    """Size of the feed-forward layers."""
    patch_size: PositiveInt = 16
    """Height and width of a patch, in mel channels and frames."""
    patch_stride: PositiveInt = 10
    """Distance between patches along both axes."""
    dropout: Fraction = 0.0
    """Dropout probability of hidden states and attention weights."""
    pretrained: str = ""
    """Folder or URI of a public AST checkpoint in the layout of ``transformers``, or ``hub:OWNER/NAME``; its position
    embeddings are interpolated to the window, and its classifier is discarded (MuLan §3.2). If empty, the tower is
    initialised randomly."""
    expects_pretrained: ExpectsPretrained = False

    @model_validator(mode="after")
    def _check_heads(self) -> "AstTowerConfig":
        if self.hidden_size % self.heads:
            raise ValueError(f"hidden_size {self.hidden_size} is not a multiple of heads {self.heads}")
        return self


class MusicnnTowerConfig(Section):
    """musicnn: parallel vertical (timbral) and horizontal (temporal) filters (Pons et al. 2016; MuLaP §3.1).

    The defaults are those of its widely used PyTorch port, whose output has 1,506 features.
    """

    family: Literal["musicnn"] = "musicnn"
    vertical_channels: PositiveInt = 204
    """Number of vertical filters of each height."""
    vertical_heights: Annotated[tuple[Annotated[float, Field(gt=0, le=1)], ...], Field(min_length=1)] = (0.7, 0.4)
    """Heights of the vertical filters as fractions of the number of mel channels, rounded down."""
    vertical_frames: Annotated[int, Field(ge=1)] = 7
    """Length of the vertical filters in frames."""
    horizontal_channels: PositiveInt = 51
    """Number of horizontal filters of each length, applied to the mean over all mel channels."""
    horizontal_frames: Annotated[tuple[PositiveInt, ...], Field(min_length=1)] = (129, 65, 33)
    """Lengths of the horizontal filters in frames."""
    dense_channels: PositiveInt = 64
    """Number of channels of the dense layers."""
    dense_layers: PositiveInt = 3
    """Number of dense layers: convolutions over 7 frames, with a residual connection around each but the first. The
    outputs of all layers are pooled."""
    pretrained: ExportedTower = ""


class SampleCnnTowerConfig(Section):
    """SampleCNN: small filters over the waveform (Lee et al. 2017), SemiSupCon's backbone.

    A convolution of stride 3 is followed by blocks that each divide the rate by 3, by a convolution that keeps rate and
    channels, and by the mean over the remaining frames. The nine default blocks require at least 59,049 samples.
    """

    family: Literal["samplecnn"] = "samplecnn"
    stem_channels: PositiveInt = 128
    """Number of output channels of the first convolution."""
    block_channels: Annotated[tuple[PositiveInt, ...], Field(min_length=1)] = (
        128,
        128,
        256,
        256,
        256,
        256,
        256,
        256,
        512,
    )
    """Number of output channels of each block."""
    pretrained: ExportedTower = ""


class PretrainedTowerConfig(Section):
    """A pretrained audio encoder of ``transformers``, whose structure is that of its checkpoint.

    Supported are HuBERT, MERT, Wav2Vec2, Data2VecAudio, the encoder of Whisper, the audio encoder of CLAP, and AST.
    ``front_end.family`` must be ``pretrained``, and ``data.sample_rate_hz`` the rate of the checkpoint's feature
    extractor. A trained network has its checkpoint's dropout, but skips no layers (LayerDrop) and masks nothing.
    """

    family: Literal["pretrained"] = "pretrained"
    pretrained: Annotated[str, Field(min_length=1)]
    """Folder or URI of a checkpoint in the layout of ``transformers`` (``config.json``, weights and
    ``preprocessor_config.json``), or ``hub:OWNER/NAME``. No code in it is run. A run that is resumed or exported reads
    it again; an exported model does not need it, and cannot be named here."""
    frozen: bool = False
    """Keep the network as it is: it has no gradients and no dropout, and its batch norms keep their statistics."""
    layers: Literal["last", "weighted"] = "last"
    """Output of the network: that of its last layer, or the sum of the outputs of all layers and of the input of the
    first one, with learned weights (SUPERB, Yang et al. 2021), which are trained even if the network is frozen."""


AudioTowerConfig = Annotated[
    Annotated[ResNetTowerConfig, Tag("resnet")]
    | Annotated[AstTowerConfig, Tag("ast")]
    | Annotated[MusicnnTowerConfig, Tag("musicnn")]
    | Annotated[SampleCnnTowerConfig, Tag("samplecnn")]
    | Annotated[PretrainedTowerConfig, Tag("pretrained")],
    family("resnet"),
]


def without_pretrained(tower: AudioTowerConfig) -> AudioTowerConfig:
    """Returns an audio tower without ``pretrained``, for a model whose weights come from elsewhere.

    A tower whose structure is that of its checkpoint is returned unchanged.
    """
    return tower if isinstance(tower, PretrainedTowerConfig) else tower.replace(pretrained="")
