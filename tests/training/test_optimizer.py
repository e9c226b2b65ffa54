"""Tests the learning rate and the weight decay of each parameter."""

import torch

from mulan.config.sections import OptimConfig
from mulan.tasks.task import task_of
from mulan.training.optimizer import adam, learning_rate, parameter_groups, set_learning_rate
from tests.training.small import small


def group_of_each(model: torch.nn.Module, optim: OptimConfig) -> dict[str, tuple[float, float]]:
    """Returns learning-rate scale and decay by the name of each trained parameter, each of which is in one group."""
    groups = parameter_groups(model, optim)  # type: ignore[arg-type]
    places = [(id(p), (group["lr_scale"], group["weight_decay"])) for group in groups for p in group["params"]]
    assert len(dict(places)) == len(places)
    names = {id(p): name for name, p in model.named_parameters() if p.requires_grad}
    assert names.keys() == dict(places).keys()
    return {names[place]: group for place, group in places}


def test_warm_started_trunks_have_a_rate_of_their_own_and_vectors_do_not_decay() -> None:
    model = task_of(small("m_resnet50", "text_tower.layers=2", "text_tower.frozen_layers=1")).build_model()
    found = group_of_each(model, OptimConfig(pretrained_lr_scale=0.25, weight_decay=0.1))
    assert not any(name.startswith("text_tower.encoder.embeddings") for name in found)  # frozen
    for name, (scale, decay) in found.items():
        assert scale == (0.25 if name.startswith("text_tower") else 1.0), name
        vector = name.endswith((".bias", "LayerNorm.weight", "normalization.weight", "temperature_scale.logit"))
        assert decay == (0.0 if vector else 0.1), name
    assert {decay for _, decay in found.values()} == {0.0, 0.1}
    assert found["temperature_scale.logit"] == (1.0, 0.0)


def test_groups_that_train_alike_are_one() -> None:
    model = task_of(small("demo")).build_model()
    assert len(parameter_groups(model, OptimConfig(weight_decay=0.0, pretrained_lr_scale=1.0))) == 1
    assert len(parameter_groups(model, OptimConfig(weight_decay=0.1, pretrained_lr_scale=1.0))) == 2
    assert len(parameter_groups(model, OptimConfig(weight_decay=0.1, pretrained_lr_scale=0.5))) == 4


def test_the_rate_of_a_step_is_that_of_the_schedule_times_the_group_s() -> None:
    optim = OptimConfig(lr=0.01, pretrained_lr_scale=0.5, warmup_steps=4)
    optimizer = adam(task_of(small("demo")).build_model(), optim)
    for steps_done in (0, 2, 100_000):
        set_learning_rate(optimizer.param_groups, optim, steps_done)
        rates = sorted(group["lr"] for group in optimizer.param_groups)
        assert rates == [0.5 * learning_rate(optim, steps_done), learning_rate(optim, steps_done)]


def test_decay_pulls_matrices_alone() -> None:
    """With zero gradients, Adam changes nothing, and weight decay scales by 1 - lr * decay."""
    model = task_of(small("demo")).build_model()
    optimizer = adam(model, OptimConfig(lr=0.1, weight_decay=0.5))
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    for name, parameter in model.named_parameters():
        shrunk = before[name] * (1 - 0.1 * 0.5 if parameter.ndim > 1 else 1)
        torch.testing.assert_close(parameter.detach(), shrunk)
