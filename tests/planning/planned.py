"""Recipes and runs for tests of plans, on the corpus of tones."""

from mulan.config.recipe import Recipe
from mulan.data.reader import MicroBatchReader
from mulan.data.schedule import Phase
from mulan.recipes.registry import load_recipe
from mulan.runs.run import Run
from mulan.training.batch_source import consumed_checksum
from tests.monitoring.planted import append, metrics_line

STEP_S, BETWEEN_S, VALIDATION_S, PAUSE_S, START_S = 2.0, 0.25, 5.0, 0.75, 30.0
"""Times of :func:`timed_run`: of a step, between two steps, of a validation, of a checkpoint, and before step 1."""


def miniature_recipe(data_uri: str, *settings: str) -> Recipe:
    """Returns the demo's miniature, 16 pairs a step, with a validation and a checkpoint every 3 steps."""
    return load_recipe("demo_miniature", list(settings), data_uri=data_uri)


def timed_run(storage_uri: str, recipe: Recipe, *, steps: int, name: str = "timed") -> Run:
    """Writes the records of the first steps of a run, with the times above and the recordings of its plan."""
    run = Run.at(storage_uri, name)
    run.begin(recipe, MicroBatchReader.from_recipe(recipe).corpus.index_sha256)
    now = 1e9
    append(run.events_uri, [{"time": now, "step": 0, "event": "2 workers continue from step 0", "from_step": 0}])
    lines = []
    for step in range(1, steps + 1):
        line = metrics_line(step) | {"step_s": STEP_S, "data_wait_s": STEP_S / 4, "data_cpus": 2}
        line.pop("validation", None)
        after_checkpoint = (step - 1) % recipe.train.checkpoint_every_steps == 0
        now += START_S if step == 1 else STEP_S + BETWEEN_S + PAUSE_S * after_checkpoint
        if recipe.train.validate_every_steps and step % recipe.train.validate_every_steps == 0:
            line["validation"] = {"recall10": 0.5}
            now += VALIDATION_S
        lines.append(line | {"time": now, "recordings_checksum": planned_checksum(recipe, step)})
    append(run.metrics_uri, lines)
    return run


_readers: dict[str, MicroBatchReader] = {}


def planned_checksum(recipe: Recipe, step: int) -> str:
    """Returns the checksum of the recordings of a step, by reading them."""
    reader = _readers.setdefault(recipe.to_toml(), MicroBatchReader.from_recipe(recipe))
    plan, checksum = reader.plans[Phase.TRAIN], 0
    for number in range(recipe.batch.micro_batches):
        rows = [example.row for example in plan.micro_batch(step - 1, number)]
        checksum ^= consumed_checksum(number, tuple(reader.corpus.recording_ids(rows)))
    return f"{checksum:016x}"
