"""The audio tower that is a pretrained encoder of ``transformers``, frozen or trained."""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize
from transformers import ASTModel, ClapAudioModel, PreTrainedModel
from transformers.models.whisper.modeling_whisper import WhisperEncoder

from mulan.config.audio import PretrainedTowerConfig
from mulan.model.audio.extractors import ExtractorFrontEnd, WhisperLogMel
from mulan.model.towers.pretrained_networks import drop_key_biases


class PretrainedAudioTower(nn.Module):
    """Computes one vector from the outputs of a pretrained network. Parameters without effect are removed.

    HuBERT, MERT, Wav2Vec2, Data2VecAudio and Whisper are averaged over frames, Whisper only over those of the window
    and not of the padding to 30 s; AST is read at its [CLS] position; CLAP has an average of its own.
    """

    def __init__(
        self,
        network: PreTrainedModel,
        section: PretrainedTowerConfig,
        *,
        front_end: ExtractorFrontEnd,
        window_samples: int,
    ) -> None:
        """Wraps a network of :class:`mulan.model.towers.audio_checkpoint.AudioCheckpoint`, which is modified in place.

        Two parts of trained networks are constant: Whisper's positions, and the scale and shift of CLAP's first batch
        norm, whose statistics are updated.

        Args:
            front_end: Front end whose output is the tower's input.
            window_samples: Length of the front end's input in samples.
        """
        super().__init__()
        _drop_parameters_without_effect(network)
        self.network = network
        self.output_dim = output_dim(network)
        # the second of Whisper's two convolutions has stride 2
        self._frames = -(-front_end.frames_of(window_samples) // 2) if isinstance(front_end, WhisperLogMel) else None
        self._frozen = section.frozen
        self.layer_sum = LayerSum(num_states(network)) if section.layers == "weighted" else None
        network.requires_grad_(not section.frozen)
        if isinstance(network, WhisperEncoder):
            network.embed_positions.requires_grad_(False)  # sinusoids, which Whisper does not train
        if isinstance(network, ClapAudioModel):
            # its gradient would pass through a bicubic interpolation, which has no deterministic kernel on GPUs
            network.audio_encoder.batch_norm.requires_grad_(False)
        if self.layer_sum is not None:
            for layer in _layers(network):
                layer.register_forward_pre_hook(_separate)
        self.train(self.training)

    def train(self, mode: bool = True) -> "PretrainedAudioTower":
        """Sets the mode, but keeps a frozen network in evaluation mode."""
        super().train(mode)
        if self._frozen:
            self.network.eval()
        return self

    def forward(self, features: Tensor) -> Tensor:
        """Maps the front end's output to [B, output_dim]."""
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self._frozen):
            states = self._pooled(features)
        if self.layer_sum is None:
            return states[-1]
        weighted: Tensor = self.layer_sum(states)
        return weighted

    def _pooled(self, features: Tensor) -> list[Tensor]:
        """Returns the pooled outputs of all layers, preceded by the input of the first one; or of the last layer."""
        output = self.network(features, output_hidden_states=self.layer_sum is not None)
        if isinstance(self.network, ClapAudioModel):
            return [output.pooler_output]
        # in networks with a norm after the last layer, its output takes the place of the last layer's
        before = output.hidden_states[:-1] if self.layer_sum is not None else ()
        states = [*before, output.last_hidden_state]
        if isinstance(self.network, ASTModel):
            return [state[:, 0] for state in states]
        return [state[:, : self._frames].mean(dim=1) for state in states]


class LayerSum(nn.Module):
    """The sum of n vectors with weights that are a softmax of n parameters, equal at first (SUPERB, Yang et al. 2021).

    It is a separate module so that ZeRO stage 3 gathers its parameter.
    """

    def __init__(self, states: int) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.zeros(states))

    def forward(self, states: Sequence[Tensor]) -> Tensor:
        """Adds n vectors [B, d], and returns [B, d]."""
        weights = self.logits.softmax(dim=0)[:, None, None]
        return (weights * torch.stack(list(states))).sum(dim=0)


def output_dim(network: PreTrainedModel) -> int:
    """Returns the number of features of a network's output."""
    dim: int = network.audio_encoder.num_features if isinstance(network, ClapAudioModel) else network.config.hidden_size
    return dim


def num_states(network: PreTrainedModel) -> int:
    """Returns the number of outputs of a network's layers, and one for the input of the first one."""
    return len(list(_layers(network))) + 1


def _layers(network: PreTrainedModel) -> Iterator[nn.Module]:
    yield from network.layers if isinstance(network, ASTModel | WhisperEncoder) else network.encoder.layers


def _separate(layer: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """Returns the inputs of a layer, the first of them as another view.

    The gradients of the layer's own uses of its input are then added before that of the weighted sum, as they are at
    ZeRO stage 3, where the sum would otherwise have other bits.
    """
    return (inputs[0].view_as(inputs[0]), *inputs[1:])


def _drop_parameters_without_effect(network: PreTrainedModel) -> None:
    """Removes parameters whose true gradient is zero, and folds the weight norm of position convolutions.

    Those are the biases of attention keys, and that of a convolution before a norm of each of its channels.
    """
    drop_key_biases(network)
    if isinstance(network, ASTModel | ClapAudioModel | WhisperEncoder):
        return
    # it would require gradients of the waveform, for checkpoints of activations
    network.feature_extractor._requires_grad = False
    if getattr(network.config, "feat_extract_norm", "layer") == "group":
        network.feature_extractor.conv_layers[0].conv.register_parameter("bias", None)
    for module in list(network.encoder.pos_conv_embed.modules()):
        if parametrize.is_parametrized(module):
            parametrize.remove_parametrizations(module, "weight")
