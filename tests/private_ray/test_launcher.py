"""Tests the clouds of Ray's cluster launcher."""

from mulan.private_ray.launcher import CLOUDS


def test_the_large_clouds_are_known() -> None:
    assert {"aws", "azure", "gcp", "local"} <= set(CLOUDS)
