"""What a kind of benchmark consists of for ``python -m jobs.bench``."""

import argparse
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from mulan.benchmarks.results import Report
    from mulan.config.recipe import Recipe

Progress = Callable[[str], None]
"""Called with a line of text after each measurement."""


class Kind(NamedTuple):
    """A kind of benchmark."""

    add_arguments: Callable[[argparse.ArgumentParser], None]
    """Adds its options to those of all kinds."""
    measure: "Callable[[argparse.Namespace, Progress], Report]"
    """Takes its measurements. It imports the libraries that it measures, which may not be installed for others."""
    recipe: "Callable[[argparse.Namespace], Recipe] | None" = None
    """Returns the recipe that it measures, for ``--dry-run``; None if it has no recipe."""
