"""The report of a preparation: what each source gave, what was left out and why, and what became of the texts."""

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from mulan.preparation.faults import NAMED, Faults
from mulan.preparation.plan import PreparationPlan
from mulan.preparation.selection import DUPLICATE_AUDIO, EXCLUDED_AUDIO, kept
from mulan.preparation.shards import NOT_MUSIC
from mulan.preparation.workspace import PreparationRefused

_SHOWN = 5
"""Number of recordings that are shown for each reason."""
_REPORTED = ["recording_id", "reason", "detail", "fault"]
_SAMPLES = 2
"""Number of samples that are shown for each rule of texts."""


def scan_report(plan: PreparationPlan) -> dict[str, Any]:
    """Returns what a scan has found, before any audio is read."""
    faults = {**plan.scan.faults, **plan.adoption_faults}
    return {
        "sources": {name: _of_faults(found) for name, found in faults.items()},
        "splits": dict(sorted(plan.scan.splits.items())),
        "artists_in_several_splits": plan.scan.artists_in_several_splits,
        "texts": plan.scan.texts.report.as_json(),
        "shards": {"all": len(plan.chunks), "missing": len(plan.missing)},
        "adopted": plan.rows.num_rows,
    }


def report(plan: PreparationPlan, rows: Iterable[pa.Table]) -> dict[str, Any]:
    """Returns the whole report.

    Args:
        plan: Result of the scan.
        rows: A :class:`mulan.preparation.selection.SelectedResults`, or other parts of its rows.
    """
    usable, durations_s = 0, [0.0]
    left_out: dict[str, _Examples] = {}
    damaged, refused = _Examples(), _Examples()
    for part in rows:
        usable += kept(part).num_rows
        durations_s.append(pc.sum(kept(part)["duration_s"]).as_py() or 0.0)
        for row in _rows_with(part, "reason"):
            left_out.setdefault(row["reason"], _Examples()).add(f"{row['recording_id']}: {row['detail']}")
        for row in _rows_with(part, "fault"):
            damaged.add(f"{row['recording_id']}: {row['fault']}")
        for text in part["removed_texts"].combine_chunks().flatten().to_pylist():
            refused.add(text)
    by_count = sorted(left_out.items(), key=lambda item: -item[1].count)
    return scan_report(plan) | {
        "recordings": usable + plan.rows.num_rows,
        "hours": math.fsum(durations_s) / 3600,
        "left_out": {reason: asdict(found) for reason, found in by_count},
        "damaged": asdict(damaged),
        "texts_refused_by_classifier": {"count": refused.count, "samples": refused.named},
    }


def _rows_with(part: pa.Table, column: str) -> list[dict[str, Any]]:
    """Returns the rows in which a column is not empty."""
    rows: list[dict[str, Any]] = part.select(_REPORTED).filter(pc.not_equal(part[column], "")).to_pylist()
    return rows


@dataclass
class _Examples:
    """How many there are of something, and the first of them."""

    count: int = 0
    named: list[str] = field(default_factory=list)

    def add(self, name: str) -> None:
        self.count += 1
        if self.count <= NAMED:
            self.named.append(name)


def check_usable(corpus_uri: str, plan: PreparationPlan, report: Mapping[str, Any], max_left_out: float) -> None:
    """Checks that enough recordings are usable.

    Args:
        corpus_uri: Folder of the corpus, for messages.
        plan: Result of the scan.
        report: Result of :func:`report`.
        max_left_out: Maximum share of recordings whose audio cannot be used, in [0, 1].

    Raises:
        PreparationRefused: More recordings than that cannot be used, or none can; names the first ones.
    """
    wanted = (NOT_MUSIC, DUPLICATE_AUDIO, EXCLUDED_AUDIO)
    left_out = report["left_out"]
    bad = {reason: found for reason, found in left_out.items() if reason not in wanted}
    count = sum(found["count"] for found in bad.values())
    examples = "".join(f"\n  - {name}" for found in bad.values() for name in found["named"][:_SHOWN])
    all_of_them = report["recordings"] - plan.rows.num_rows + sum(found["count"] for found in left_out.values())
    if count > max_left_out * max(1, all_of_them):
        raise PreparationRefused(
            f"{corpus_uri}: {count} of {all_of_them} recordings cannot be used; --set max_left_out=SHARE allows "
            f"more:{examples}"
        )
    if not report["recordings"]:
        counts = Counter({reason: found["count"] for reason, found in left_out.items()})
        for faults in [*plan.scan.faults.values(), *plan.adoption_faults.values()]:
            counts += faults.counts
        why = ", ".join(f"{reason}: {count}" for reason, count in counts.most_common()) or "the sources are empty"
        raise PreparationRefused(f"{corpus_uri}: no recording can be used ({why}){examples}")


def scan_lines(report: Mapping[str, Any], *, detailed: bool = False) -> Iterator[str]:
    """Yields the lines that tell a user what a scan has found.

    Args:
        report: Result of :func:`scan_report`.
        detailed: Whether all recordings are named that the report names, and samples of changed texts are shown.
    """
    for name, found in report["sources"].items():
        yield f"source  {name}: {found['found']} recordings"
        yield from _left_out_lines(found["left_out"], NAMED if detailed else _SHOWN)
    if report["splits"]:
        yield "splits  " + "  ".join(f"{split} {count}" for split, count in report["splits"].items())
    if count := report["artists_in_several_splits"]:
        yield f"        {count} artists have recordings in several splits of the source"
    for rule, counts in report["texts"].items():
        if counts["removed"] or counts["changed"]:
            yield f"texts   {rule}: {counts['removed']} removed, {counts['changed']} changed"
            yield from (_sample_line(sample) for sample in counts["samples"][: _SAMPLES if detailed else 0])


def plan_lines(plan: PreparationPlan, corpus_uri: str) -> Iterator[str]:
    """Yields the lines that tell a user what would be made."""
    if plan.chunks or not plan.rows.num_rows:
        shards = f"{len(plan.missing)} of {len(plan.chunks)} shards are missing"
        yield f"would write {plan.recordings} recordings to {corpus_uri}: {shards}"
    if plan.rows.num_rows:
        yield f"would index {plan.rows.num_rows} recordings where they are, in {corpus_uri}"


def result_lines(report: Mapping[str, Any], corpus_uri: str, *, seconds: float) -> Iterator[str]:
    """Yields the lines that tell a user what has been prepared."""
    yield from _left_out_lines(report["left_out"])
    if damaged := report["damaged"]["count"]:
        yield f"        damaged, but long enough: {damaged}"
        yield from (f"          {name}" for name in report["damaged"]["named"][:_SHOWN])
    if refused := report["texts_refused_by_classifier"]["count"]:
        yield f"texts   classifier: {refused} removed"
    yield f"corpus  {report['recordings']} recordings, {report['hours']:.2f} hours, in {seconds:.0f} s: {corpus_uri}"


def _left_out_lines(left_out: Mapping[str, Any], shown: int = _SHOWN) -> Iterator[str]:
    for reason, found in left_out.items():
        yield f"        left out, {reason}: {found['count']}"
        yield from (f"          {name}" for name in found["named"][:shown])
        if found["count"] > shown:
            yield f"          and {found['count'] - shown} more"


def _sample_line(sample: Mapping[str, Any]) -> str:
    after = " | ".join(map(repr, sample["after"])) or "removed"
    return f"          {sample['before']!r}: {after}"


def _of_faults(faults: Faults) -> dict[str, Any]:
    reasons = {reason: {"count": count, "named": faults.named[reason]} for reason, count in faults.counts.most_common()}
    return {"found": faults.found, "left_out": reasons}
