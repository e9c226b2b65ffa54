"""Tests the run of tests that need a GPU on files of planted tests."""

from pathlib import Path

import pytest

from mulan.benchmarks.gpu_tests import marked_files, outcomes_in, run_tests

CONFTEST = """
def pytest_addoption(parser): parser.addoption("--gpu", action="store_true")
def pytest_configure(config):
    config.addinivalue_line("markers", "gpu: needs a GPU")
    assert config.getoption("--gpu")
"""
TESTS = """
import pytest
@pytest.mark.gpu
def test_it_passes(): pass
@pytest.mark.gpu
def test_it_fails(): assert 1 == 2
def test_it_needs_none(): pass
"""


def test_the_files_with_marked_tests_are_found() -> None:
    names = [file.name for file in marked_files()]
    assert {"test_device_batch.py", "test_augmentation.py", "test_exact_on_a_gpu.py"} <= set(names)
    assert "test_text_lengths.py" not in names


@pytest.mark.processes
def test_outcomes_are_those_of_pytest(tmp_path: Path) -> None:
    """Only pytest itself knows what it prints, so it runs once, without the conftest of this project."""
    (tmp_path / "conftest.py").write_text(CONFTEST)
    (tmp_path / "test_some.py").write_text(TESTS)
    outcomes = run_tests(marked_files(tmp_path), "gpu", timeout_s=60)
    assert outcomes.counts == {"passed": 1, "failed": 1, "deselected": 1}
    assert "test_it_fails" in outcomes.reason and "assert 1 == 2" in outcomes.reason


def test_a_run_that_has_not_ended_has_no_outcomes() -> None:
    assert outcomes_in([]) == {}
    assert outcomes_in(["....F"]) == {}
    assert outcomes_in(["", "2 skipped, 1 error in 3.00s"]) == {"skipped": 2, "error": 1}


def test_without_files_nothing_is_run() -> None:
    assert run_tests([], "gpu", timeout_s=1).reason == "no tests are installed"
