import pytest
import torch
from torch import nn
from transformers import ASTConfig, ASTModel

from mulan.config.sections import AstTower, ResNetTower
from mulan.model.audio_towers import AstAudioTower, ResNetAudioTower, audio_tower
from tests.model.small import AST, RESNET

BOTTLENECK = ResNetTower(stem_channels=4, stage_channels=(8, 16, 32), stage_depths=(2, 1, 1))
MEL_CHANNELS, FRAMES = 20, 48


@pytest.mark.parametrize(
    ("section", "kind", "output_dim"),
    [(RESNET, ResNetAudioTower, 8), (BOTTLENECK, ResNetAudioTower, 32), (AST, AstAudioTower, 16)],
)
def test_a_spectrogram_becomes_one_vector(section: ResNetTower | AstTower, kind: type, output_dim: int) -> None:
    tower = audio_tower(section, mel_channels=MEL_CHANNELS, frames=FRAMES)
    assert isinstance(tower, kind)
    assert tower.output_dim == output_dim
    assert tower(torch.randn(3, MEL_CHANNELS, FRAMES)).shape == (3, output_dim)


@pytest.mark.parametrize("section", [RESNET, BOTTLENECK, AST], ids=["basic", "bottleneck", "ast"])
def test_every_parameter_has_a_true_gradient_of_usual_size(section: ResNetTower | AstTower) -> None:
    """In float64 a gradient that is zero in exact arithmetic is rounding noise of 1e-16 or so."""
    torch.manual_seed(0)
    tower = audio_tower(section, mel_channels=MEL_CHANNELS, frames=FRAMES).double().train()
    output = tower(torch.randn(4, MEL_CHANNELS, FRAMES, dtype=torch.float64))
    (output * torch.randn_like(output)).sum().backward()
    for name, parameter in tower.named_parameters():
        assert parameter.grad is not None, name
        assert 1e-8 < parameter.grad.abs().max() < 1e4, name


@pytest.mark.parametrize(("stem_stride", "stem_shape"), [(1, (20, 48)), (2, (10, 24))])
def test_stem_stride(stem_stride: int, stem_shape: tuple[int, int]) -> None:
    tower = ResNetAudioTower(RESNET.model_copy(update={"stem_stride": stem_stride}))
    convolutions = [module for module in tower.modules() if isinstance(module, nn.Conv2d)]
    shapes: list[torch.Size] = []
    convolutions[0].register_forward_hook(lambda module, args, output: shapes.append(output.shape))
    tower(torch.randn(2, MEL_CHANNELS, FRAMES))
    assert convolutions[0].kernel_size == (7, 7)
    assert shapes == [(2, RESNET.stem_channels, *stem_shape)]


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
    nn.init.normal_(reference.layers[0].attention.k_proj.bias)  # any value: softmax ignores it

    spectrogram = torch.randn(3, MEL_CHANNELS, FRAMES)
    expected = reference(spectrogram.transpose(1, 2)).last_hidden_state[:, 0]
    torch.testing.assert_close(tower(spectrogram), expected, atol=1e-5, rtol=1e-4)


def test_ast_depends_on_where_a_patch_stands() -> None:
    tower = AstAudioTower(AST, mel_channels=MEL_CHANNELS, frames=FRAMES).eval()
    spectrogram = torch.randn(1, MEL_CHANNELS, FRAMES)
    assert not torch.allclose(tower(spectrogram), tower(spectrogram.flip(2).flip(1)), atol=1e-4)


def test_ast_dropout_only_in_training() -> None:
    section = AST.model_copy(update={"dropout": 0.5})
    tower = AstAudioTower(section, mel_channels=MEL_CHANNELS, frames=FRAMES)
    spectrogram = torch.randn(2, MEL_CHANNELS, FRAMES)
    assert not torch.equal(tower.train()(spectrogram), tower(spectrogram))
    assert torch.equal(tower.eval()(spectrogram), tower(spectrogram))
