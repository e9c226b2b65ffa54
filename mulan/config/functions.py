"""Functions of a user's own modules, which are named as ``MODULE:FUNCTION``."""

import importlib
from collections.abc import Callable
from types import ModuleType
from typing import Any

from mulan.config.errors import MulanError


class UserFunctionError(MulanError, ValueError):
    """Raised if a function that a user names cannot be imported."""

    def __init__(self, name: str, fault: str, remedy: str) -> None:
        """
        Args:
            name: Name of the function, as the user passed it.
            fault: What is wrong, without a full stop.
            remedy: One or more sentences, with which the message ends; empty if the fault itself says what is needed.
        """
        self.name, self.fault, self.remedy = name, fault, remedy
        super().__init__(f"function {name!r}: {fault}. {remedy}".rstrip())

    def __reduce__(self) -> tuple[type["UserFunctionError"], tuple[str, str, str]]:
        return type(self), (self.name, self.fault, self.remedy)


def import_function(name: str) -> tuple[ModuleType, Callable[..., Any]]:
    """Imports the function that ``MODULE:FUNCTION`` names, and returns it with its module.

    Raises:
        UserFunctionError: The module cannot be imported, or has no such function.
    """
    module_name, _, function_name = name.partition(":")
    if not module_name or not function_name:
        raise UserFunctionError(name, "it does not name a module and a function", "")
    try:
        module = importlib.import_module(module_name)
    except (Exception, SystemExit) as error:  # the code of a module may raise anything
        fault = f"the module {module_name} cannot be imported: {type(error).__name__}: {error}"
        remedy = "Install it on every machine, or start the command in the folder that contains it."
        raise UserFunctionError(name, fault, remedy) from error
    function = getattr(module, function_name, None)
    if not callable(function):
        fault = f"{function_name} is a {type(function).__name__} in the module {module_name}, not a function"
        if function is None:
            fault = f"the module {module_name} has no function {function_name}"
        raise UserFunctionError(name, fault, "")
    return module, function
