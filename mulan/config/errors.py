"""Errors whose cause a user can remove. Any other exception is a bug in mulan."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from mulan.config.paths import redacted

USER_ERROR = 2
"""Exit code for errors that another attempt would raise again."""
STOPPED = 3
"""Exit code of a run or sweep that was asked to stop; the same command resumes it."""


class MulanError(Exception):
    """Base class of errors whose cause is outside the program.

    The message names the cause and the remedy; commands print it without a traceback and exit. Credentials in URIs are
    not in it.
    """

    exit_code = USER_ERROR
    """Exit code of the command: 2 if another attempt would fail until the cause is fixed, 1 if it may succeed."""

    def __str__(self) -> str:
        return redacted(super().__str__())


class SeveralErrors(MulanError, ValueError):
    """Independent errors, which the message lists."""

    def __init__(self, errors: Sequence[MulanError]) -> None:
        self.errors = tuple(errors)
        super().__init__(f"there are {len(errors)} errors:" + "".join(f"\n  - {error}" for error in errors))
        self.exit_code = max(error.exit_code for error in errors)


class ErrorCollection:
    """Collects the errors of independent checks, so that a user sees all of them at once.

    Example:
        >>> errors = ErrorCollection()
        >>> for name in ("one", "two"):
        ...     with errors.collecting():
        ...         raise MulanError(f"{name} is wrong")
        >>> errors.raise_any()
        Traceback (most recent call last):
            ...
        mulan.config.errors.SeveralErrors: there are 2 errors:
          - one is wrong
          - two is wrong
    """

    def __init__(self) -> None:
        self._errors: dict[str, MulanError] = {}

    @contextmanager
    def collecting(self) -> Iterator[None]:
        """Keeps an error that is raised in the context, and goes on after it; equal messages are kept once."""
        try:
            yield
        except SeveralErrors as several:
            self._errors |= {str(error): error for error in several.errors}
        except MulanError as error:
            self._errors[str(error)] = error

    def raise_any(self) -> None:
        """Raises what was collected: a single error as it is, several as :class:`SeveralErrors`."""
        if len(self._errors) > 1:
            raise SeveralErrors(tuple(self._errors.values()))
        for error in self._errors.values():
            raise error


class RecipeError(MulanError, ValueError):
    """Raised for an invalid recipe. The message lists all errors, not only the first."""

    def __init__(self, recipe: str, faults: Sequence[str]) -> None:
        self.faults = tuple(faults)
        super().__init__(f"recipe {recipe}: " + "; ".join(faults) if len(faults) == 1 else _as_list(recipe, faults))


def _as_list(recipe: str, faults: Sequence[str]) -> str:
    return f"recipe {recipe} has {len(faults)} errors:\n" + "\n".join(f"  - {fault}" for fault in faults)
