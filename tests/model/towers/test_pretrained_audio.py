"""Tests towers of pretrained audio encoders against the networks and extractors of transformers."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from mulan.model.audio_encoder import AudioEncoder
from mulan.model.towers.pretrained_audio import PretrainedAudioTower
from mulan.tasks.audio_encoder import encoder_from_recipe
from tests.model.audio_checkpoints import (
    HIDDEN_SIZE,
    LAYERS,
    RATES_HZ,
    SMALL,
    WINDOW_S,
    checkpoint_recipe,
    reference,
    save_checkpoint,
)
from tests.sounds import tone

WEIGHTED = [kind for kind in SMALL if not kind.startswith("clap")]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return {kind: save_checkpoint(kind, tmp_path_factory.mktemp(kind)) for kind in SMALL}


def encoder_of(kind: str, folders: dict[str, str], **tower: Any) -> AudioEncoder:
    encoder = encoder_from_recipe(checkpoint_recipe(kind, folders[kind], **tower))
    assert isinstance(encoder.tower, PretrainedAudioTower)
    return encoder


def waveform(kind: str, count: int = 3) -> Tensor:
    """Returns different tones with noise, int16 [count, samples]."""
    rate_hz = RATES_HZ[kind]
    rows = [tone(300 * (1 + number), WINDOW_S, rate_hz=rate_hz, seed=number) for number in range(count)]
    return torch.from_numpy(np.round(np.stack(rows) * 32767).astype(np.int16))


def states_of(kind: str, folder: str, sound: Tensor) -> list[Tensor]:
    """Returns the pooled outputs of all layers, and for kinds with a last norm its output instead of the last one."""
    network, extractor = reference(kind, folder)
    rows = [row / 32768.0 for row in sound.numpy().astype(np.float32)]
    inputs = extractor(rows, sampling_rate=RATES_HZ[kind], return_tensors="pt")
    with torch.inference_mode():
        if kind.startswith("clap"):
            no_row_is_longer = torch.zeros(len(rows), 1, dtype=torch.bool)
            output = network(input_features=inputs["input_features"].float(), is_longer=no_row_is_longer)
            return [output.pooler_output]
        (features,) = (inputs[name] for name in ("input_values", "input_features") if name in inputs)
        output = network(features, output_hidden_states=True)
    states = [*output.hidden_states[:-1], output.last_hidden_state]
    if kind == "ast":
        return [state[:, 0] for state in states]
    # 0.5 s are 50 of the 100 frames of Whisper's front end, and half of that after its strided convolution
    return [state[:, :25].mean(dim=1) if kind == "whisper" else state.mean(dim=1) for state in states]


@pytest.mark.parametrize("frozen", [True, False])
@pytest.mark.parametrize("kind", SMALL)
def test_features_are_those_of_transformers(kind: str, frozen: bool, folders: dict[str, str]) -> None:
    encoder = encoder_of(kind, folders, frozen=frozen).eval()
    vectors = encoder(waveform(kind))
    expected = states_of(kind, folders[kind], waveform(kind))[-1]
    assert vectors.shape == (3, encoder.output_dim) == (3, HIDDEN_SIZE)
    assert expected.std(dim=0).max() > 1e-3
    torch.testing.assert_close(vectors, expected, atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize("kind", WEIGHTED)
def test_weighted_sum_of_all_layers(kind: str, folders: dict[str, str]) -> None:
    encoder = encoder_of(kind, folders, layers="weighted").eval()
    states = states_of(kind, folders[kind], waveform(kind))
    assert len(states) == LAYERS + 1
    equal = sum(state / len(states) for state in states)
    torch.testing.assert_close(encoder(waveform(kind)), equal, atol=2e-5, rtol=1e-4)
    logits = torch.tensor([0.5, -1.0, 2.0])
    encoder.tower.layer_sum.logits.data.copy_(logits)
    weights = torch.exp(logits) / torch.exp(logits).sum()
    expected = sum(weight * state for weight, state in zip(weights, states, strict=True))
    assert not torch.allclose(expected, equal, atol=1e-3)
    torch.testing.assert_close(encoder(waveform(kind)), expected, atol=2e-5, rtol=1e-4)


def gradients(encoder: AudioEncoder, kind: str) -> dict[str, Tensor | None]:
    """Returns the gradient of every parameter in float64, where a gradient that is truly zero is about 1e-16."""
    features = encoder.front_end(waveform(kind))
    tower = encoder.tower.double()
    torch.manual_seed(0)
    vectors = tower(features.double()).double()
    (vectors * torch.randn_like(vectors)).sum().backward()
    return {name: parameter.grad for name, parameter in tower.named_parameters()}


@pytest.mark.parametrize(
    ("kind", "layers"), [*((kind, "last") for kind in SMALL), *((kind, "weighted") for kind in WEIGHTED)]
)
def test_every_trained_parameter_has_a_true_gradient(kind: str, layers: str, folders: dict[str, str]) -> None:
    encoder = encoder_of(kind, folders, layers=layers).train()
    for module in encoder.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    trained = {name for name, parameter in encoder.tower.named_parameters() if parameter.requires_grad}
    assert len(trained) > 15
    found = gradients(encoder, kind)
    assert {name for name, gradient in found.items() if gradient is not None} == trained
    assert [name for name in trained if not 1e-9 < found[name].abs().max() < 1e4] == []


@pytest.mark.parametrize("kind", SMALL)
def test_nothing_of_a_frozen_network_is_trained_or_changed(kind: str, folders: dict[str, str]) -> None:
    encoder = encoder_of(kind, folders, frozen=True)
    expected = encoder.eval()(waveform(kind))
    before = {name: tensor.clone() for name, tensor in encoder.state_dict().items()}
    vectors = encoder.train()(waveform(kind))
    assert torch.equal(vectors, expected)  # no dropout, no masks, no LayerDrop, running statistics
    assert not vectors.requires_grad
    assert [name for name, parameter in encoder.named_parameters() if parameter.requires_grad] == []
    assert all(torch.equal(tensor, before[name]) for name, tensor in encoder.state_dict().items())


@pytest.mark.parametrize("kind", WEIGHTED)
def test_the_weights_of_frozen_layers_are_trained(kind: str, folders: dict[str, str]) -> None:
    encoder = encoder_of(kind, folders, frozen=True, layers="weighted").train()
    found = gradients(encoder, kind)
    assert {name for name, gradient in found.items() if gradient is not None} == {"layer_sum.logits"}
    assert found["layer_sum.logits"].abs().min() > 1e-6


def test_only_the_network_is_warm_started(folders: dict[str, str]) -> None:
    encoder = encoder_of("hubert", folders, layers="weighted")
    network = {id(parameter) for parameter in encoder.tower.network.parameters()}
    assert {id(parameter) for parameter in encoder.warm_started_parameters()} == network
    assert id(encoder.tower.layer_sum.logits) not in network


@pytest.mark.parametrize("kind", ["hubert", "whisper"])
def test_training_draws_only_from_torch(kind: str, folders: dict[str, str]) -> None:
    """The networks' own masks come from numpy's generator, which differs between workers."""
    encoder = encoder_of(kind, folders).train()
    vectors = []
    for seed in (0, 1):
        np.random.seed(seed)  # noqa: NPY002
        torch.manual_seed(7)
        vectors.append(encoder(waveform(kind)))
    assert torch.equal(*vectors)
    torch.manual_seed(8)
    assert torch.equal(encoder(waveform(kind)), vectors[0]) == (kind == "whisper")  # which has no dropout


@pytest.mark.parametrize("kind", ["hubert", "whisper", "clap"])
def test_bf16_is_for_the_network_only(kind: str, folders: dict[str, str]) -> None:
    recipe = checkpoint_recipe(kind, folders[kind], layers="weighted" if kind in WEIGHTED else "last")
    exact = encoder_from_recipe(recipe).eval()(waveform(kind))
    encoder = encoder_from_recipe(recipe.replace({"train.precision": "bf16"})).eval()
    inputs: list[Tensor] = []
    encoder.tower.register_forward_pre_hook(lambda _, args: inputs.append(args[0]))
    vectors = encoder(waveform(kind))
    assert torch.equal(inputs[0], encoder.front_end(waveform(kind)))
    assert vectors.dtype == torch.float32
    assert not torch.equal(vectors, exact)
    assert torch.cosine_similarity(vectors, exact).min() > 0.99


@pytest.mark.parametrize("frozen", [True, False])
def test_compiled_towers_compute_the_same(frozen: bool, folders: dict[str, str]) -> None:
    expected = encoder_of("hubert", folders, frozen=frozen, layers="weighted").eval()(waveform("hubert"))
    encoder = encoder_of("hubert", folders, frozen=frozen, layers="weighted").eval()
    encoder.tower.compile(backend="aot_eager")  # traces as the default backend does, which takes minutes
    torch.testing.assert_close(encoder(waveform("hubert")), expected, atol=1e-5, rtol=1e-4)
