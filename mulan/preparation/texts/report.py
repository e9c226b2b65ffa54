"""The report of the filters of texts: what each rule saw, changed and removed, with samples."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mulan.data.errors import one_line

MAX_SAMPLES = 10
"""Maximum number of samples of a rule."""
_MAX_CHARACTERS = 200


@dataclass
class RuleCounts:
    """What a rule did."""

    texts: int = 0
    """Number of texts that the rule saw: those that the rules before it have not removed as a whole."""
    changed: int = 0
    """Number of texts of which the rule changed or split at least a part."""
    removed: int = 0
    """Number of texts, or of parts of texts that were split, that the rule removed as a whole."""
    samples: dict[bytes, tuple[str, tuple[str, ...]]] = field(default_factory=dict)
    """Texts before and after the rule, by a hash of both."""

    def add_sample(self, key: bytes, before: str, after: Sequence[str]) -> None:
        """Adds a sample, and drops the one with the greatest hash if there are too many."""
        if len(self.samples) < MAX_SAMPLES or key < max(self.samples):
            shown = one_line(before, _MAX_CHARACTERS), tuple(one_line(text, _MAX_CHARACTERS) for text in after)
            self.samples[key] = shown
            if len(self.samples) > MAX_SAMPLES:
                del self.samples[max(self.samples)]


@dataclass
class FilterReport:
    """Counts and samples of rules.

    The samples are not the first texts that a rule changed, which often resemble each other, but those with the
    smallest hashes: they are from all parts of the sources, and do not depend on the order of the texts.
    """

    rules: dict[str, RuleCounts] = field(default_factory=dict)
    """What each rule did, by its name, in the order in which they were first counted."""

    def of(self, rule: str) -> RuleCounts:
        """Returns the counts of a rule, which may be changed."""
        counts = self.rules.get(rule)
        if counts is None:
            counts = self.rules[rule] = RuleCounts()
        return counts

    def sample(self, rule: str, before: str, after: Sequence[str]) -> None:
        """Offers a sample.

        Args:
            before: Text before the rule.
            after: What remained of it; empty if the rule removed it.
        """
        written = "\0".join([before, *after]).encode(errors="surrogatepass")
        key = hashlib.blake2b(written, digest_size=8).digest()
        self.of(rule).add_sample(key, before, after)

    def as_json(self) -> dict[str, dict[str, Any]]:
        """Returns the report as JSON values: for each rule ``texts``, ``changed``, ``removed`` and ``samples``."""
        return {name: _as_json(counts) for name, counts in self.rules.items()}


def _as_json(counts: RuleCounts) -> dict[str, Any]:
    samples: list[Mapping[str, Any]] = [
        {"before": before, "after": list(after)} for _, (before, after) in sorted(counts.samples.items())
    ]
    return {"texts": counts.texts, "changed": counts.changed, "removed": counts.removed, "samples": samples}
