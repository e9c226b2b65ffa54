"""Benchmark of a GPU: products, loss and step in order of their worth, until the time is up.

Each measurement runs in a process of its own, since an error of CUDA leaves a process without its GPU, and since one
that hangs must be ended. On a CPU, narrow models run through the same measurements in this process.
"""

import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch

from mulan.benchmarks.gpu_process import take
from mulan.benchmarks.gpu_readings import READING, GpuReading, GpuRequest
from mulan.benchmarks.gpu_report import report_of
from mulan.benchmarks.gpu_tests import marked_files, run_tests
from mulan.benchmarks.results import Report
from mulan.benchmarks.synthetic import BERT_WIDTH
from mulan.benchmarks.timed_process import output_lines
from mulan.config.recipe import Recipe
from mulan.recipes.mulan import BERT
from mulan.recipes.registry import load_recipe

NARROWER = 64
"""Divisor of widths and batches on a CPU."""
COMPILED, FASTEST = "train.compile=true", "train.deterministic=false"

_MIN_SECONDS = 5.0
"""Time below which no further measurement begins."""
_MAX_OVERRUN = 3.0
"""Multiple of its share of the time after which a measurement is ended: one that hangs leaves time for the others."""
_LEAST_LIMIT_S = 180.0
"""Time that every measurement may take, if it is left: the models of a recipe are built in up to a minute."""

_NARROW = {
    "m_ast": ["audio_tower.hidden_size=12", "audio_tower.heads=1", "audio_tower.feed_forward_size=48"],
    "m_resnet50": ["audio_tower.stem_channels=4", "audio_tower.stage_channels=[16,32]"],
}
"""Settings by which the miniatures of the recipes have at most 1/64 of their width."""
_TESTS = {
    "tests marked gpu, in one process": "gpu and not processes",
    "tests marked gpu, that start processes": "gpu and processes",
}
"""Marks of the tests of each measurement: those in one process take seconds, those with engines many minutes."""


@dataclass(frozen=True)
class _Measurement:
    """A measurement, and its share of the time; what it does not use is shared by those that follow."""

    request: GpuRequest
    share: float


def bench_gpu(
    *,
    minutes: float,
    rounds: int,
    device: str | None,
    folder: Path,
    progress: Callable[[str], None],
    keep: Callable[[Report], None],
) -> Report:
    """Takes all measurements for which there is time.

    Args:
        minutes: Time after which the last measurement is ended.
        rounds: Maximum number of measurements of each figure; slow steps are measured less often.
        device: ``cpu`` or ``cuda``; None uses CUDA if available.
        folder: Folder of the traces.
        progress: Called with a line of text after each figure.
        keep: Called with the report after each figure.
    """
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    begun, left_out, readings = time.monotonic(), [], {}
    settings = {"minutes": minutes, "rounds": rounds, "device": device}
    measurements = _measurements(device, rounds, str(folder.resolve()))
    for place, measurement in enumerate(measurements):
        left = begun + 60 * minutes - time.monotonic()
        if left < _MIN_SECONDS:
            left_out = [f"{one.request.label} ({one.request.subject})" for one in measurements[place:]]
            break
        share = measurement.share / sum(one.share for one in measurements[place:])
        for reading in _readings(replace(measurement.request, seconds=left * share), left):
            readings[reading.name] = reading
            progress(_line(reading))
            keep(report_of(readings, settings))
    report = report_of(readings, settings, left_out=left_out)
    keep(report)
    return report


def _line(reading: GpuReading) -> str:
    value = f"{reading.values[-1]:.4g} {reading.unit}".strip() if reading.values else ""
    return ": ".join(part for part in (reading.name, value, "" if reading.values else reading.remark) if part)


def _measurements(device: str, rounds: int, folder: str) -> list[_Measurement]:
    """Returns the measurements, the most valuable first."""
    cuda = device == "cuda"
    of_products = (8192, 4096) if cuda else (8192 // NARROWER, 4096 // NARROWER)
    of_loss = (6144, 32_768) if cuda else (6144 // NARROWER, 32_768 // NARROWER)

    def plain(subject: str, label: str, share: float, sizes: tuple[int, ...] = ()) -> _Measurement:
        return _Measurement(GpuRequest(subject, label, device, rounds, sizes=sizes), share)

    def step(name: str, share: float, *settings: str, subject: str = "step", variant: str = "") -> _Measurement:
        recipe = recipe_to_measure(name, settings, device=device)
        bert_width = BERT_WIDTH if cuda else BERT_WIDTH // NARROWER
        request = GpuRequest(
            subject, name + variant, device, rounds, recipe_toml=recipe.to_toml(), bert_width=bert_width, folder=folder
        )
        return _Measurement(request, share)

    compiled = [
        step("m_ast", 0.15, COMPILED, variant=", compiled"),
        step("m_resnet50", 0.12, COMPILED, variant=", compiled"),
    ]
    other_kernels = [step("m_ast", 0.1, FASTEST, variant=", kernels that are not deterministic")]
    return [
        plain("products", "product of square matrices", 0.02, of_products),
        plain("tests", "tests marked gpu, in one process", 0.06),
        step("m_ast", 0.15),
        plain("loss", "loss", 0.08, of_loss),
        step("m_resnet50", 0.12),
        *(compiled if cuda else []),  # on a CPU it takes minutes
        step("m_ast", 0.03, subject="groups"),
        step("m_resnet50", 0.03, subject="groups"),
        step("m_ast", 0.02, subject="memory"),
        step("m_resnet50", 0.02, subject="memory"),
        *(other_kernels if cuda else []),  # a CPU uses the same ones
        plain("tests", "tests marked gpu, that start processes", 0.1),
    ]


def recipe_to_measure(name: str, settings: tuple[str, ...] = (), *, device: str) -> Recipe:
    """Returns a recipe of MuLan for one GPU, or for a CPU its miniature with at most 1/64 of the widths.

    Args:
        name: ``m_ast`` or ``m_resnet50``.
        settings: Further settings, as on the command line.
        device: ``cpu`` or ``cuda``.
    """
    if device == "cuda":
        return load_recipe(name, ["scale.workers=1", *settings])
    narrow = [*_NARROW[name], f"text_tower.pretrained={BERT}", "text_tower.length_groups=2"]
    return load_recipe(f"{name}_miniature", [*narrow, "scale.workers=1", "train.precision=bf16", *settings])


def _readings(request: GpuRequest, left: float) -> Iterator[GpuReading]:
    """Yields the figures of a measurement and, if it fails, the reason in place of a figure."""
    limit = min(left, max(_MAX_OVERRUN * request.seconds, _LEAST_LIMIT_S))
    try:
        if request.subject == "tests":
            yield _tests(request, limit)
        elif request.device == "cuda":
            yield from _from_process(request, limit)
        else:
            taken: list[GpuReading] = []
            take(request, taken.append)
            yield from taken
    except Exception as error:  # of any kind: the measurements that follow are of other things
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        yield GpuReading(f"{request.label}: {request.subject}, not completed", (), "", f"failed: {reason}")


def _from_process(request: GpuRequest, limit: float) -> Iterator[GpuReading]:
    command = [sys.executable, "-m", "mulan.benchmarks.gpu_process", json.dumps(asdict(request))]
    for line in output_lines(command, timeout_s=limit):
        if line.startswith(READING):
            values: Mapping[str, object] = json.loads(line.removeprefix(READING))
            yield GpuReading(**{**values, "values": tuple(values["values"])})  # type: ignore[arg-type, call-overload]


def _tests(request: GpuRequest, limit: float) -> GpuReading:
    name = f"{request.label}: passed"
    if request.device != "cuda":
        return GpuReading(name, (), "", "not run: they need a GPU")
    outcomes = run_tests(marked_files(), _TESTS[request.label], timeout_s=limit)
    counts = ", ".join(f"{count} {outcome}" for outcome, count in outcomes.counts.items())
    passed = (float(outcomes.counts["passed"]),) if "passed" in outcomes.counts else ()
    return GpuReading(name, passed, "", "; ".join(part for part in (counts, outcomes.reason) if part))
