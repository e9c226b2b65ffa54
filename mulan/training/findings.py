"""What is told of numbers that went wrong: a sentence, the values, and the recordings of the step."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Finding:
    """Of one step."""

    step: int
    sentence: str
    """What was found, and what is done about it."""
    values: Mapping[str, float]
    """What was measured."""
    recordings: Sequence[Sequence[str]]
    """Their ids, of each micro-batch of the global batch."""

    def to_json(self) -> str:
        """As it stands in a run's folder; what is not finite as ``"nan"``, ``"inf"`` or ``"-inf"``."""
        values = {name: value if math.isfinite(value) else str(value) for name, value in self.values.items()}
        return json.dumps(vars(self) | {"values": values}, indent=1)
