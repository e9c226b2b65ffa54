"""Errors whose cause a user can remove. Any other exception is a bug in mulan."""

from collections.abc import Sequence

from mulan.config.paths import redacted

USER_ERROR = 2
"""Exit code for errors that another attempt would raise again."""


class MulanError(Exception):
    """Base class of errors whose cause is outside the program.

    The message names the cause and the remedy; commands print it without a traceback and exit. Credentials in URIs are
    not in it.
    """

    exit_code = USER_ERROR
    """Exit code of the command: 2 if another attempt would fail until the cause is fixed, 1 if it may succeed."""

    def __str__(self) -> str:
        return redacted(super().__str__())


class RecipeError(MulanError, ValueError):
    """Raised for an invalid recipe. The message lists all errors, not only the first."""

    def __init__(self, recipe: str, faults: Sequence[str]) -> None:
        self.faults = tuple(faults)
        super().__init__(f"recipe {recipe}: " + "; ".join(faults) if len(faults) == 1 else _as_list(recipe, faults))


def _as_list(recipe: str, faults: Sequence[str]) -> str:
    return f"recipe {recipe} has {len(faults)} errors:\n" + "\n".join(f"  - {fault}" for fault in faults)
