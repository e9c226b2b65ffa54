"""Tests the checks of environment variables against what the libraries themselves take."""

import re
import typing

import pytest
import wandb
from mlflow.tracking._tracking_service.utils import _tracking_store_registry

from mulan.tracking.environment import DATABASES, MODES, SERVERS, fault_of_mlflow, fault_of_wandb


@pytest.mark.parametrize(
    "uri",
    [
        *("http://mlflow:5000", "https://user:secret@mlflow.example/path", "HTTP://[::1]:5000", "databricks"),
        *("databricks://profile", "sqlite:///mlflow.db", "mysql+pymysql://user:secret@host/base", "file:///runs"),
        *("/runs", "runs", "C:\\runs"),
    ],
)
def test_addresses_that_mlflow_takes(uri: str) -> None:
    assert fault_of_mlflow({"MLFLOW_TRACKING_URI": uri}) == ""
    assert _tracking_store_registry.get_store_builder(uri)


@pytest.mark.parametrize(
    ("uri", "named"),
    [
        ("", "is not set; set it to the address"),
        ("   ", "is not set; set it to the address"),
        ("nonsense://x", "scheme MLflow does not know; .* another of http, https, .*sqlite"),
        ("localhost:5000", "scheme MLflow does not know"),
        ("postgres://host/base", "scheme MLflow does not know"),
        ("uc:http://host", "scheme MLflow does not know"),
        ("http://", "names no host"),
        ("http:///path", "names no host"),
        ("http://[::1", "no address .Invalid IPv6 URL"),
        ("http://host:port", "no address .Port could not be cast"),
        ("nonsense://user:hunter2@x", "nonsense://\\*\\*\\*@x"),
    ],
)
def test_other_addresses_are_refused_with_a_remedy(uri: str, named: str) -> None:
    fault = fault_of_mlflow({"MLFLOW_TRACKING_URI": uri})
    assert re.search(named, fault)
    assert "hunter2" not in fault


def test_the_schemes_are_those_of_the_library() -> None:
    refused_by_mlflow_itself = {"uc", "databricks-uc"}
    known = {*SERVERS, *DATABASES, "file", "databricks", ""}
    assert known == set(_tracking_store_registry._registry) - refused_by_mlflow_itself


@pytest.mark.parametrize("mode", MODES)
def test_modes_that_wandb_takes(mode: str) -> None:
    assert fault_of_wandb({"WANDB_MODE": mode}) == fault_of_wandb({}) == ""


@pytest.mark.parametrize("mode", ["bogus", "", "Online", " offline"])
def test_other_modes_are_refused_with_those_that_exist(mode: str) -> None:
    assert f"WANDB_MODE is {mode!r}; set it to one of online, offline, " in fault_of_wandb({"WANDB_MODE": mode})


def test_the_modes_are_those_of_the_library() -> None:
    assert set(typing.get_args(wandb.Settings.model_fields["mode"].annotation)) == set(MODES)
