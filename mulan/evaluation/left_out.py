"""What models are not evaluated by, and why."""

import re

from mulan.evaluation.protocols.protocol import EvaluationProtocol
from mulan.evaluation.protocols.robustness import Robustness
from mulan.evaluation.report.summary import LeftOut


class LeftOutNotes:
    """Notes of the protocols that models are not evaluated by."""

    def __init__(self) -> None:
        self._what: dict[tuple[str, str], list[str]] = {}

    def add(self, model: str, protocol: EvaluationProtocol, reason: str) -> None:
        """Notes why a model is not evaluated by a protocol."""
        what = self._what.setdefault((model, reason), [])
        if _in_words(protocol) not in what:
            what.append(_in_words(protocol))

    @property
    def reasons(self) -> str:
        """All reasons with their models, as a part of a message."""
        return "; ".join(f"{model}: {reason}" for model, reason in self._what)

    @property
    def entries(self) -> tuple[LeftOut, ...]:
        """The protocols of each model that are left out for one reason."""
        return tuple(LeftOut(model, ", ".join(what), reason) for (model, reason), what in self._what.items())


def _in_words(protocol: EvaluationProtocol) -> str:
    """Returns what a protocol evaluates, such as ``zero shot tagging mtat_top50_tagged``."""
    if isinstance(protocol, Robustness):
        return f"robustness of {_in_words(protocol.base)}"
    kind = re.sub("(?<=[a-z])(?=[A-Z])", " ", type(protocol).__name__).lower()
    names = (getattr(protocol, key, "") for key in ("name", "vocabulary", "source"))
    return f"{kind} {next(filter(None, names), '')}".strip()
