"""Tests the count for all workers in one process; ``test_fit.py`` has two workers."""

from mulan.launch.model_flops import SharedFlops
from mulan.tasks.task import task_of
from mulan.telemetry.flops import count_flops
from tests.training.small import small


def test_the_first_worker_counts_and_the_others_do_not() -> None:
    recipe, lines = small("m_resnet50_audioset"), list[str]()
    model = task_of(recipe).build_model()
    for rank, counted in enumerate([count_flops(model, recipe), None]):
        flops = SharedFlops(recipe, rank)
        flops.count(model)
        assert flops.share(lines.append) == counted
    assert lines == []


def test_a_model_that_cannot_be_counted_gives_one_line() -> None:
    lines = list[str]()
    flops = SharedFlops(small("m_resnet50_audioset"), rank=0)
    flops.count(task_of(small("demo")).build_model())  # needs texts
    assert flops.share(None) is None
    assert flops.share(lines.append) is None
    (line,) = lines
    assert line.startswith("the model's operations cannot be counted, so metrics are without FLOP/s: TypeError: ")
