"""The sections of a recipe's audio side: front ends, towers and augmentation."""

from typing import Annotated, Literal

from pydantic import Field, Tag, model_validator

from mulan.config.base import Fraction, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt, Section, family


class _MelFrontEndConfig(Section):
    """What most front ends have: a log-mel spectrogram in float32 on the training device, and SpecAugment."""

    mel_channels: PositiveInt
    window_ms: PositiveFloat = 25.0
    hop_ms: PositiveFloat = 10.0
    mel_min_hz: NonNegativeFloat
    mel_max_hz: PositiveFloat
    mean: float
    """Subtracted from the log-mel values."""
    std: PositiveFloat
    """Divides them afterwards, so that towers see values of about unit size."""
    frequency_mask_bins: NonNegativeInt
    """Widest SpecAugment mask over mel channels; its width is uniform in [0, this)."""
    time_mask_frames: NonNegativeInt
    """Widest SpecAugment mask over frames; its width is uniform in [0, this)."""


class VggishFrontEndConfig(_MelFrontEndConfig):
    """The front end of the ResNet-50 that M-Resnet-50 adapts (Hershey et al. 2017, known as VGGish's).

    Mel channels, window and hop are MuLan's (§3.2). Its band edges and log offset are not published; the defaults are
    those of the network it adapts.
    """

    family: Literal["vggish"] = "vggish"
    mel_channels: PositiveInt = 64
    mel_min_hz: NonNegativeFloat = 125.0
    mel_max_hz: PositiveFloat = 7500.0
    log_offset: PositiveFloat = 0.01
    mean: float = -1.0
    std: PositiveFloat = 1.5
    frequency_mask_bins: NonNegativeInt = 12
    time_mask_frames: NonNegativeInt = 50


class KaldiFrontEndConfig(_MelFrontEndConfig):
    """The front end of the public AST checkpoints: Kaldi's filter banks (Gong et al. 2021).

    All defaults are those of ``ASTFeatureExtractor`` for the AudioSet checkpoints, and AST's SpecAugment for AudioSet.
    """

    family: Literal["kaldi"] = "kaldi"
    mel_channels: PositiveInt = 128
    mel_min_hz: NonNegativeFloat = 20.0
    mel_max_hz: PositiveFloat = 8000.0
    preemphasis: Fraction = 0.97
    """Share of each sample's predecessor that is subtracted from it."""
    mean: float = -4.2677393
    std: PositiveFloat = 2 * 4.5689974
    frequency_mask_bins: NonNegativeInt = 48
    time_mask_frames: NonNegativeInt = 192


class DecibelFrontEndConfig(_MelFrontEndConfig):
    """The front end of musicnn (Pons et al. 2016; MuLaP §3.1): power mel spectrogram in decibels.

    Window and hop are 512 and 256 samples at 16 kHz; nothing is masked or normalised here, since MuLaP masks segments
    and the network begins with a batch norm.
    """

    family: Literal["decibel"] = "decibel"
    mel_channels: PositiveInt = 96
    window_ms: PositiveFloat = 32.0
    hop_ms: PositiveFloat = 16.0
    mel_min_hz: NonNegativeFloat = 0.0
    mel_max_hz: PositiveFloat = 8000.0
    range_db: PositiveFloat = 80.0
    """Values are raised to this much below the loudest of their own window."""
    mean: float = 0.0
    std: PositiveFloat = 1.0
    frequency_mask_bins: NonNegativeInt = 0
    time_mask_frames: NonNegativeInt = 0


class WaveformFrontEndConfig(Section):
    """No front end: the network takes the waveform itself."""

    family: Literal["waveform"] = "waveform"


MelFrontEndConfig = VggishFrontEndConfig | KaldiFrontEndConfig | DecibelFrontEndConfig
FrontEndConfig = Annotated[
    Annotated[VggishFrontEndConfig, Tag("vggish")]
    | Annotated[KaldiFrontEndConfig, Tag("kaldi")]
    | Annotated[DecibelFrontEndConfig, Tag("decibel")]
    | Annotated[WaveformFrontEndConfig, Tag("waveform")],
    family("vggish"),
]


class ResNetTowerConfig(Section):
    """A residual network over the log-mel spectrogram taken as a grey image (MuLan §3.2, M-Resnet)."""

    family: Literal["resnet"] = "resnet"
    layer: Literal["basic", "bottleneck"] = "bottleneck"
    stem_channels: PositiveInt = 64
    stem_stride: Literal[1, 2] = 1
    """Stride of the first convolution; MuLan removes the usual 2."""
    stage_channels: tuple[PositiveInt, ...] = (256, 512, 1024, 2048)
    stage_depths: tuple[PositiveInt, ...] = (3, 4, 6, 3)
    pretrained: str = ""
    """Folder or URI of a tagger or an audio encoder that a run of the same tower exported; its trunk is the first
    weights, a tagger's last layer is dropped (MuLan §3.2). Empty: weights are drawn."""

    @model_validator(mode="after")
    def _one_depth_a_stage(self) -> "ResNetTowerConfig":
        if len(self.stage_channels) != len(self.stage_depths):
            raise ValueError(
                f"stage_channels has {len(self.stage_channels)} stages and stage_depths {len(self.stage_depths)}"
            )
        return self


class AstTowerConfig(Section):
    """An Audio Spectrogram Transformer (Gong et al. 2021; MuLan §3.2, M-AST)."""

    family: Literal["ast"] = "ast"
    hidden_size: PositiveInt = 768
    layers: PositiveInt = 12
    heads: PositiveInt = 12
    feed_forward_size: PositiveInt = 3072
    patch_size: PositiveInt = 16
    patch_stride: PositiveInt = 10
    dropout: Fraction = 0.0
    pretrained: str = ""
    """Folder, or its URI, of a public AST checkpoint in the layout of ``transformers``, or ``hub:OWNER/NAME``; its
    position embeddings are interpolated to our window, its classifier is dropped (MuLan §3.2). Empty: weights are
    drawn."""

    @model_validator(mode="after")
    def _heads_divide(self) -> "AstTowerConfig":
        if self.hidden_size % self.heads:
            raise ValueError(f"hidden_size {self.hidden_size} is not a multiple of heads {self.heads}")
        return self


class MusicnnTowerConfig(Section):
    """musicnn: filters as tall as timbres and as long as rhythms, side by side (Pons et al. 2016; MuLaP §3.1).

    The numbers are those of its widespread PyTorch port, whose output has 1,506 features.
    """

    family: Literal["musicnn"] = "musicnn"
    vertical_channels: PositiveInt = 204
    """Filters of each of the heights."""
    vertical_heights: Annotated[tuple[Annotated[float, Field(gt=0, le=1)], ...], Field(min_length=1)] = (0.7, 0.4)
    """Shares of the mel channels that filters span, rounded down."""
    vertical_frames: Annotated[int, Field(ge=1)] = 7
    horizontal_channels: PositiveInt = 51
    """Filters of each of the lengths, over the mean of all mel channels."""
    horizontal_frames: Annotated[tuple[PositiveInt, ...], Field(min_length=1)] = (129, 65, 33)
    dense_channels: PositiveInt = 64
    dense_layers: PositiveInt = 3
    """Convolutions of 7 frames on top, each but the first with a shortcut; the outputs of all are kept."""
    pretrained: str = ""
    """Folder or URI of an audio encoder or tagger that a run of the same tower exported: the first weights. Empty:
    weights are drawn."""


class SampleCnnTowerConfig(Section):
    """SampleCNN: small filters over the waveform itself (Lee et al. 2017; SemiSupCon's backbone).

    A convolution of stride 3, then blocks that each divide the rate by 3; with the nine of the default, 59,049 samples
    and more are needed. What is left of time is averaged.
    """

    family: Literal["samplecnn"] = "samplecnn"
    stem_channels: PositiveInt = 128
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
    pretrained: str = ""
    """Folder or URI of an audio encoder or tagger that a run of the same tower exported: the first weights. Empty:
    weights are drawn."""


AudioTowerConfig = Annotated[
    Annotated[ResNetTowerConfig, Tag("resnet")]
    | Annotated[AstTowerConfig, Tag("ast")]
    | Annotated[MusicnnTowerConfig, Tag("musicnn")]
    | Annotated[SampleCnnTowerConfig, Tag("samplecnn")],
    family("resnet"),
]


class AugmentationConfig(Section):
    """SemiSupCon's chain of changes to the waveform, on the training device (Guinot et al. 2024).

    Ranges and probabilities are those of the code that its authors published. Each probability is that of an example
    which the chain changes at all; every example has draws of its own, which depend on the seed and its place in the
    run alone.
    """

    probability: Fraction = 0.8
    """Of an example to be changed at all."""
    gain_probability: Fraction = 0.4
    gain_low_db: float = -15.0
    gain_high_db: float = 5.0
    polarity_probability: Fraction = 0.6
    """Of being turned upside down."""
    noise_probability: Fraction = 0.6
    noise_low_snr_db: float = 3.0
    noise_high_snr_db: float = 30.0
    noise_low_decay: float = -2.0
    """The noise's power falls by frequency to the minus this: 0 is white, 2 is brown, -2 is violet."""
    noise_high_decay: float = 2.0
    filter_probability: Fraction = 0.3
    """Of one filter: low-pass, high-pass, band-pass or band-stop, all alike."""
    pitch_probability: Fraction = 0.6
    pitch_semitones: NonNegativeFloat = 4.0
    """Greatest shift, up or down."""
    delay_probability: Fraction = 0.6
    delay_low_ms: PositiveFloat = 100.0
    delay_high_ms: PositiveFloat = 500.0
    delay_volume: Fraction = 0.5
    """Of the first echo."""
    delay_repeats: PositiveInt = 2
    delay_attenuation: Fraction = 0.5
    """Of each further echo, as a share of the one before."""

    @model_validator(mode="after")
    def _in_order(self) -> "AugmentationConfig":
        for name in ("gain_{}_db", "noise_{}_snr_db", "noise_{}_decay", "delay_{}_ms"):
            low, high = name.format("low"), name.format("high")
            if getattr(self, low) > getattr(self, high):
                raise ValueError(f"{low} is above {high}")
        return self
