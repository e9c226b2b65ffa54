"""What the environment variables of MLflow and W&B must be like, checked without importing the libraries."""

from collections.abc import Mapping
from importlib.metadata import entry_points
from urllib.parse import urlsplit

from mulan.config.paths import redacted

URI_VARIABLE, MODE_VARIABLE = "MLFLOW_TRACKING_URI", "WANDB_MODE"
SERVERS = ("http", "https")
DATABASES = ("sqlite", "postgresql", "mysql", "mssql")
"""Schemes of databases, each alone or with a driver (``mysql+pymysql``)."""
MODES = ("online", "offline", "shared", "disabled", "dryrun", "run")
_EXAMPLE = "the address of the tracking server, such as http://mlflow:5000"


def fault_of_mlflow(environment: Mapping[str, str]) -> str:
    """Returns what is wrong with the address of MLflow's server, with the remedy; empty if the library takes it."""
    uri = environment.get(URI_VARIABLE, "")
    if not uri.strip():
        return f"{URI_VARIABLE} is not set; set it to {_EXAMPLE}, in the environment of this command"
    shown = f"{URI_VARIABLE} is {redacted(uri)!r}"
    try:
        parts = urlsplit(uri)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        return f"{shown}, which is no address ({error}); set it to {_EXAMPLE}"
    if parts.scheme in SERVERS:
        return "" if host else f"{shown}, which names no host; set it to {_EXAMPLE}"
    plugins = {point.name for point in entry_points(group="mlflow.tracking_store")}
    known = {"file", "databricks", *DATABASES, *plugins}
    is_path = len(parts.scheme) < 2  # also one with the letter of a drive
    if is_path or parts.scheme in known or parts.scheme.partition("+")[0] in DATABASES:
        return ""
    listed = ", ".join([*SERVERS, *sorted(known)])
    return f"{shown}, whose scheme MLflow does not know; set it to {_EXAMPLE}, or to one with another of {listed}"


def fault_of_wandb(environment: Mapping[str, str]) -> str:
    """Returns what is wrong with the mode of W&B, with the remedy; empty if the library takes it."""
    mode = environment.get(MODE_VARIABLE)
    if mode is None or mode in MODES:
        return ""
    return f"{MODE_VARIABLE} is {mode!r}; set it to one of {', '.join(MODES)}, or unset it"
