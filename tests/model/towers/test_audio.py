"""Tests audio towers: shapes and gradients of every family, ResNet-50 by its formulas, and AST against transformers."""

from unittest.mock import patch

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import ASTConfig, ASTModel, ResNetConfig

from mulan.config.audio import AudioTowerConfig, MusicnnTowerConfig, ResNetTowerConfig, SampleCnnTowerConfig
from mulan.model.towers.audio import AstAudioTower, ResNetAudioTower, audio_tower
from mulan.model.towers.musicnn import MusicnnAudioTower
from mulan.model.towers.sample_cnn import SampleCnnAudioTower
from tests.model.small import AST, RESNET

BOTTLENECK = ResNetTowerConfig(stem_channels=4, stage_channels=(8, 16, 32), stage_depths=(2, 1, 1))
MUSICNN = MusicnnTowerConfig(
    vertical_channels=3, horizontal_channels=2, horizontal_frames=(9, 4), dense_channels=4, dense_layers=2
)
SAMPLE_CNN = SampleCnnTowerConfig(stem_channels=4, block_channels=(4, 6, 8))
MEL_CHANNELS, FRAMES = 20, 48
SAMPLES = 600


def inputs(section: AudioTowerConfig, count: int) -> Tensor:
    """Returns inputs for a tower of this section."""
    shape = (SAMPLES,) if isinstance(section, SampleCnnTowerConfig) else (MEL_CHANNELS, FRAMES)
    return torch.randn(count, *shape)


@pytest.mark.parametrize(
    ("section", "kind", "output_dim"),
    [
        (RESNET, ResNetAudioTower, 8),
        (BOTTLENECK, ResNetAudioTower, 32),
        (AST, AstAudioTower, 16),
        (MUSICNN, MusicnnAudioTower, 2 * (2 * 3 + 2 * 2 + 2 * 4)),
        (SAMPLE_CNN, SampleCnnAudioTower, 8),
    ],
)
def test_a_spectrogram_or_a_waveform_becomes_one_vector(section: AudioTowerConfig, kind: type, output_dim: int) -> None:
    tower = audio_tower(section, mel_channels=MEL_CHANNELS, frames=FRAMES)
    assert isinstance(tower, kind)
    assert tower.output_dim == output_dim
    assert tower(inputs(section, 3)).shape == (3, output_dim)


@pytest.mark.parametrize(
    "section",
    [RESNET, BOTTLENECK, AST, MUSICNN, SAMPLE_CNN],
    ids=["basic", "bottleneck", "ast", "musicnn", "samplecnn"],
)
def test_every_parameter_has_a_true_gradient_of_usual_size(section: AudioTowerConfig) -> None:
    """In float64, a gradient that is zero in exact arithmetic is rounding noise of about 1e-16."""
    torch.manual_seed(0)
    tower = audio_tower(section, mel_channels=MEL_CHANNELS, frames=FRAMES).double().train()
    output = tower(inputs(section, 4).double())
    (output * torch.randn_like(output)).sum().backward()
    for name, parameter in tower.named_parameters():
        assert parameter.grad is not None, name
        assert 1e-8 < parameter.grad.abs().max() < 1e4, name


@pytest.mark.parametrize(("stem_stride", "stem_shape"), [(1, (20, 48)), (2, (10, 24))])
def test_stem_stride(stem_stride: int, stem_shape: tuple[int, int]) -> None:
    tower = ResNetAudioTower(RESNET.replace(stem_stride=stem_stride))
    convolutions = [module for module in tower.modules() if isinstance(module, nn.Conv2d)]
    shapes: list[torch.Size] = []
    convolutions[0].register_forward_hook(lambda module, args, output: shapes.append(output.shape))
    tower(torch.randn(2, MEL_CHANNELS, FRAMES))
    assert convolutions[0].kernel_size == (7, 7)
    assert shapes == [(2, RESNET.stem_channels, *stem_shape)]


def convolved(image: Tensor, weights: dict[str, Tensor], name: str, *, stride: int = 1, padding: int = 0) -> Tensor:
    """Computes a convolution without bias and the batch norm after it, in evaluation mode."""
    image = functional.conv2d(image, weights[f"{name}.convolution.weight"], stride=stride, padding=padding)
    norm = (weights[f"{name}.normalization.{part}"] for part in ("running_mean", "running_var", "weight", "bias"))
    return functional.batch_norm(image, *norm)


def reference_resnet50(image: Tensor, weights: dict[str, Tensor]) -> Tensor:
    """He et al. 2016, table 1, except for the first stride; the other strides are in the 3 x 3 convolutions."""
    image = convolved(image, weights, "network.embedder.embedder", padding=3).relu()
    image = functional.max_pool2d(image, 3, stride=2, padding=1)
    for stage, depth in enumerate((3, 4, 6, 3)):
        for block in range(depth):
            name = f"network.encoder.stages.{stage}.layers.{block}"
            stride = 2 if block == 0 and stage > 0 else 1
            inner = convolved(image, weights, f"{name}.layer.0").relu()
            inner = convolved(inner, weights, f"{name}.layer.1", stride=stride, padding=1).relu()
            inner = convolved(inner, weights, f"{name}.layer.2")
            shortcut = convolved(image, weights, f"{name}.shortcut", stride=stride) if block == 0 else image
            image = (inner + shortcut).relu()
    return image


def test_the_default_is_resnet50_over_one_channel_without_the_first_stride() -> None:
    torch.manual_seed(0)
    tower = ResNetAudioTower(ResNetTowerConfig()).eval()
    for norm in (module for module in tower.modules() if isinstance(module, nn.BatchNorm2d)):
        nn.init.uniform_(norm.running_mean, -0.1, 0.1)
        nn.init.uniform_(norm.running_var, 0.9, 1.1)
        nn.init.uniform_(norm.weight, 0.5, 1.0)
    resnet50 = ResNetConfig()  # the configuration of microsoft/resnet-50
    ours = tower.network.config
    assert (ours.embedding_size, ours.layer_type) == (resnet50.embedding_size, resnet50.layer_type)
    assert (list(ours.hidden_sizes), list(ours.depths)) == (list(resnet50.hidden_sizes), list(resnet50.depths))
    # ResNet-50 has 25,557,032 parameters, 2,049,000 of them in its classifier
    without_two_channels = 25_557_032 - 2_049_000 - 2 * 64 * 7 * 7
    assert sum(parameter.numel() for parameter in tower.parameters()) == without_two_channels

    spectrogram = torch.randn(1, 64, 998)
    with torch.inference_mode():
        image = reference_resnet50(spectrogram[:, None], tower.state_dict())
        assert image.shape == (1, 2048, 4, 63)  # 64 x 998 halved by the pooling and by three of the four stages
        torch.testing.assert_close(tower(spectrogram), image.mean(dim=(2, 3)), atol=1e-4, rtol=1e-3)
        assert tower.output_dim == 2048


def test_resnet_is_pooled_over_mel_channels_and_time() -> None:
    tower = ResNetAudioTower(BOTTLENECK).eval()
    spectrogram = torch.randn(2, MEL_CHANNELS, FRAMES)
    image = tower.network(spectrogram[:, None]).last_hidden_state
    assert image.shape[2] > 1
    assert image.shape[3] > 1
    torch.testing.assert_close(tower(spectrogram), image.mean(dim=(2, 3)))


def test_resnet_takes_windows_of_any_length() -> None:
    tower = ResNetAudioTower(RESNET)
    assert tower(torch.randn(2, 64, 998)).shape == tower(torch.randn(2, 32, 16)).shape


@pytest.mark.parametrize("stage_channels", [(4, 8), (8, 16), (12, 24), (16, 32)])
@pytest.mark.parametrize("length", [50, 500])
def test_shortcuts_of_few_channels_have_true_gradients(stage_channels: tuple[int, int], length: int) -> None:
    """At some shapes, a kernel that writes past its workspace crashes the process."""
    section = ResNetTowerConfig(layer="basic", stem_channels=8, stage_channels=stage_channels, stage_depths=(1, 1))
    torch.manual_seed(0)
    shortcut = ResNetAudioTower(section).network.encoder.stages[1].layers[0].shortcut.convolution
    image = torch.randn(2, stage_channels[0], 8, length).to(memory_format=torch.channels_last)
    output = shortcut(image)
    direction = torch.randn_like(output)
    (output * direction).sum().backward()
    seen = image[:, :, ::2, ::2].double()
    true = torch.einsum("bohw, bihw -> oi", direction.double(), seen)
    torch.testing.assert_close(shortcut.weight.grad[:, :, 0, 0].double(), true, rtol=1e-4, atol=1e-4)
    expected = torch.einsum("oi, bihw -> bohw", shortcut.weight[:, :, 0, 0].double(), seen)
    torch.testing.assert_close(output.double(), expected, rtol=1e-4, atol=1e-4)


def test_ast_is_the_transformer_read_at_its_cls_position() -> None:
    tower = AstAudioTower(AST, mel_channels=MEL_CHANNELS, frames=FRAMES).eval()
    reference = ASTModel(
        ASTConfig(
            hidden_size=16,
            num_hidden_layers=1,
            num_attention_heads=2,
            intermediate_size=32,
            patch_size=8,
            frequency_stride=6,
            time_stride=6,
            max_length=FRAMES,
            num_mel_bins=MEL_CHANNELS,
        )
    ).eval()
    lacking = reference.load_state_dict(tower.network.state_dict(), strict=False)
    assert lacking.missing_keys == ["layers.0.attention.k_proj.bias"]
    assert lacking.unexpected_keys == []
    nn.init.normal_(reference.layers[0].attention.k_proj.bias)  # arbitrary, since softmax ignores it

    spectrogram = torch.randn(3, MEL_CHANNELS, FRAMES)
    expected = reference(spectrogram.transpose(1, 2)).last_hidden_state[:, 0]
    torch.testing.assert_close(tower(spectrogram), expected, atol=1e-5, rtol=1e-4)


def test_ast_attends_by_the_fused_kernel_of_torch_without_a_mask() -> None:
    """With a mask, even one that masks nothing, GPUs could not use flash attention."""
    tower = AstAudioTower(AST.replace(layers=3), mel_channels=MEL_CHANNELS, frames=FRAMES)
    fused = functional.scaled_dot_product_attention
    with patch.object(functional, "scaled_dot_product_attention", side_effect=fused) as attention:
        tower(torch.randn(2, MEL_CHANNELS, FRAMES))
    assert [call.kwargs["attn_mask"] for call in attention.call_args_list] == [None] * 3


def test_ast_depends_on_where_a_patch_stands() -> None:
    tower = AstAudioTower(AST, mel_channels=MEL_CHANNELS, frames=FRAMES).eval()
    spectrogram = torch.randn(1, MEL_CHANNELS, FRAMES)
    assert not torch.allclose(tower(spectrogram), tower(spectrogram.flip(2).flip(1)), atol=1e-4)


def test_ast_dropout_only_in_training() -> None:
    section = AST.replace(dropout=0.5)
    tower = AstAudioTower(section, mel_channels=MEL_CHANNELS, frames=FRAMES)
    spectrogram = torch.randn(2, MEL_CHANNELS, FRAMES)
    assert not torch.equal(tower.train()(spectrogram), tower(spectrogram))
    assert torch.equal(tower.eval()(spectrogram), tower(spectrogram))
