"""Results of a benchmark as a table and as JSON."""

import json
import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from mulan.benchmarks.measure import Figure
from mulan.storage import filesystem

_PACKAGES = ("torch", "transformers", "deepspeed", "ray", "open-clip-torch", "webdataset")


def machine() -> dict[str, str]:
    """Returns the processor, accelerator, memory, and versions of Python and the measured packages, by name."""
    about = {
        "processor": f"{_processor()}, {len(os.sched_getaffinity(0))} cores",
        "memory": f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.0f} GiB",
        "accelerator": _accelerator(),
        "python": platform.python_version(),
    }
    for package in _PACKAGES:
        try:
            about[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            about[package] = "not installed"
    return about


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else ():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _accelerator() -> str:
    if not torch.cuda.is_available():
        return "none"
    properties = torch.cuda.get_device_properties(0)
    return f"{torch.cuda.device_count()} x {properties.name}, {properties.total_memory / 2**30:.0f} GiB"


@dataclass(frozen=True)
class Row:
    """The measurements of one candidate."""

    name: str
    """Name of the candidate."""
    figures: Mapping[str, Figure]
    """Measurements by column; rows may have different columns."""
    remark: str = ""
    """Remark that is printed below the table."""


@dataclass(frozen=True)
class Goal:
    """A target value of the project and the measured value."""

    what: str
    """Name of the quantity."""
    measured: float
    """Measured value."""
    bound: float
    """Target value."""
    at_most: bool
    """True if the bound is a maximum, False if it is a minimum."""

    @property
    def met(self) -> bool:
        """True if the measured value is within the bound."""
        return self.measured <= self.bound if self.at_most else self.measured >= self.bound

    def __str__(self) -> str:
        sign = "≤" if self.at_most else "≥"
        return f"{'met   ' if self.met else 'MISSED'}  {self.what}: {self.measured:.3g} (goal {sign} {self.bound:g})"


@dataclass(frozen=True)
class Report:
    """The report that ``python -m jobs.bench`` prints and writes."""

    title: str
    settings: Mapping[str, Any]
    rows: Sequence[Row]
    goals: Sequence[Goal] = ()
    notes: Sequence[str] = ()
    recipe_toml: str = ""
    """Recipe that was measured, for JSON; empty if none or several were."""
    machine: Mapping[str, str] = field(default_factory=machine)

    def print(self, console: Console) -> None:
        settings = "  ".join(f"{k} {v}" for k, v in self.settings.items())
        console.print(Text.assemble((self.title, "bold"), "  ", settings))
        console.print("  ".join(f"{k}: {v}" for k, v in self.machine.items()), style="dim")
        console.print(self._list() if len(self.rows) == 1 else self._table())
        remarks = [f"{row.name}: {row.remark}" for row in self.rows if row.remark]
        for line in [*remarks, *self.notes, *map(str, self.goals)]:
            console.print(line)

    def _list(self) -> Table:
        """Returns a table with a line for each figure of the only candidate, since there may be many."""
        (row,) = self.rows
        table = Table("", Column(row.name, justify="right"))
        for name, figure in row.figures.items():
            table.add_row(name, _cell(figure))
        return table

    def _table(self) -> Table:
        columns = list(dict.fromkeys(column for row in self.rows for column in row.figures))
        table = Table()
        table.add_column("")
        for column in columns:
            table.add_column(column, justify="right")
        for row in self.rows:
            table.add_row(
                row.name, *(_cell(row.figures[column]) if column in row.figures else "" for column in columns)
            )
        return table

    def write(self, file: Path, *, command: str) -> None:
        """Writes the report as JSON, including every reading and the command that took them.

        Args:
            file: File to write or replace at once; its folder is created.
            command: Command line that produced the report.
        """
        content = {"command": command} | self.to_json()
        filesystem.write_atomically(str(file), (json.dumps(content, indent=2) + "\n").encode())

    def to_json(self) -> dict[str, Any]:
        rows = [
            {
                "name": row.name,
                "remark": row.remark,
                "figures": {
                    column: {"median": figure.median, "low": figure.low, "high": figure.high, **asdict(figure)}
                    for column, figure in row.figures.items()
                },
            }
            for row in self.rows
        ]
        return {
            "title": self.title,
            "settings": dict(self.settings),
            "recipe": self.recipe_toml,
            "machine": dict(self.machine),
            "rows": rows,
            "goals": [{**asdict(goal), "met": goal.met} for goal in self.goals],
            "notes": list(self.notes),
        }


def _cell(figure: Figure) -> str:
    """Formats median and range with three digits."""
    middle = f"{figure.median:.3g} {figure.unit}"
    return middle if len(figure.values) == 1 else f"{middle} ({figure.low:.3g} to {figure.high:.3g})"
