"""The report of a preparation: what each source gave, what was left out and why, and what became of the texts."""

from collections import Counter
from collections.abc import Iterator, Mapping
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


def report(plan: PreparationPlan, rows: pa.Table) -> dict[str, Any]:
    """Returns the whole report.

    Args:
        plan: Result of the scan.
        rows: Result of :func:`mulan.preparation.selection.select`.
    """
    usable = kept(rows)
    return scan_report(plan) | {
        "recordings": usable.num_rows + plan.rows.num_rows,
        "hours": float((pc.sum(usable["duration_s"]).as_py() or 0.0) / 3600),
        "left_out": _left_out(rows),
        "damaged": _named(rows.filter(pc.not_equal(rows["fault"], "")), "fault"),
        "texts_refused_by_classifier": _refused_texts(rows),
    }


def check_usable(corpus_uri: str, plan: PreparationPlan, rows: pa.Table, max_left_out: float) -> None:
    """Checks that enough recordings are usable.

    Args:
        corpus_uri: Folder of the corpus, for messages.
        plan: Result of the scan.
        rows: Result of :func:`mulan.preparation.selection.select`.
        max_left_out: Maximum share of recordings whose audio cannot be used, in [0, 1].

    Raises:
        PreparationRefused: More recordings than that cannot be used, or none can; names the first ones.
    """
    wanted = (NOT_MUSIC, DUPLICATE_AUDIO, EXCLUDED_AUDIO)
    left_out = _left_out(rows)
    bad = {reason: found for reason, found in left_out.items() if reason not in wanted}
    count = sum(found["count"] for found in bad.values())
    usable = kept(rows).num_rows + plan.rows.num_rows
    examples = "".join(f"\n  - {name}" for found in bad.values() for name in found["named"][:_SHOWN])
    if count > max_left_out * max(1, rows.num_rows):
        raise PreparationRefused(
            f"{corpus_uri}: {count} of {rows.num_rows} recordings cannot be used; --set max_left_out=SHARE allows "
            f"more:{examples}"
        )
    if not usable:
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


def _left_out(rows: pa.Table) -> dict[str, Any]:
    left_out = rows.filter(pc.not_equal(rows["reason"], ""))
    counts = Counter(left_out["reason"].to_pylist())
    return {
        reason: dict(_named(left_out.filter(pc.equal(left_out["reason"], reason)), "detail"))
        for reason, _ in counts.most_common()
    }


def _named(rows: pa.Table, column: str) -> Mapping[str, Any]:
    first = rows.slice(0, NAMED)
    pairs = zip(first["recording_id"].to_pylist(), first[column].to_pylist(), strict=True)
    return {"count": rows.num_rows, "named": [f"{recording_id}: {detail}" for recording_id, detail in pairs]}


def _refused_texts(rows: pa.Table) -> dict[str, Any]:
    texts = rows["removed_texts"].combine_chunks().flatten()
    return {"count": len(texts), "samples": texts.slice(0, NAMED).to_pylist()}
