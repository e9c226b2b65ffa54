"""What a sweep searches: the recipe, the space, the method, and the objectives; written to the sweep's folder."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from mulan.config.parsing import parse_json
from mulan.config.recipe import Recipe
from mulan.runs.run import Run
from mulan.storage import filesystem
from mulan.storage.jsonl import DamagedFile
from tune.early_stopping import EarlyStopping
from tune.errors import SweepError
from tune.objective import Objective
from tune.space import Space

Method = Literal["random", "grid", "optuna"]

MAX_TRIALS = 10_000
"""The maximum number of trials: the numbers in their names have four digits."""


@dataclass(frozen=True)
class SweepOptions:
    """What may differ between the calls of a sweep."""

    trials: int
    """The number of trials to complete, including those of earlier calls."""
    concurrent: int | None
    """The number of concurrent trials; None for as many as the cluster can ever hold."""
    early_stopping: EarlyStopping | None
    """When ASHA stops trials; None trains all of them to the end."""
    train_command: tuple[str, ...]
    """The command that trains the recipe, to which a name and the settings of a trial are added."""


@dataclass(frozen=True)
class SweepPlan:
    """The definition of a sweep."""

    recipe: Recipe
    """The recipe whose fields are varied."""
    run: Run
    """The folder of the sweep."""
    space: Space
    method: Method
    """How points are chosen: drawn at random, all of a grid, or by Optuna's tree-structured Parzen estimator."""
    objectives: tuple[Objective, ...]
    """What trials are compared by. The first one decides which are stopped early, and the order of tables."""

    @property
    def runs_uri(self) -> str:
        """URI of the folder of the trials' runs."""
        return filesystem.join(self.run.uri, "trials")

    @property
    def objective(self) -> Objective:
        """The first objective."""
        return self.objectives[0]

    def to_json(self) -> dict[str, Any]:
        """Returns what a later call must not change."""
        return {
            "space": self.space.to_json(),
            "search": self.method,
            "objectives": {objective.name: objective.goal for objective in self.objectives},
        }

    def check(self) -> None:
        """Checks that a sweep of this name, if there is one, searches the same.

        Raises:
            DamagedFile: Its ``search.json`` is damaged.
            SweepError: It searches something else; lists what differs. Or there is a run of this name.
        """
        if not filesystem.exists(self._uri):
            if any(name.startswith("metrics") for name in filesystem.names_in(self.run.uri)):
                raise SweepError(f"{self.run.uri} is a run; give the sweep another --name")
            if any(name.startswith("trial_") for name in filesystem.names_in(self.runs_uri)):
                raise SweepError(f"sweep {self.run.uri} is of an earlier version of mulan; give another --name")
            return
        try:
            there = parse_json(filesystem.read_bytes(self._uri))
            differing = list(_differing(there, json.loads(json.dumps(self.to_json()))))
        except (ValueError, TypeError, AttributeError) as error:
            raise DamagedFile(f"{self._uri} is damaged; restore it, or give another --name") from error
        if differing:
            listed = "".join(f"\n  - {difference}" for difference in differing)
            raise SweepError(f"sweep {self.run.uri} searches something else; give this one another --name{listed}")

    def write(self) -> None:
        """Writes the definition to the sweep's folder.

        Raises:
            StorageError: It cannot be written.
        """
        filesystem.write_atomically(self._uri, json.dumps(self.to_json(), indent=1).encode())

    @property
    def _uri(self) -> str:
        return filesystem.join(self.run.uri, "search.json")


def _differing(there: Mapping[str, Any], here: Mapping[str, Any]) -> "list[str]":
    old, new = _flat(there), _flat(here)
    return [
        f"{key}: {old.get(key, 'nothing')} there, {new.get(key, 'nothing')} here"
        for key in sorted(old.keys() | new.keys())
        if old.get(key) != new.get(key)
    ]


def _flat(definition: Mapping[str, Any]) -> dict[str, Any]:
    return {
        f"{name} {key}".strip(): item
        for name, value in definition.items()
        for key, item in (value.items() if isinstance(value, Mapping) else [("", value)])
    }
