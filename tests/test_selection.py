"""Tests the selection and the order of tests on small test files."""

import subprocess

import pytest

from tests.selection import CLUSTER

PLUGINS = ("-p", "xdist.plugin", "-p", "tests.selection", "-p", "tests.summary")
PLAIN = "def test_plain(): pass\n"
LONG = "import pytest\n@pytest.mark.long(group={group!r})\ndef test_{name}(): pass\n"
STARTING = "import subprocess\ndef test_starts(): subprocess.run(['true'])\ndef test_next(): pass\n"
MARKED = "import pytest, subprocess\n@pytest.mark.processes\ndef test_marked(): subprocess.run(['true'])\n"
NEEDING_RAY = f"import pytest\n@pytest.fixture\ndef {CLUSTER}(): pass\ndef test_ray({CLUSTER}): pass\n"


@pytest.fixture
def run(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> "Run":
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    pytester.makeini("[pytest]\nmarkers =\n  gpu: g\n  long(group): l\n  processes: p")
    return Run(pytester)


class Run:
    """Runs pytest in this process in an empty folder; files remain for further calls."""

    def __init__(self, pytester: pytest.Pytester) -> None:
        self._pytester = pytester

    def __call__(self, *arguments: str, **files: str) -> pytest.RunResult:
        if files:
            self._pytester.makepyfile(**files)
        return self._pytester.runpytest_inprocess(*PLUGINS, "-v", *arguments)


def ran(result: pytest.RunResult) -> list[str]:
    return [line.split("::")[1].split()[0] for line in result.outlines if "::" in line and " PASSED " in line]


def test_groups_of_long_tests_are_chosen_by_name(run: Run) -> None:
    files = {"test_a": PLAIN, **{f"test_{group}": LONG.format(group=group, name=group) for group in ("chaos", "jobs")}}
    assert ran(run("--long", "chaos", **files)) == ["test_chaos"]
    assert ran(run("--long", "jobs chaos")) == ["test_chaos", "test_jobs"]
    assert ran(run("-m", "not long")) == ["test_plain"]
    assert ran(run()) == ["test_plain", "test_chaos", "test_jobs"]


def test_a_gpu_is_visible_only_to_tests_that_need_one(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("CUDA_VISIBLE_DEVICES", "0"), ("DS_ACCELERATOR", "cpu")):
        monkeypatch.setenv(name, value)
    environment = "(os.environ.get('CUDA_VISIBLE_DEVICES'), os.environ.get('DS_ACCELERATOR'))"
    files = {
        "test_gpu": f"import os, pytest\n@pytest.mark.gpu\ndef test_on_it(): assert {environment} == ('0', None)\n",
        "test_cpu": f"import os\ndef test_without(): assert {environment} == ('', 'cpu')\n",
    }
    assert ran(run("--gpu", **files)) == ["test_on_it"]
    monkeypatch.setenv("DS_ACCELERATOR", "cpu")
    assert ran(run()) == ["test_without"]


@pytest.mark.parametrize("names", ["", "chaoss", "chaos,whole"])
def test_an_unknown_group_is_refused_with_the_existing_ones(names: str, run: Run) -> None:
    result = run("--long", names, test_a=PLAIN)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(f"ERROR: --long '{names}': name one or several of learning chaos layouts jobs")


def test_the_plugin_works_without_xdist(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(globals(), "PLUGINS", ("-p", "no:xdist", *PLUGINS[2:]))
    assert ran(run(test_a=PLAIN)) == ["test_plain"]


@pytest.mark.parametrize("mark", ["long", "long()", "long('chaos')", "long(group='chaoss')"])
def test_a_long_mark_without_a_group_ends_the_run(mark: str, run: Run) -> None:
    result = run(test_a=f"import pytest\n@pytest.mark.{mark}\ndef test_it(): pass\n")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines("ERROR: test_a.py::test_it: pytest.mark.long(group=...) takes one of *")


@pytest.mark.processes
def test_an_unmarked_test_that_starts_a_process_fails_with_in_process(run: Run) -> None:
    subprocess.run(["true"], check=True)  # processes from before the tests do not count
    result = run("--in-process", test_a=STARTING, test_b=MARKED, test_c=NEEDING_RAY)
    result.assert_outcomes(passed=2, errors=1, deselected=2)
    result.stdout.fnmatch_lines("*this test has started processes: mark it with pytest.mark.processes*")
    assert run().ret == pytest.ExitCode.OK


def test_tests_that_need_ray_come_first(run: Run) -> None:
    assert ran(run(test_a=PLAIN, test_c=NEEDING_RAY)) == ["test_ray", "test_plain"]


def test_the_summary_has_counts_by_package_and_the_slowest_files(pytester: pytest.Pytester, run: Run) -> None:
    failing = "import time\ndef test_fails():\n    time.sleep(0.6)\n    assert False\n"
    for folder, text in (("one", PLAIN), ("other", failing)):
        pytester.mkdir(folder).joinpath(f"test_{folder}.py").write_text(text)
    lines = run("one", "other").outlines
    start = next(number for number, line in enumerate(lines) if "by package" in line)
    words = [[word for word in line.split() if word != "s" and not word[0].isdigit()] for line in lines[start + 1 :]]
    assert words[:2] == [["other", "failed"], ["one", "passed"]]
    assert words[4:6] == [["other/test_other.py"], ["one/test_one.py"]]
