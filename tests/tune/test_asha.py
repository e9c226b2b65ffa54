"""Tests that ASHA in a resumed sweep compares with the results of earlier calls."""

from types import SimpleNamespace
from typing import Any

from ray.tune.schedulers import TrialScheduler

from tune.asha import ResumedAsha, Scores


def asha(
    over: dict[str, Scores], begun: dict[str, Scores], *, mode: str = "max", never_stopped: tuple[str, ...] = ()
) -> ResumedAsha:
    scheduler = ResumedAsha(
        score="recall",
        over=over,
        begun=begun,
        never_stopped=never_stopped,
        max_t=10,
        grace_period=2,
        reduction_factor=3,
    )
    scheduler.set_search_properties("recall", mode)
    return scheduler


def trial(name: str) -> Any:
    return SimpleNamespace(trial_id=f"ray-{name}", config={"trial": {"name": name}})


def decision(scheduler: ResumedAsha, one: Any, step: int, score: float) -> str:
    return str(scheduler.on_trial_result(None, one, {"step": step, "recall": score}))


def test_a_new_trial_is_compared_with_completed_ones() -> None:
    scheduler = asha({"a": [(2, 0.5), (4, 0.6)], "b": [(2, 0.7)]}, {})
    bad, good = trial("c"), trial("d")
    for one in (bad, good):
        scheduler.on_trial_add(None, one)
    assert decision(scheduler, bad, 2, 0.1) == TrialScheduler.STOP
    assert decision(scheduler, good, 2, 0.9) == TrialScheduler.CONTINUE


def test_a_continued_trial_is_compared_only_at_later_steps() -> None:
    scheduler = asha({"a": [(2, 0.5), (6, 0.6)], "b": [(2, 0.6), (6, 0.7)]}, {"c": [(2, 0.1)]})
    continued = trial("c")
    scheduler.on_trial_add(None, continued)
    assert decision(scheduler, continued, 4, 0.1) == TrialScheduler.CONTINUE  # it was compared at step 2
    assert decision(scheduler, continued, 6, 0.1) == TrialScheduler.STOP


def test_without_earlier_calls_it_behaves_like_asha() -> None:
    scheduler = asha({}, {})
    first, second = trial("a"), trial("b")
    for one in (first, second):
        scheduler.on_trial_add(None, one)
    assert decision(scheduler, first, 2, 0.5) == TrialScheduler.CONTINUE
    assert decision(scheduler, second, 2, 0.4) == TrialScheduler.STOP


def test_a_restarted_trial_is_not_compared_twice_at_one_step() -> None:
    scheduler = asha({"a": [(2, 0.5), (6, 0.6)]}, {})
    lost = trial("b")
    scheduler.on_trial_add(None, lost)
    assert decision(scheduler, lost, 2, 0.5) == TrialScheduler.CONTINUE
    scheduler.on_trial_error(None, lost)  # like Tune for a trial that it restarts
    scheduler.on_trial_add(None, lost)
    assert decision(scheduler, lost, 2, 0.1) == TrialScheduler.CONTINUE
    assert decision(scheduler, lost, 6, 0.1) == TrialScheduler.STOP


def test_an_exempt_trial_is_compared_with_but_not_stopped() -> None:
    scheduler = asha({"a": [(2, 0.5)], "b": [(2, 0.6)]}, {}, never_stopped=("own",))
    own, worse = trial("own"), trial("c")
    for one in (own, worse):
        scheduler.on_trial_add(None, one)
    assert decision(scheduler, own, 2, 0.1) == TrialScheduler.CONTINUE
    assert decision(scheduler, own, 6, 0.9) == TrialScheduler.CONTINUE
    assert decision(scheduler, worse, 6, 0.8) == TrialScheduler.STOP


def test_lower_may_be_better() -> None:
    scheduler = asha({"a": [(2, 5.0)], "b": [(2, 7.0)]}, {}, mode="min")
    good, bad = trial("c"), trial("d")
    for one in (good, bad):
        scheduler.on_trial_add(None, one)
    assert decision(scheduler, good, 2, 1.0) == TrialScheduler.CONTINUE
    assert decision(scheduler, bad, 2, 9.0) == TrialScheduler.STOP
