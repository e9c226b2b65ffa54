"""What a run will need as a table for people and as JSON."""

from collections.abc import Callable, Iterator
from dataclasses import asdict
from typing import Any

from rich.table import Table
from rich.text import Text

from mulan.planning.needs import RunNeeds
from mulan.planning.reading import Amount, StreamReading
from mulan.preparation.description_page import readable_size

_MIN_SHOWN = 0.005
"""Minimum cost that has a line of its own: less would be shown as 0.00."""

Line = tuple[str, str, str]
"""What is needed, how much of it, and how that is known."""


def needs_table(needs: RunNeeds) -> Table:
    """Returns a table with a group of lines for each subject."""
    table = Table("needed", "amount", "how this is known")
    table.columns[1].justify = "right"
    for lines in (_length(needs), _time(needs), _data(needs), _memory(needs), _checkpoints(needs), _cost(needs)):
        for line in lines:
            table.add_row(*map(Text, line))
        table.add_section()
    return table


def needs_json(needs: RunNeeds) -> dict[str, Any]:
    """Returns the numbers of the table, and those that it rounds or leaves out, for programs."""
    found = asdict(needs)
    del found["cost_of_reading"]["batches"]
    found["prices"] = needs.prices.model_dump(mode="json")
    found["cost_of_reading"]["mean_tokens"] = needs.cost_of_reading.mean_tokens
    found["time"]["total_s"] = needs.time.total_s
    found["checkpoints"] |= {
        "written_bytes": needs.checkpoints.written_bytes,
        "kept_bytes": needs.checkpoints.kept_bytes,
    }
    for stream, values in zip(needs.reading.streams, found["reading"]["streams"], strict=True):
        values["epochs"] = stream.epochs
    return found


def _length(needs: RunNeeds) -> Iterator[Line]:
    reading = needs.reading
    yield "steps", f"{needs.steps:,}", "train.steps of the recipe"
    pairs = sum(stream.pairs for stream in reading.streams)
    yield "pairs trained on", f"{pairs:,}", f"{pairs // needs.steps:,} in each step"
    for stream in reading.streams:
        yield f"epochs of {_name(stream)}", f"{stream.epochs:.4g}", f"{stream.recordings:,} recordings"
    yield "validations", f"{reading.validations:,}", f"{reading.validation_pairs:,} pairs in total"


def _time(needs: RunNeeds) -> Iterator[Line]:
    kind, time, speed = _worker(needs), needs.time, needs.speed
    yield f"pairs/s of one {kind}", f"{speed.pairs_per_s:.4g}", speed.basis
    yield f"pairs/s of {needs.workers:,} {kind}s", f"{needs.workers * speed.pairs_per_s:,.4g}", "if speed grows alike"
    yield "time of steps", duration(time.steps_s), ""
    of_validation = (
        "measured" if speed.measured is not None and speed.measured.validation_s is not None else
        "a validated pair is taken to need a third of a trained one"
    )  # fmt: skip
    yield "time of validations", duration(time.validations_s), of_validation
    if time.checkpoints_s is None:
        yield "pauses for checkpoints", "unknown", "not in the total; --measured knows them"
    else:
        yield "pauses for checkpoints", duration(time.checkpoints_s), "measured"
    yield "time in total", duration(time.total_s), "without starts, failures, and waiting for nodes"
    yield f"{kind} hours", f"{needs.worker_hours:,.4g}", f"{needs.workers:,} {kind}s for this time"


def _data(needs: RunNeeds) -> Iterator[Line]:
    reading, cost = needs.reading, needs.cost_of_reading
    decoding = f"{1000 * cost.wall_s:.3g} ms for a pair, of which {1000 * cost.cpu_s:.3g} ms of CPU time"
    yield (
        "CPUs that read and decode",
        f"{needs.data_cpus:,}",
        f"{decoding}: measured on {cost.pairs:,} pairs of this corpus, on {cost.machine}",
    )
    if needs.data_cpus > needs.has_data_cpus:
        yield (
            "… of the recipe",
            f"{needs.has_data_cpus:,}",
            f"scale.data_cpus: too few, training would take {needs.data_cpus / needs.has_data_cpus:.3g} times as long",
        )
    requests, read_bytes = reading.requests, reading.read_bytes
    yield "requests for recordings", f"{requests.value:,.0f}", _exactness(requests, "{:,.0f}".format)
    yield (
        "bytes of recordings",
        readable_size(round(read_bytes.value)),
        _exactness(read_bytes, lambda margin: readable_size(round(margin))),
    )
    per_s = read_bytes.value / needs.time.total_s
    yield "… on average", f"{readable_size(round(per_s))}/s", f"{requests.value / needs.time.total_s:,.4g} requests/s"


def _memory(needs: RunNeeds) -> Iterator[Line]:
    node, kind = needs.node, _worker(needs)
    yield (
        "object store of a training node",
        readable_size(node.object_store_bytes),
        f"at least: index and reader {readable_size(node.reader_bytes)}, and for each of {needs.workers_per_node} "
        f"{kind}s groups of {readable_size(node.group_bytes)}, the one that it trains on and those ahead",
    )
    yield (
        "object store for each data CPU",
        readable_size(node.object_store_per_data_cpu_bytes),
        "at least, in addition to index and reader once for each node",
    )
    yield (
        "memory of a training node",
        readable_size(node.host_bytes),
        "at least, beside object store and libraries: the gathered checkpoint, and the waveforms of a step",
    )
    parts = needs.model.worker_bytes
    described = ", ".join(f"{name} {readable_size(count)}" for name, count in parts.items())
    yield (
        f"memory of a {kind}",
        readable_size(sum(parts.values())),
        f"at least, without workspaces of kernels and the device's context: {described}",
    )


def _checkpoints(needs: RunNeeds) -> Iterator[Line]:
    checkpoints, model = needs.checkpoints, needs.model
    counted = f"{model.parameters:,} parameters, of which {model.trained_parameters:,} are trained"
    yield "a checkpoint", readable_size(checkpoints.each_bytes), counted
    written = readable_size(checkpoints.written_bytes)
    yield "checkpoints written", f"{checkpoints.written:,}", f"{written} in total"
    kept = readable_size(checkpoints.kept_bytes)
    yield "checkpoints kept at a time", f"{checkpoints.kept:,}", f"{kept}, and one more while it is written"


def _cost(needs: RunNeeds) -> Iterator[Line]:
    currency, prices = needs.prices.currency, needs.prices
    for name, amount in needs.cost.items():
        if name == "total":
            basis = f"prices of {prices.date}: {prices.source}"
            yield "cost in total", f"{amount:,.2f} {currency}", basis
        elif amount >= _MIN_SHOWN:
            yield f"cost of {name}", f"{amount:,.2f} {currency}", ""


def duration(seconds: float) -> str:
    """Formats a time in the largest unit of which it has two.

    Example:
        >>> duration(45.25), duration(600), duration(7200.0), duration(864000)
        ('45.2 s', '10 min', '2 h', '10 days')
    """
    for unit_s, unit in ((86400, "days"), (3600, "h"), (60, "min")):
        if seconds >= 2 * unit_s:
            return f"{seconds / unit_s:.4g} {unit}"
    return f"{seconds:.3g} s"


def _exactness(amount: Amount, formatted: Callable[[float], str]) -> str:
    if amount.margin is not None:
        return (
            f"± {formatted(amount.margin)} (95 %), from the byte ranges of a sample of the index; without replacements"
        )
    return "counted: the byte ranges of what the plan reads, without replacements of unreadable recordings"


def _name(stream: StreamReading) -> str:
    return stream.stream or "all recordings"


def _worker(needs: RunNeeds) -> str:
    return "GPU" if needs.on_gpu else "CPU worker"
