"""Tests the clouds of Ray's cluster launcher, and what it prints."""

import pytest
from ray.autoscaler._private.cli_logger import cli_logger

from mulan.private_ray.launcher import CLOUDS, print_less


def test_the_large_clouds_are_known() -> None:
    assert {"aws", "azure", "gcp", "local"} <= set(CLOUDS)


def test_details_are_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    print_less()
    cli_logger.verbose("a detail")
    cli_logger.print("a result")
    printed = capsys.readouterr()
    assert "a detail" not in printed.out + printed.err
    assert "a result" in printed.out + printed.err
