"""A sweep from joining the cluster to its results."""

import logging
import shlex
from collections.abc import Iterator
from contextlib import contextmanager

from jobs.arguments import CONSOLE
from jobs.joining import join_and_report
from mulan.data.reader import MicroBatchReader
from mulan.launch.capacity import capacity
from mulan.launch.cluster import share_reader
from mulan.runs.lease import Fence
from mulan.storage import filesystem
from tune.errors import SweepError, SweepUnfinished
from tune.plan import SweepOptions, SweepPlan
from tune.preview import describe_concurrency
from tune.results import HTML_NAME, LiveResults, SweepResults
from tune.room import trials_at_once
from tune.summary import SweepResult, compute_of
from tune.table import trials_table
from tune.trial import Trial, check_steps, planned_trials
from tune.trials import run_trials

log = logging.getLogger(__name__)


def execute(plan: SweepPlan, options: SweepOptions, reader: MicroBatchReader, fence: Fence) -> None:
    """Runs the remaining trials, writes the results, and prints all trials, best first, and where the page is.

    Args:
        plan: The sweep.
        options: The number of trials, and how they are run.
        reader: The reader of the recipe's corpus.
        fence: The fence of the sweep's lease.

    Raises:
        DamagedFile: A file of a trial is damaged.
        SweepError: No trial reached a validation, or one has been trained for more steps than the recipe's.
        SweepUnfinished: Trials were given up that another call may complete.
    """
    trials = planned_trials(plan, options.trials)
    check_steps(trials, plan.recipe.train.steps)
    results = SweepResults(plan, options)
    errors: list[str] = []
    lost: list[str] = []
    if not all(one.is_over(plan.recipe) for one in trials[: options.trials]):
        with written_whatever_happens(results, fence):
            errors, lost = _run(plan, options, trials, results, reader, fence)
    result = results.read()
    _print(result)
    results.write(result)
    CONSOLE.print(f"page: {filesystem.join(plan.run.uri, HTML_NAME)}", soft_wrap=True)
    if result.best is None and not lost:
        reasons = "; ".join(sorted(set(errors))) or "no error was reported"
        raise SweepError(f"no trial reached a validation: {reasons}")
    if lost:
        raise SweepUnfinished(f"{len(lost)} trials were given up; the same command resumes them: {lost[0]}")


def _run(
    plan: SweepPlan,
    options: SweepOptions,
    trials: list[Trial],
    results: SweepResults,
    reader: MicroBatchReader,
    fence: Fence,
) -> tuple[list[str], list[str]]:
    join_and_report(plan.recipe, plan.run, reader, label="sweep")
    cluster = capacity()
    room = options.concurrent or trials_at_once(plan.recipe.scale, cluster)
    print(f"tune  {describe_concurrency(plan.recipe.scale, room, cluster)}", flush=True)
    shared, live = share_reader(reader), LiveResults(results, CONSOLE)
    with live.shown():
        return run_trials(
            plan,
            options,
            trials,
            room=room,
            reader=shared,
            fence=fence,
            outcomes=lambda: results.read().outcomes,
            on_change=live.on_change,
        )


@contextmanager
def written_whatever_happens(results: SweepResults, fence: Fence) -> Iterator[None]:
    """Writes the results if the block raises, as it does when the sweep is interrupted."""
    try:
        yield
    except BaseException:
        try:
            fence.check()
            results.write(results.read())
        except Exception as error:  # must not hide what ended the sweep
            log.warning("the results of the sweep were not written: %s", error)
        raise


def _print(result: SweepResult) -> None:
    CONSOLE.print(trials_table(result.plan, result.outcomes))
    CONSOLE.print(compute_of(result.plan, result.outcomes).describe(), soft_wrap=True)
    for one in result.outcomes:
        if one.failure is not None:
            reason = f"{one.state} at step {one.failure.step}: {filesystem.printable(one.failure.reason)}"
            CONSOLE.print(f"{one.trial.run.name} {reason}", soft_wrap=True)
    if result.best is None:
        return
    words = shlex.join(word for setting in result.best.trial.settings for word in ("--set", setting))
    CONSOLE.print(f"best: {words or 'the recipe as it is'}", soft_wrap=True)
