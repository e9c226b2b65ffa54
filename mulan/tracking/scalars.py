"""The scalars of a run: the same names in all trackers, in groups, from the lines of ``metrics.jsonl``."""

import re
import sys
import time
from collections.abc import Iterator, Mapping
from typing import Any, TypeGuard

from mulan.storage.line_values import step_of
from mulan.tracking.tracker import StepScalars

_SPEED = ("pairs_per_s", "step_s", "model_flops", "mfu", "data_cpus")
"""Keys of a line that go to the group ``speed``."""
_NOT_DRAWN = ("step", "time", "data_wait_s", "recordings_checksum")
"""Keys of a line that are no curves, or are sent as another value. Further numbers go to the group ``train``."""
_OTHER_CHARACTERS = re.compile(r"[^\w.\- ]")
"""Characters that a part of a name may not have in MLflow."""
_MAX_CHARACTERS = 250
"""Maximum length of a name in MLflow."""


def scalar_name(*parts: str) -> str:
    """Returns a name in a group that all trackers accept.

    Example:
        >>> scalar_name("validation", "recall@10"), scalar_name("evaluation", "retrieval.captions", "..")
        ('validation/recall_10', 'evaluation/retrieval.captions/__')
    """
    cleaned = (_OTHER_CHARACTERS.sub("_", part) or "_" for part in parts)
    # "." and ".." would be parts of a path
    return "/".join("_" * len(part) if not part.strip(".") else part for part in cleaned)[:_MAX_CHARACTERS]


def step_scalars(line: Mapping[str, Any]) -> StepScalars | None:
    """Returns the scalars of a line of ``metrics.jsonl``; None if it is not the line of a step.

    Numbers that are not finite, which are null in the file, have no scalar.
    """
    step = step_of(line)
    if step is None:
        return None
    ended_s = line.get("time")
    named = {name: value for name, value in _named(line) if _is_finite(value)}
    return StepScalars(step, float(ended_s) if _is_finite(ended_s) else time.time(), named)


def _named(line: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for key, value in line.items():
        if key == "validation" and isinstance(value, Mapping):
            yield from ((scalar_name("validation", name), score) for name, score in value.items())
        elif key == "skipped_recordings" and isinstance(value, Mapping):
            yield from ((scalar_name("health", f"skipped_{reason}"), count) for reason, count in value.items())
        elif key not in _NOT_DRAWN:
            yield scalar_name("speed" if key in _SPEED else "train", key), value
    waited_s, step_s = line.get("data_wait_s"), line.get("step_s")
    if _is_finite(waited_s) and _is_finite(step_s) and step_s:
        yield "speed/data_wait_ratio", waited_s / step_s


def _is_finite(value: Any) -> TypeGuard[int | float]:
    # a comparison, since math.isfinite raises for integers that are no floats
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= sys.float_info.max
