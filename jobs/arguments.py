"""The arguments that the jobs share, and how a job ends.

Its exit code tells whoever started it what to do:

* 0: done.
* 1: a machine, the network or the storage failed, or something was met that nobody foresaw, with a traceback. The same
  command may do better, and goes on from the newest checkpoint.
* 2: the same command would meet it again: a setting, a corpus, credentials, resources that the cluster can never have,
  another driver that has the run, a loss that is not finite. The message says what to mend first; do not retry.
* 130, 143: interrupted (SIGINT, or SIGTERM once Ray is there), told to end (SIGTERM). The same command goes on.
* 141: whoever read what is printed has gone.
"""

import argparse
import atexit
import gc
import os
import shlex
import sys
from collections.abc import Callable, Sequence

from rich.console import Console

from mulan.config.errors import MulanError, RecipeError
from mulan.config.recipe import Recipe
from mulan.recipes.registry import known_names, load_recipe, named_recipes, with_settings
from mulan.runs.run import Run
from mulan.storage import filesystem
from mulan.storage.errors import UnsupportedStorage, location_fault
from mulan.storage.hub import absolute_spec

CONSOLE = Console(highlight=False, markup=False)
"""Prints text as it is: names of files and other people's errors may look like markup."""


def add_recipe(parser: argparse.ArgumentParser, *, default: str | None = None, of_run: bool = False) -> None:
    """``of_run``: the job is about a run that has a recipe, which ``--recipe`` need not repeat."""
    known = f"{known_names(named_recipes())}; or a TOML file"
    parser.add_argument(
        "--recipe",
        metavar="NAME|FILE.toml",
        required=default is None and not of_run,
        default=default,
        help=f"{known}; refused if it is not the run's" if of_run else known,
    )
    parser.add_argument(
        "--set",
        metavar="section.field=value",
        action="append",
        default=[],
        dest="settings",
        help="lay a value over the recipe; may be repeated",
    )
    parser.add_argument("--dry-run", action="store_true", help="check everything, print the resolved recipe, and stop")


def add_run(parser: argparse.ArgumentParser, *, storage: str | None = None, name: str | None = None) -> None:
    parser.add_argument(
        "--storage", metavar="URI", default=storage or "runs", help="folder of runs (default: %(default)s)"
    )
    parser.add_argument(
        "--name", metavar="RUN", required=name is None, default=name, help="of the run; the same name resumes it"
    )


def add_data(parser: argparse.ArgumentParser, *, default: str) -> None:
    """``default``: which corpus it is if none is named, for the help."""
    parser.add_argument("--data", metavar="URI", help=f"folder of a prepared corpus (default: {default})")


def recipe_of(arguments: argparse.Namespace, *, data_uri: str | None) -> Recipe:
    """The recipe that is asked for. Its paths mean the same from every folder and on every machine.

    Raises:
        RecipeError: there is no such recipe, or it has faults.
        UnsupportedStorage: ``--data`` names nothing that can be.
    """
    recipe = load_recipe(arguments.recipe, arguments.settings, data_uri=_checked(data_uri))
    return _with_absolute_paths(recipe)


def recipe_to_train(arguments: argparse.Namespace) -> Recipe:
    """The recipe that is asked for, which must name a corpus.

    Raises:
        RecipeError, UnsupportedStorage: as :func:`recipe_of`, or it names none.
    """
    recipe = recipe_of(arguments, data_uri=arguments.data)
    if not recipe.data.uri:
        raise RecipeError(arguments.recipe, ["names no corpus (data.uri is empty): name the folder of one by --data"])
    return recipe


def recipe_of_run(arguments: argparse.Namespace, run: Run) -> Recipe:
    """The recipe of a run that is there, with ``--set`` laid over it.

    Raises:
        RunError: there is no such run, or what is asked for differs from its recipe in more than ``scale``.
    """
    own = run.recipe()
    if arguments.recipe:
        recipe = load_recipe(arguments.recipe, arguments.settings, data_uri=own.data.uri)
    else:
        recipe = with_settings(own, arguments.settings, name=run.recipe_uri)
    recipe = _with_absolute_paths(recipe)
    run.check(recipe)
    return recipe


def data_of(arguments: argparse.Namespace, recipe: Recipe) -> str:
    """The corpus of ``--data`` or, where it is not given, the recipe's.

    Raises:
        UnsupportedStorage: ``--data`` names nothing that can be.
    """
    return recipe.data.uri if arguments.data is None else filesystem.absolute(_checked(arguments.data) or "")


def _checked(data_uri: str | None) -> str | None:
    fault = None if data_uri is None else location_fault(filesystem.absolute(data_uri))
    if fault:
        raise UnsupportedStorage(f"--data {data_uri!r}: {fault}")
    return data_uri


def _with_absolute_paths(recipe: Recipe) -> Recipe:
    return recipe.replace(
        {
            "data.uri": filesystem.absolute(recipe.data.uri),
            "text_tower.pretrained": absolute_spec(recipe.text_tower.pretrained),
            "audio_tower.pretrained": absolute_spec(recipe.audio_tower.pretrained),
        }
    )


def run_of(arguments: argparse.Namespace) -> Run:
    """
    Raises:
        RunError, UnsupportedStorage: ``--name`` is no name, or ``--storage`` names nothing that can be.
    """
    fault = location_fault(filesystem.absolute(arguments.storage))
    if fault:
        raise UnsupportedStorage(f"--storage {arguments.storage!r}: {fault}")
    return Run.at(arguments.storage, arguments.name)


class UnusableArgument(MulanError, ValueError):
    """An argument that no job could pass on: it is not Unicode text."""


def end(main: Callable[[], None]) -> None:
    """Runs a job's main function and exits with its code; a user's fault is printed as its message alone."""
    atexit.register(gc.freeze)  # else the end looks for garbage in all of torch and transformers, which takes a second
    try:
        _check_unicode(sys.argv[1:])
        main()
        sys.stdout.flush()
    except MulanError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        told = "interrupted; what was begun goes on from its newest checkpoint by the same command: "
        print(told + shlex.join(sys.orig_argv), file=sys.stderr)
        sys.exit(130)
    except BrokenPipeError:  # whoever read what is printed has gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)


def _check_unicode(arguments: Sequence[str]) -> None:
    for argument in arguments:
        if not argument.isascii() and any("\ud800" <= letter <= "\udfff" for letter in argument):
            raise UnusableArgument(f"argument {argument!a} is not UTF-8; give what it names another name")
