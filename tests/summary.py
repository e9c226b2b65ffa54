"""A pytest plugin that prints outcomes and times by package at the end of a run of several packages."""

from collections import Counter, defaultdict

import pytest

MAX_FILES = 10
OUTCOMES = ("passed", "failed", "error", "skipped")


class Summary:
    """Counts outcomes by folder, and seconds by file, of all test processes."""

    def __init__(self) -> None:
        self.outcomes: dict[str, Counter[str]] = defaultdict(Counter)
        self.seconds: Counter[str] = Counter()
        """Seconds by file, including fixtures."""

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        file = report.nodeid.partition("::")[0]
        self.seconds[file] += report.duration
        if report.when == "call" or not report.passed:
            outcome = "error" if report.failed and report.when != "call" else report.outcome
            self.outcomes[_package(file)][outcome] += 1

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        if len(self.outcomes) < 2:
            return
        by_package: Counter[str] = Counter()
        for file, seconds in self.seconds.items():
            by_package[_package(file)] += seconds
        whole = max(by_package.total(), 1e-9)
        terminalreporter.section("by package; seconds are summed over test processes")
        width = max(map(len, self.seconds))
        for package, seconds in by_package.most_common():
            counts = self.outcomes[package]
            outcomes = ", ".join(f"{counts[outcome]} {outcome}" for outcome in OUTCOMES if counts[outcome])
            terminalreporter.write_line(f"{package:{width}}  {seconds:6.0f} s {seconds / whole:5.0%}  {outcomes}")
        terminalreporter.write_line("")
        terminalreporter.write_line(f"the {MAX_FILES} slowest files")
        for file, seconds in self.seconds.most_common(MAX_FILES):
            terminalreporter.write_line(f"{file:{width}}  {seconds:6.0f} s {seconds / whole:5.0%}")


def _package(file: str) -> str:
    return file.rpartition("/")[0] or "."


def pytest_configure(config: pytest.Config) -> None:
    if not hasattr(config, "workerinput"):  # the main process, not one of several test processes
        config.pluginmanager.register(Summary(), "summary")
