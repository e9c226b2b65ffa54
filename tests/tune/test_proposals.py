"""Tests the order in which Ray Tune receives the trials, and when Optuna's points are chosen and stored."""

import pickle

from ray.tune.search import Searcher

from tests.tune.sweeps import plan_in
from tune.proposals import Proposals
from tune.trial import Failure, Trial, planned_trials


def test_trials_are_proposed_in_order_with_their_settings(run_folder: str) -> None:
    plan = plan_in(run_folder)
    trials = planned_trials(plan, 3)
    trials[1].fail(Failure("failed", 1, "no room"))
    proposals = Proposals(trials, lambda trial: {})
    assert proposals.suggest("a") == {"trial": {"name": "trial_0000", "settings": []}}
    assert proposals.suggest("b") == {"trial": {"name": "trial_0001", "settings": trials[1].settings}}
    assert trials[1].failure() is None
    proposals.suggest("c")
    assert proposals.suggest("d") == Searcher.FINISHED
    assert planned_trials(plan, 3) == trials


def test_a_point_is_chosen_when_its_trial_begins_and_stored_before(run_folder: str) -> None:
    plan = plan_in(run_folder, method="optuna")
    point = {"optim.lr": 0.01, "loss.temperature_init": 0.2}
    chosen: list[int] = []

    def choose(trial: Trial) -> dict[str, float]:
        chosen.append(trial.number)
        return point

    proposals = Proposals(planned_trials(plan, 3), choose)
    proposals.suggest("a")
    assert not chosen
    assert proposals.suggest("b") == {
        "trial": {"name": "trial_0001", "settings": ["loss.temperature_init=0.2", "optim.lr=0.01"]}
    }
    assert chosen == [1]
    assert [trial.point for trial in planned_trials(plan, 3)] == [{}, point, None]
    # a later call proposes the same point again
    Proposals(planned_trials(plan, 3)[1:], choose).suggest("a")
    assert chosen == [1]


def test_tune_can_store_it() -> None:
    assert isinstance(pickle.loads(pickle.dumps(Proposals([], lambda trial: {}))), Proposals)
