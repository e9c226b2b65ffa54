"""What a run will need, put together from its plan, a measured sample of its corpus, its model and a speed."""

import math
import pickle
from dataclasses import dataclass

from mulan.benchmarks.synthetic import model_to_measure
from mulan.config.recipe import Recipe
from mulan.config.sections import TrainConfig
from mulan.data.groups import group_size
from mulan.data.planned_batches import GROUPS_AHEAD
from mulan.data.reader import MicroBatchReader
from mulan.planning.model_needs import ModelNeeds, model_needs, waveform_bytes
from mulan.planning.prices import Prices, Usage, cost
from mulan.planning.reading import RunReading, run_reading, validations
from mulan.planning.reading_cost import ReadingCost, measure_reading
from mulan.planning.speed import Speed, SpeedSource, TrainingTime, training_time

_GROUPS_PER_READER = 2
"""Groups of a reader: the one that is being read, and the one before it that waits until it is requested."""


@dataclass(frozen=True)
class CheckpointNeeds:
    """The checkpoints of a run."""

    written: int
    """Number of checkpoints that are written from the first step to the last."""
    kept: int
    """Maximum number of them that are kept at a time, apart from the one that is being written."""
    each_bytes: int
    """Bytes of the tensors of one."""

    @property
    def written_bytes(self) -> int:
        """Bytes of all that are written."""
        return self.written * self.each_bytes

    @property
    def kept_bytes(self) -> int:
        """Maximum number of bytes of those that are kept."""
        return self.kept * self.each_bytes


@dataclass(frozen=True)
class NodeNeeds:
    """Memory in bytes in addition to what Python and its libraries take, if no data is read on training nodes."""

    reader_bytes: int
    """Size of the reader with the index, which every node has once in its object store."""
    group_bytes: int
    """Size of a group of micro-batches: what one task reads."""
    object_store_bytes: int
    """Object store of a training node: the reader, and for each worker the group that it trains on and those ahead."""
    object_store_per_data_cpu_bytes: int
    """Object store for each CPU that reads, in addition to the reader once per node."""
    host_bytes: int
    """Memory of the training node that writes checkpoints: the gathered checkpoint, and the micro-batches of a step of
    each worker."""


@dataclass(frozen=True)
class RunNeeds:
    """All that is known about a run before it is submitted."""

    recipe: str
    """Name of the recipe or its file."""
    corpus: str
    """URI of the corpus."""
    on_gpu: bool
    """Whether each worker has a GPU."""
    workers: int
    """Number of training workers."""
    workers_per_node: int
    """Number of workers of a machine."""
    steps: int
    """Number of steps."""
    reading: RunReading
    cost_of_reading: ReadingCost
    speed: Speed
    time: TrainingTime
    data_cpus: int
    """Number of CPUs that read a second's pairs in a second."""
    has_data_cpus: int
    """``scale.data_cpus`` of the recipe."""
    model: ModelNeeds
    checkpoints: CheckpointNeeds
    node: NodeNeeds
    worker_hours: float
    """Hours of all workers together."""
    prices: Prices
    cost: dict[str, float]
    """Cost of each thing and the total, in the currency of the prices."""


def run_needs(
    recipe: Recipe,
    reader: MicroBatchReader,
    source: SpeedSource,
    prices: Prices,
    *,
    name: str,
    workers_per_node: int,
) -> RunNeeds:
    """Calculates what a run needs. It reads a few micro-batches of the corpus, and builds the model once or twice.

    Args:
        recipe: The recipe, with a fixed number of workers that divides its micro-batches.
        reader: Reader of the recipe.
        source: Where the speed of one worker is from.
        prices: Prices.
        name: Name of the recipe.
        workers_per_node: Number of workers of a machine.

    Raises:
        MulanError: The corpus cannot be read, the model not be built, or no speed is known.
    """
    steps, train, workers = recipe.train.steps, recipe.train, recipe.scale.max_workers
    reading = run_reading(reader, train)
    measured = measure_reading(reader, steps=steps, micro_batches=recipe.batch.micro_batches)
    model = model_to_measure(recipe).train()
    speed = source.speed(model, recipe, measured.batches)
    size = model_needs(model, recipe, workers=workers)
    written = checkpoints_written(train, steps)
    checkpoints = CheckpointNeeds(written, checkpoints_kept(train), size.checkpoint_bytes)
    # training does not pause for the checkpoint of the last step
    time = training_time(speed, recipe, reading, workers=workers, steps=steps, checkpoints=written - 1)
    data_cpus = max(1, math.ceil(workers * speed.pairs_per_s * measured.wall_s))
    hours, on_gpu = time.total_s / 3600, recipe.scale.use_gpu
    usage = Usage(
        gpu_hours=workers * hours if on_gpu else 0.0,
        worker_cpu_hours=0.0 if on_gpu else workers * recipe.scale.cpus_per_worker * hours,
        data_cpu_hours=data_cpus * hours,
        read_requests=reading.requests.value,
        read_bytes=reading.read_bytes.value,
        stored_byte_hours=checkpoints.kept_bytes * hours,
    )
    return RunNeeds(
        recipe=name,
        corpus=recipe.data.uri,
        on_gpu=on_gpu,
        workers=workers,
        workers_per_node=workers_per_node,
        steps=steps,
        reading=reading,
        cost_of_reading=measured,
        speed=speed,
        time=time,
        data_cpus=data_cpus,
        has_data_cpus=recipe.scale.data_cpus,
        model=size,
        checkpoints=checkpoints,
        node=node_needs(recipe, reader, checkpoints.each_bytes, workers=workers, workers_per_node=workers_per_node),
        worker_hours=workers * hours,
        prices=prices,
        cost=cost(usage, prices),
    )


def checkpoints_written(train: TrainConfig, steps: int) -> int:
    """Returns the number of checkpoints in the first steps of a run: the regular ones, and one after its last step."""
    return steps // train.checkpoint_every_steps + (steps == train.steps and steps % train.checkpoint_every_steps != 0)


def checkpoints_kept(train: TrainConfig) -> int:
    """Returns the maximum number of checkpoints that a run keeps: the latest ones and, with validation, the best."""
    best = train.keep_best_checkpoints if validations(train, train.steps) else 0
    return min(checkpoints_written(train, train.steps), train.keep_latest_checkpoints + best)


def node_needs(
    recipe: Recipe, reader: MicroBatchReader, checkpoint_bytes: int, *, workers: int, workers_per_node: int
) -> NodeNeeds:
    """Returns what a training node needs for data and checkpoints.

    Args:
        recipe: The recipe.
        reader: Its reader.
        checkpoint_bytes: Bytes of a checkpoint.
        workers: Number of training workers.
        workers_per_node: Number of workers of a machine.
    """
    of_reader, each = pickled_bytes(reader), waveform_bytes(recipe)
    group = each * min(group_size(reader.waveform_shape), recipe.train.steps * recipe.batch.micro_batches // workers)
    of_step = each * recipe.batch.micro_batches // workers
    return NodeNeeds(
        reader_bytes=of_reader,
        group_bytes=group,
        object_store_bytes=of_reader + workers_per_node * (1 + GROUPS_AHEAD) * group,
        object_store_per_data_cpu_bytes=_GROUPS_PER_READER * group,
        host_bytes=checkpoint_bytes + workers_per_node * of_step,
    )


def pickled_bytes(value: object) -> int:
    """Returns the bytes of a value in Ray's object store, without copying its arrays and tables."""
    buffers: list[pickle.PickleBuffer] = []
    within = len(pickle.dumps(value, protocol=5, buffer_callback=buffers.append))
    return within + sum(buffer.raw().nbytes for buffer in buffers)
