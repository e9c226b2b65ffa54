"""The summary of a profile over all workers, as JSON, as a table, and as one line."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

from mulan.instrumentation.trace import OperatorTime, StepTimes, WorkerProfile

OPERATORS = 10
"""The number of most expensive operators that are listed."""
MAX_WORKERS = 16
"""The maximum number of workers in the table; the JSON has all."""
_PARTS = ("compute", "collectives", "data", "host")
_NAME_WIDTH = 48


@dataclass(frozen=True)
class RankProfile:
    """The profile of one worker; ``failure`` says why there is none."""

    rank: int
    host: str
    profile: WorkerProfile | None
    failure: str = ""


@dataclass(frozen=True)
class Operator:
    """An operator, averaged over the profiled steps and workers."""

    name: str
    seconds: float
    """Its own time in a step, in seconds."""
    share: float
    """Its own time as a fraction of a step."""
    calls: float
    """Number of its calls in a step."""


class ProfileSummary:
    """The summary of the profiles of all workers."""

    def __init__(self, ranks: Sequence[RankProfile], *, device: str) -> None:
        """
        Args:
            ranks: The profile of each worker.
            device: Kind of the workers' device, ``cpu`` or ``cuda``.
        """
        self._ranks, self._device = ranks, device
        self._means = {one.rank: _mean(one.profile.steps) for one in ranks if one.profile and one.profile.steps}
        self.mean = _mean(list(self._means.values())) if self._means else None
        """The mean step over all workers; None if none has a profile."""
        self.operators = self._operators()
        """The most expensive operators, the first one first."""

    @property
    def _steps(self) -> list[int]:
        return sorted({one.step for rank in self._ranks if rank.profile for one in rank.profile.steps})

    def _operators(self) -> list[Operator]:
        totals: dict[str, OperatorTime] = defaultdict(OperatorTime)
        profiles = [rank.profile for rank in self._ranks if rank.profile]
        for profile in profiles:
            for name, time in profile.operators.items():
                totals[name].seconds += time.seconds
                totals[name].calls += time.calls
        num_steps = sum(len(profile.steps) for profile in profiles)
        seconds = sum(step.total for profile in profiles for step in profile.steps)
        expensive = sorted(totals.items(), key=lambda item: (-item[1].seconds, item[0]))[:OPERATORS]
        return [
            Operator(name, time.seconds / num_steps, time.seconds / seconds, time.calls / num_steps)
            for name, time in expensive
            if num_steps and seconds
        ]

    def to_json(self) -> dict[str, Any]:
        """Returns the summary as JSON: seconds, and fractions of a step."""
        return {
            "device": self._device,
            "steps": self._steps,
            "mean_step": None if self.mean is None else _seconds(self.mean),
            "operators": [asdict(operator) for operator in self.operators],
            "workers": [
                {
                    "rank": one.rank,
                    "host": one.host,
                    "steps": [asdict(step) for step in one.profile.steps] if one.profile else [],
                    **({"failure": one.failure} if one.failure else {}),
                }
                for one in self._ranks
            ],
        }

    def line(self) -> str:
        """Returns the summary in one line."""
        if self.mean is None:
            return "no step was profiled"
        parts = ", ".join(f"{part} {getattr(self.mean, part) / self.mean.total:.0%}" for part in _PARTS)
        first = self.operators[:1]
        return f"{self.mean.total:.3g} s a step: {parts}" + "".join(f"; most in {one.name}" for one in first)

    def table(self) -> str:
        """Returns the summary as text: the parts of a step for each worker, and the most expensive operators."""
        lines = [f"{'worker':<8}{'s a step':>10}" + "".join(f"{part:>13}" for part in _PARTS) + "  host name"]
        for rank in self._listed():
            if rank.rank in self._means:
                lines.append(_row(str(rank.rank), self._means[rank.rank]) + f"  {rank.host}")
            else:
                lines.append(f"{rank.rank:<8}{rank.failure}  {rank.host}")
        left = len(self._ranks) - len(self._listed())
        if self.mean is not None:
            lines.append(_row("mean", self.mean) + (f"  ({left} workers not shown)" if left else ""))
        own = "time of its kernels" if self._device == "cuda" else "own time"
        lines += ["", f"{'operator':<{_NAME_WIDTH}}{'calls a step':>14}{own + ', ms':>24}{'of a step':>11}"]
        lines += [
            f"{_short(one.name):<{_NAME_WIDTH}}{one.calls:>14.1f}{1000 * one.seconds:>24.2f}{one.share:>11.1%}"
            for one in self.operators
        ]
        return "\n".join(lines)

    def _listed(self) -> list[RankProfile]:
        """Returns the workers in the table: of many, those that the others wait for, who wait least themselves."""
        if len(self._ranks) <= MAX_WORKERS:
            return list(self._ranks)
        waits = {rank: mean.collectives / mean.total for rank, mean in self._means.items()}
        return sorted(sorted(self._ranks, key=lambda one: waits.get(one.rank, -1.0))[:MAX_WORKERS], key=_rank)


def _rank(one: RankProfile) -> int:
    return one.rank


def _mean(steps: Sequence[StepTimes]) -> StepTimes:
    names = [field.name for field in fields(StepTimes) if field.name != "step"]
    means = {name: sum(getattr(step, name) for step in steps) / len(steps) for name in names}
    return StepTimes(step=steps[0].step, **means)


def _seconds(step: StepTimes) -> Mapping[str, float]:
    return {name: value for name, value in asdict(step).items() if name != "step"}


def _row(name: str, step: StepTimes) -> str:
    return f"{name:<8}{step.total:>10.3f}" + "".join(f"{getattr(step, part) / step.total:>13.1%}" for part in _PARTS)


def _short(name: str) -> str:
    """Returns a name that fits its column, and has no control characters."""
    name = "".join(letter if letter.isprintable() else "?" for letter in name)
    return name if len(name) < _NAME_WIDTH else name[: _NAME_WIDTH - 2] + "…"
