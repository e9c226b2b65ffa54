"""Tests the importance of fields on figures that are known to depend on one of them."""

from tests.tune.sweeps import plan_in, trained
from tune.importance import importance_of
from tune.outcome import outcome_of
from tune.trial import planned_trials

SPACE = """
[space]
"optim.lr" = { uniform = [0.0, 1.0] }
"optim.weight_decay" = { uniform = [0.0, 1.0] }
"""


def test_the_field_that_matters_is_found_at_the_last_common_step(run_folder: str) -> None:
    plan = plan_in(run_folder, space=SPACE.replace("lr", "pretrained_lr_scale"))
    trials = planned_trials(plan, 21)
    for trial in trials[1:]:
        assert trial.point is not None
        score = trial.point["optim.pretrained_lr_scale"] + 0.05 * trial.point["optim.weight_decay"]
        # longer trials would have other figures
        trained(trial, 0.0, score, *([5.0, 7.0] if trial.number < 8 else []))
    found = importance_of(plan, [outcome_of(trial, plan) for trial in trials])
    assert found is not None
    assert (found.step, found.trials) == (4, 20)
    assert list(found.shares) == ["optim.pretrained_lr_scale", "optim.weight_decay"]
    assert found.shares["optim.pretrained_lr_scale"] > 0.8
    assert abs(sum(found.shares.values()) - 1) < 1e-6


def test_few_or_equal_figures_have_no_importance(run_folder: str) -> None:
    plan = plan_in(run_folder, space=SPACE)
    trials = planned_trials(plan, 9)
    assert importance_of(plan, [outcome_of(trial, plan) for trial in trials]) is None
    for trial in trials[1:]:
        trained(trial, 0.5)
        if trial.number == 3:
            assert importance_of(plan, [outcome_of(one, plan) for one in trials]) is None
    assert importance_of(plan, [outcome_of(trial, plan) for trial in trials]) is None
