"""The errors a user can mend. Everything else that is raised is a defect of mulan."""

from collections.abc import Sequence

USERS_FAULT = 2
"""The exit code that says that another attempt would meet the same."""


class MulanError(Exception):
    """A fault outside the program: its message names the thing and the remedy. Commands print it alone and exit."""

    exit_code = USERS_FAULT
    """2: another attempt would meet it again, until somebody mends it. 1: another attempt may go well."""


class RecipeError(MulanError, ValueError):
    """A recipe that cannot be run. Lists every fault found, not only the first."""

    def __init__(self, recipe: str, faults: Sequence[str]) -> None:
        self.faults = tuple(faults)
        super().__init__(f"recipe {recipe}: " + "; ".join(faults) if len(faults) == 1 else _listed(recipe, faults))


def _listed(recipe: str, faults: Sequence[str]) -> str:
    return f"recipe {recipe} has {len(faults)} faults:\n" + "\n".join(f"  - {fault}" for fault in faults)
