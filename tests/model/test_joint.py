"""Tests joint models: unit rows, views, gradients of all parameters, temperature, precision, and no synchronisation."""

import math
from collections.abc import Callable

import pytest
import torch

from mulan.config.audio import AstTowerConfig, ResNetTowerConfig
from mulan.config.objectives import LossConfig, LossWeightsConfig, SemiSupConConfig
from mulan.config.recipe import Recipe
from mulan.model.joint import JointModel, Temperature
from mulan.model.towers.text_lengths import length_groups
from mulan.tasks.joint import JointTask
from tests.model.small import AST, RESNET, small_recipe, tiny_text_tower
from tests.model.waits import HostWaits

Pairs = dict[str, torch.Tensor]


@pytest.fixture
def recipe_of_views(recipe: Recipe) -> Recipe:
    """Returns a recipe with a term that compares two windows of a recording."""
    changes = {
        "loss": LossConfig(weights=LossWeightsConfig(contrastive=1, semisupcon=0.5)),
        "semisupcon": SemiSupConConfig(head_hidden_size=32, head_dim=6),
    }
    return recipe.replace(changes)


@pytest.fixture
def model_of_views(recipe_of_views: Recipe) -> JointModel:
    torch.manual_seed(0)
    return JointTask(recipe_of_views).build_model(tiny_text_tower())


def in_precision(recipe: Recipe, precision: str) -> Recipe:
    return recipe.replace({"train.precision": precision})


def assert_true_gradients(model: JointModel) -> None:
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().max() > 0, name
        assert torch.isfinite(parameter.grad).all(), name


def test_embeddings_are_unit_rows_of_the_joint_space(model: JointModel, pairs: Pairs) -> None:
    audio, text, temperature, views, bias = model(**pairs)
    assert audio.shape == text.shape == (5, 24)
    assert temperature.shape == ()
    assert views is bias is None
    assert {audio.dtype, text.dtype, temperature.dtype} == {torch.float32}
    torch.testing.assert_close(audio.norm(dim=-1), torch.ones(5))
    torch.testing.assert_close(text.norm(dim=-1), torch.ones(5))


def test_embeddings_are_the_normalised_projections_of_the_towers(model_of_views: JointModel, pairs: Pairs) -> None:
    model = model_of_views.eval()
    audio, text, _, views, _ = model(**pairs)
    assert model.view_head is not None
    assert views.shape == (5, 2, 6)
    for recording in range(5):
        for view in range(2):
            pooled = model.audio_encoder(pairs["waveform"][recording, view, None])
            row = model.view_head.layers(pooled)[0]
            torch.testing.assert_close(views[recording, view], row / row.norm(), atol=1e-5, rtol=1e-4)
            if view == 0:
                row = model.audio_projection(pooled)[0]
                torch.testing.assert_close(audio[recording], row / row.norm(), atol=1e-5, rtol=1e-4)
        sentence = model.text_tower(pairs["token_ids"][recording, None], pairs["attention_mask"][recording, None])
        row = model.text_projection(sentence)[0]
        torch.testing.assert_close(text[recording], row / row.norm(), atol=1e-5, rtol=1e-4)


def test_the_audio_tower_learns_from_every_view(model_of_views: JointModel, pairs: Pairs) -> None:
    for view in range(2):
        model_of_views.zero_grad()
        views = model_of_views.eval()(**pairs).views[:, view]
        (views * torch.randn_like(views)).sum().backward()
        for name, parameter in model_of_views.named_parameters():
            read = name.startswith(("audio_encoder.", "view_head."))
            assert (parameter.grad is not None) == read, name
            assert parameter.grad is None or parameter.grad.abs().max() > 0, name


def test_a_view_head_exists_only_if_views_are_compared(recipe: Recipe, model_of_views: JointModel) -> None:
    without = JointTask(recipe).build_model(tiny_text_tower())
    names, of_views = set(without.state_dict()), {"view_head.layers.0.weight", "view_head.layers.2.weight"}
    assert set(model_of_views.state_dict()) == names | of_views
    assert not names & of_views
    assert (without.view_head, without.audio_encoder.augmentation) == (None, None)
    assert model_of_views.audio_encoder.augmentation is not None


def test_audio_and_text_can_be_embedded_alone(model: JointModel, pairs: Pairs) -> None:
    model.eval()
    together = model(**pairs)
    torch.testing.assert_close(model.embed_audio(pairs["waveform"][:, 0]), together.audio)
    assert torch.equal(model.embed_text(pairs["token_ids"], pairs["attention_mask"]), together.text)
    assert torch.equal(model.temperature, together.temperature)


@pytest.mark.parametrize("precision", ["float32", "bf16"])
def test_every_parameter_gets_a_gradient_after_a_forward_without_one(
    recipe: Recipe, precision: str, pairs: Pairs
) -> None:
    model = JointTask(in_precision(recipe, precision)).build_model()
    with torch.no_grad():
        model(**pairs)
    audio, text, temperature, *_ = model(**pairs)
    ((audio * torch.randn_like(audio)).sum() + (text * torch.randn_like(text)).sum() / temperature).backward()
    assert_true_gradients(model)


@pytest.mark.parametrize("precision", ["float32", "bf16"])
def test_every_parameter_gets_a_gradient_if_views_are_compared(
    recipe_of_views: Recipe, precision: str, pairs: Pairs
) -> None:
    torch.manual_seed(0)
    model = JointTask(in_precision(recipe_of_views, precision)).build_model(tiny_text_tower())
    audio, text, temperature, views, _ = model(**pairs)
    parts = [(part * torch.randn_like(part)).sum() for part in (audio, text, views)]
    (sum(parts) / temperature).backward()
    assert_true_gradients(model)


def test_all_random_numbers_come_from_the_default_generator(model: JointModel, pairs: Pairs) -> None:
    model.train()
    torch.manual_seed(3)
    first, second = model(**pairs), model(**pairs)
    torch.manual_seed(3)
    again = model(**pairs)
    assert torch.equal(first.audio, again.audio)
    assert torch.equal(first.text, again.text)
    assert not torch.equal(first.audio, second.audio)  # SpecAugment
    assert not torch.equal(first.text, second.text)  # dropout


def test_nothing_is_random_in_evaluation(model: JointModel, pairs: Pairs) -> None:
    model.eval()
    assert torch.equal(model(**pairs).audio, model(**pairs).audio)
    assert torch.equal(model(**pairs).text, model(**pairs).text)


@pytest.mark.parametrize("initial", [1e-4, 0.1, 0.5, 0.99])
def test_temperature_has_its_initial_value(initial: float) -> None:
    assert math.isclose(Temperature(initial)().item(), initial, rel_tol=1e-5)


@pytest.mark.parametrize("direction", [1.0, -1.0])
def test_temperature_stays_between_0_and_1(direction: float) -> None:
    temperature = Temperature(0.1)
    optimizer = torch.optim.SGD(temperature.parameters(), lr=1e4)
    for _ in range(5):
        before = temperature().item()
        optimizer.zero_grad()
        (-direction * temperature()).backward()
        optimizer.step()
        assert 0 < temperature().item() < 1
        assert direction * (temperature().item() - before) >= 0
    assert temperature().item() == pytest.approx(1.0 if direction > 0 else 0.0, abs=1e-5)


def test_temperature_has_the_gradient_of_a_sigmoid() -> None:
    temperature = Temperature(0.1)
    temperature().backward()
    assert temperature.logit.grad is not None
    assert temperature.logit.grad.item() == pytest.approx(0.1 * 0.9, rel=1e-5)


def test_a_bias_exists_only_with_the_sigmoid_loss(recipe: Recipe, pairs: Pairs) -> None:
    weights = LossWeightsConfig(contrastive=0, siglip=1)
    of_siglip = recipe.replace(loss=LossConfig(weights=weights, bias_init=-7.5))
    torch.manual_seed(0)
    plain = JointTask(recipe).build_model(tiny_text_tower())
    torch.manual_seed(0)
    model = JointTask(of_siglip).build_model(tiny_text_tower())
    initial = plain.state_dict()
    assert {name for name in model.state_dict() if name not in initial} == {"logit_bias.bias"}
    assert all(
        torch.equal(tensor, model.state_dict()[name]) for name, tensor in initial.items() if "text_tower" not in name
    )
    outputs = model(**pairs)
    assert (outputs.bias.shape, outputs.bias.dtype, outputs.bias.item()) == ((), torch.float32, -7.5)
    (outputs.bias * 3).backward()
    assert model.logit_bias is not None and model.logit_bias.bias.grad is not None
    assert model.logit_bias.bias.grad.tolist() == [3]


def test_bf16_is_for_the_towers_only(recipe_of_views: Recipe, pairs: Pairs) -> None:
    torch.manual_seed(0)
    exact = JointTask(recipe_of_views).build_model(tiny_text_tower()).eval()
    rounded = JointTask(in_precision(recipe_of_views, "bf16")).build_model(tiny_text_tower())
    rounded.load_state_dict(exact.state_dict())
    rounded.eval()
    seen: dict[str, torch.dtype] = {}

    def record(name: str, module: torch.nn.Module) -> None:
        module.register_forward_hook(lambda _, args, output: seen.update({name: output.dtype}))

    record("front end", rounded.audio_encoder.front_end)
    for name in ("audio_encoder", "audio_projection", "text_projection"):
        record(name, getattr(rounded, name))
    for layer in (0, 2):
        record(f"view head {layer}", rounded.view_head.layers[layer])  # type: ignore[union-attr]
    record("text matrix product", rounded.text_tower.encoder.encoder.layer[0].intermediate.dense)
    audio, text, _, views, _ = rounded(**pairs)

    assert seen.pop("text matrix product") == torch.bfloat16
    assert set(seen.values()) == {torch.float32}
    assert {parameter.dtype for parameter in rounded.parameters()} == {torch.float32}
    assert audio.dtype == text.dtype == views.dtype == torch.float32
    expected = exact(**pairs)
    for computed, reference in ((audio, expected.audio), (text, expected.text), (views, expected.views)):
        assert not torch.equal(computed, reference)
        assert (computed * reference).sum(dim=-1).min() > 0.999
        torch.testing.assert_close(computed.norm(dim=-1), torch.ones(computed.shape[:-1]))


def test_grouping_texts_by_length_does_not_change_their_embeddings(model: JointModel, pairs: Pairs) -> None:
    model.eval()
    groups = length_groups(pairs["attention_mask"], 3)
    grouped = model(**pairs, groups=groups)
    torch.testing.assert_close(grouped.text, model(**pairs).text, atol=1e-5, rtol=1e-4)
    assert {longest for _, longest in groups} == {4, 6}


@pytest.mark.parametrize("groups", [None, 3])
@pytest.mark.parametrize("precision", ["float32", "bf16"])
def test_training_does_not_synchronise_with_the_device(
    recipe: Recipe, precision: str, groups: int | None, pairs: Pairs
) -> None:
    model = JointTask(in_precision(recipe, precision)).build_model().train()
    grouped = None if groups is None else length_groups(pairs["attention_mask"], groups)
    with HostWaits() as waits:
        audio, text, temperature, *_ = model(**pairs, groups=grouped)
        ((audio @ text.T) / temperature).sum().backward()
    assert waits.found == []
    assert ("index_copy" in waits.operators) == (groups is not None)


@pytest.mark.parametrize(
    "wait",
    [
        lambda numbers: bool(numbers.all()),
        lambda numbers: int(numbers.max()),
        lambda numbers: numbers[numbers > 0],
        lambda numbers: torch.where(numbers > 0),
        lambda numbers: torch.equal(numbers, numbers),
        lambda numbers: numbers + torch.tensor(1.0),
    ],
)
def test_synchronising_operations_are_detected(wait: Callable[[torch.Tensor], object]) -> None:
    numbers = torch.ones(3)
    with HostWaits() as waits:
        wait(numbers)
    assert len(waits.found) == 1


@pytest.mark.parametrize("tower", [RESNET, AST], ids=["resnet", "ast"])
def test_warm_started_parameters_are_those_of_the_text_encoder(tower: ResNetTowerConfig | AstTowerConfig) -> None:
    model = JointTask(small_recipe(tower)).build_model()
    warm_started = {id(parameter) for parameter in model.warm_started_parameters()}
    names = {name for name, parameter in model.named_parameters() if id(parameter) in warm_started}
    assert names == {name for name, _ in model.named_parameters() if name.startswith("text_tower.")}
    assert names
