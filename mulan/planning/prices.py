"""The price table, a TOML file that users edit, and the cost of a run by it."""

import datetime
from dataclasses import dataclass
from importlib import resources

from mulan.config.base import NonNegativeFloat, Section
from mulan.config.errors import MulanError, RecipeError
from mulan.config.parsing import parse_toml
from mulan.config.validation import validated
from mulan.storage import filesystem

_GIB = 2**30
_HOURS_PER_MONTH = 730


class UnusablePrices(MulanError, ValueError):
    """A price table does not exist, or has missing, unknown or invalid entries."""


class Prices(Section):
    """What a run's resources cost, in the units that the comments of ``prices.toml`` state. All entries are required,
    so that no example takes the place of a forgotten price."""

    currency: str
    source: str
    date: datetime.date
    gpu_hour: NonNegativeFloat
    worker_cpu_hour: NonNegativeFloat
    data_cpu_hour: NonNegativeFloat
    read_requests_per_1000: NonNegativeFloat
    read_per_gib: NonNegativeFloat
    stored_per_gib_month: NonNegativeFloat


@dataclass(frozen=True, kw_only=True)
class Usage:
    """What a run uses of each thing that has a price."""

    gpu_hours: float
    """Hours of all GPUs together."""
    worker_cpu_hours: float
    """Hours of all CPUs of workers without GPU."""
    data_cpu_hours: float
    """Hours of all CPUs that read and decode."""
    read_requests: float
    """Requests for byte ranges."""
    read_bytes: float
    """Bytes that are read from storage."""
    stored_byte_hours: float
    """Bytes of checkpoints, times the hours for which they are stored."""


def read_prices(uri: str | None) -> Prices:
    """Reads a price table.

    Args:
        uri: Path or URI of a TOML file; None for the examples that are installed with this module.

    Raises:
        UnusablePrices: It does not exist or cannot be used; lists all faults.
    """
    if uri is None:
        content = resources.files("mulan.planning").joinpath("prices.toml").read_bytes()
    else:
        try:
            content = filesystem.read_bytes(filesystem.absolute(uri))
        except OSError as error:
            raise UnusablePrices(f"--prices {uri}: {error.strerror or error}") from error
    try:
        return validated(Prices, parse_toml(content.decode()), name=uri or "prices.toml")
    except RecipeError as error:
        raise UnusablePrices(f"price table {uri}: {'; '.join(error.faults)}") from error
    except ValueError as error:
        raise UnusablePrices(f"price table {uri} is not TOML: {error}") from error


def cost(usage: Usage, prices: Prices) -> dict[str, float]:
    """Returns the cost of each thing in the currency of the table, by a name for it, and last their ``total``."""
    parts = {
        "GPUs": usage.gpu_hours * prices.gpu_hour,
        "CPUs of workers": usage.worker_cpu_hours * prices.worker_cpu_hour,
        "CPUs for data": usage.data_cpu_hours * prices.data_cpu_hour,
        "requests": usage.read_requests / 1000 * prices.read_requests_per_1000,
        "bytes read": usage.read_bytes / _GIB * prices.read_per_gib,
        "checkpoints stored": usage.stored_byte_hours / _GIB / _HOURS_PER_MONTH * prices.stored_per_gib_month,
    }
    return parts | {"total": sum(parts.values())}
