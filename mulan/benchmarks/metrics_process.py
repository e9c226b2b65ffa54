"""One measurement of steps with and without metrics: ``python -m mulan.benchmarks.metrics_process JOB`` prints JSON."""

import json
import statistics
import sys
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass

import torch

from mulan.benchmarks.step_process import StepJob, preloaded, step_on
from mulan.benchmarks.synthetic import model_to_measure
from mulan.config.recipe import Recipe, recipe_from_toml
from mulan.data.batch import Batch
from mulan.data.freed_memory import keep_freed_memory
from mulan.launch.cluster import connect
from mulan.model.deterministic import deterministic_kernels
from mulan.telemetry.flops import ModelFlops, count_flops
from mulan.telemetry.gauges import Reading
from mulan.telemetry.peaks import utilization
from mulan.telemetry.publisher import Publisher, RayGauges
from mulan.telemetry.run_telemetry import RunTelemetry


@dataclass(frozen=True)
class MetricsReading:
    """Medians over steps, and means of what metrics take, in seconds per step."""

    plain_s: float
    """Duration of a step without metrics."""
    measured_s: float
    """Duration of a step with metrics."""
    calls_s: float
    """Time that the training thread spends on metrics."""
    publishing_s: float
    """CPU time that the publishing thread spends on them."""

    @property
    def percent(self) -> float:
        """The share of a step that metrics take in both threads, in percent."""
        return 100 * (self.calls_s + self.publishing_s) / self.plain_s


class TimedGauges(RayGauges):
    """Gauges that measure the CPU time of their publication."""

    seconds = 0.0

    def publish(self, readings: Iterable[Reading]) -> None:
        begun = time.thread_time()
        super().publish(readings)
        self.seconds += time.thread_time() - begun


class MeasuredStep:
    """The metrics of a step as a training worker and its observer compute and publish them."""

    def __init__(self, recipe: Recipe, flops: ModelFlops, publisher: Publisher) -> None:
        self._telemetry = RunTelemetry(publisher, rank=0, device=torch.device("cpu"))
        self._flops, self._pairs = flops, recipe.batch.pairs
        self.number = 0

    def publish(self, batches: list[Batch], loss: float, seconds: float) -> None:
        """Publishes the metrics of a step with these micro-batches that took this time."""
        self.number += 1
        flops = sum(self._flops(batch) for batch in batches)
        line = {
            "step": self.number,
            "time": time.time(),
            **dict.fromkeys(("loss", "loss_contrastive", "temperature", "grad_norm", "learning_rate"), loss),
            "pairs_per_s": self._pairs / seconds,
            "step_s": seconds,
            "data_wait_s": 0.0,
            "model_flops": flops,
            "mfu": utilization(flops / seconds, [1e15]),
            "skipped_recordings": {"silent": 1, "truncated audio": 2},
            "data_cpus": 2,
        }
        self._telemetry.device_memory()
        self._telemetry.step(line, pairs=self._pairs)


def read(job: StepJob) -> MetricsReading:
    """Runs the measurement in this process, which starts a local Ray."""
    recipe = recipe_from_toml(job.recipe_toml, name="benchmark")
    connect(recipe.scale)
    keep_freed_memory()
    torch.set_num_threads(recipe.scale.cpus_per_worker)
    flops = count_flops(model_to_measure(recipe), recipe)
    batches, step = preloaded(recipe, job), step_on(recipe, job, torch.device("cpu"))
    times: dict[bool, list[float]] = {True: [], False: []}
    calls: list[float] = []
    gauges = TimedGauges("benchmark")
    with Publisher(gauges) as publisher, deterministic_kernels(recipe.train.deterministic):
        measured = MeasuredStep(recipe, flops, publisher)
        for number in range(-job.warmup_steps, job.steps):
            those = batches[number % len(batches)]
            for with_metrics in (True, False) if number % 2 else (False, True):
                begun = time.perf_counter()
                loss = step(those)
                done = time.perf_counter()
                if with_metrics:
                    measured.publish(those, loss, done - begun)
                    calls.append(time.perf_counter() - done)
                times[with_metrics].append(time.perf_counter() - begun)
    plain_s, measured_s = (statistics.median(times[kind][job.warmup_steps :]) for kind in (False, True))
    return MetricsReading(
        plain_s,
        measured_s,
        statistics.mean(calls[job.warmup_steps :]),
        gauges.seconds / measured.number,
    )


if __name__ == "__main__":
    print(json.dumps(asdict(read(StepJob(**json.loads(sys.argv[1]))))))
