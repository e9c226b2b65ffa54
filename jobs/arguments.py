"""The common arguments and exit codes of the jobs.

* 0: done.
* 1: a machine, the network or the storage failed, or an unexpected error occurred (with a traceback). The same command
  may succeed, and resumes from the newest checkpoint.
* 2: the same command would fail again: a setting, a corpus, credentials, resources that the cluster can never have, a
  run with another driver, a nonfinite loss. The message says what to fix first; do not retry.
* 3: the run was asked to stop (``jobs.runs stop``), and has saved a checkpoint. The same command resumes; do not retry.
* 130, 143: interrupted (SIGINT, or SIGTERM once Ray is running) or terminated (SIGTERM). The same command resumes.
* 141: the reader of the output has closed it.
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
from mulan.config.paths import redacted
from mulan.config.recipe import Recipe
from mulan.launch.cluster import end_started_ray
from mulan.recipes.registry import known_names, load_recipe, named_recipes, with_settings
from mulan.runs.run import Run
from mulan.runs.stop import RunStopped
from mulan.storage import filesystem
from mulan.storage.errors import UnsupportedStorage, location_fault
from mulan.storage.hub import absolute_spec

CONSOLE = Console(
    highlight=False,
    markup=False,
    emoji=False,
    width=None if sys.stdout.isatty() or os.environ.get("COLUMNS") else 160,
)
"""The console of the jobs; prints text verbatim, since file names and errors may look like markup. In files and logs of
jobs, tables are as wide as they need, up to 160 characters."""


def add_recipe(
    parser: argparse.ArgumentParser,
    *,
    default: str | None = None,
    of_run: bool = False,
    printed: str = "the resolved recipe",
) -> None:
    """Adds ``--recipe``, ``--set`` and ``--dry-run``, which prints what ``printed`` says.

    With ``of_run``, the recipe defaults to that of the run.
    """
    known = f"{known_names(named_recipes())}; or a TOML file"
    parser.add_argument(
        "--recipe",
        metavar="NAME|FILE.toml",
        required=default is None and not of_run,
        default=default,
        help=f"{known}; must be that of the run" if of_run else known,
    )
    parser.add_argument(
        "--set",
        metavar="section.field=value",
        action="append",
        default=[],
        dest="settings",
        help="override a field of the recipe; may be repeated",
    )
    parser.add_argument("--dry-run", action="store_true", help=f"check everything, print {printed}, and stop")


def add_run(
    parser: argparse.ArgumentParser,
    *,
    storage: str | None = None,
    name: str | None = None,
    of_name: str = "name of the run; training resumes the run of that name",
) -> None:
    """Adds ``--storage`` and ``--name``, whose help is ``of_name``; without a default ``name``, it is required."""
    parser.add_argument(
        "--storage", metavar="URI", default=storage or "runs", help="folder of runs (default: %(default)s)"
    )
    parser.add_argument(
        "--name",
        metavar="RUN",
        required=name is None,
        default=name,
        help=of_name,
    )


def add_data(parser: argparse.ArgumentParser, *, default: str) -> None:
    """Adds ``--data``; ``default`` describes the default corpus in the help."""
    parser.add_argument("--data", metavar="URI", help=f"folder of a prepared corpus (default: {default})")


def positive(text: str) -> int:
    """Parses an argument that is an integer of at least 1."""
    value = int(text)  # argparse reports a ValueError
    if value < 1:
        raise argparse.ArgumentTypeError(f"{value} is not at least 1")
    return value


def share(text: str) -> float:
    """Parses an argument that is a share, from 0 to 1."""
    value = float(text)  # argparse reports a ValueError
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{value} is not from 0 to 1")
    return value


def recipe_of(arguments: argparse.Namespace, *, data_uri: str | None, name: str | None = None) -> Recipe:
    """Returns the requested recipe, with absolute paths.

    Args:
        arguments: The arguments of :func:`add_recipe`.
        data_uri: Value of ``data.uri``; None keeps that of the recipe.
        name: Name of the recipe if it is not ``--recipe``, such as a variant of it.

    Raises:
        RecipeError: The recipe does not exist or is not valid.
        UnsupportedStorage: ``--data`` is not a usable location.
    """
    recipe = load_recipe(name or arguments.recipe, arguments.settings, data_uri=checked("--data", data_uri))
    return _with_absolute_paths(recipe)


def recipe_to_train(arguments: argparse.Namespace, *, name: str | None = None) -> Recipe:
    """Returns the requested recipe, which must name a corpus.

    Args:
        arguments: The arguments of :func:`add_recipe` and :func:`add_data`.
        name: As in :func:`recipe_of`.

    Raises:
        RecipeError, UnsupportedStorage: See :func:`recipe_of`; also raised if the recipe names no corpus.
    """
    recipe = recipe_of(arguments, data_uri=arguments.data, name=name)
    if not recipe.data.uri:
        raise RecipeError(arguments.recipe, ["names no corpus (data.uri is empty): give the folder of one by --data"])
    return recipe


def recipe_of_run(arguments: argparse.Namespace, run: Run) -> Recipe:
    """Returns the recipe of an existing run, overridden by ``--set``.

    Raises:
        RunError: The run does not exist, or cannot be resumed with the requested recipe.
    """
    own = run.recipe()
    if arguments.recipe:
        recipe = load_recipe(arguments.recipe, arguments.settings, data_uri=own.data.uri)
    else:
        recipe = with_settings(own, arguments.settings, name=run.recipe_uri)
    recipe = _with_absolute_paths(recipe)
    run.check(recipe)
    return recipe


def checked(flag: str, uri: str | None) -> str | None:
    """Returns the URI of an argument; None if it was not given.

    Raises:
        UnsupportedStorage: It is not a usable location.
    """
    fault = None if uri is None else location_fault(filesystem.absolute(uri))
    if fault:
        raise UnsupportedStorage(f"{flag} {uri!r}: {fault}")
    return uri


def data_of(arguments: argparse.Namespace, recipe: Recipe) -> str:
    """Returns the URI of the corpus: ``--data`` or, if omitted, the recipe's.

    Raises:
        UnsupportedStorage: ``--data`` is not a usable location.
    """
    given = checked("--data", arguments.data)
    return recipe.data.uri if given is None else filesystem.absolute(given)


def _with_absolute_paths(recipe: Recipe) -> Recipe:
    return recipe.replace(
        {
            "data.uri": filesystem.absolute(recipe.data.uri),
            "text_tower.pretrained": absolute_spec(recipe.text_tower.pretrained),
            "audio_tower.pretrained": absolute_spec(recipe.audio_tower.pretrained),
        }
    )


def run_of(arguments: argparse.Namespace) -> Run:
    """Returns the run of ``--storage`` and ``--name``.

    Raises:
        RunError: ``--name`` is not a valid name.
        UnsupportedStorage: ``--storage`` is not a usable location.
    """
    checked("--storage", arguments.storage)
    return Run.at(arguments.storage, arguments.name)


class UnusableArgument(MulanError, ValueError):
    """An argument is not valid Unicode text."""


def end(main: Callable[[], None], *, repeated: str = "resumes from the newest checkpoint") -> None:
    """Runs a job's main function and exits with its code; a :class:`MulanError` prints its message only.

    Args:
        main: Function of the job.
        repeated: What the same command does after an interruption, for the hint that is then printed.
    """
    atexit.register(gc.freeze)  # a garbage collection at exit would take a second for torch and transformers
    try:
        _check_unicode(sys.argv[1:])
        main()
        sys.stdout.flush()
    except RunStopped as stopped:
        print(f"{stopped}; the same command {repeated}: {redacted(shlex.join(sys.orig_argv))}", file=sys.stderr)
        sys.exit(stopped.exit_code)
    except MulanError as error:
        # its lines may have names from outside
        print("error:", "\n".join(map(filesystem.printable, str(error).split("\n"))), file=sys.stderr)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        hint = f"interrupted; the same command {repeated}: "
        print(hint + redacted(shlex.join(sys.orig_argv)), file=sys.stderr, flush=True)
        if not end_started_ray():
            os._exit(130)  # its remaining processes end with this one
        sys.exit(130)
    except BrokenPipeError:  # the reader of the output has closed it
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)


def _check_unicode(arguments: Sequence[str]) -> None:
    for argument in arguments:
        if not argument.isascii() and any("\ud800" <= letter <= "\udfff" for letter in argument):
            raise UnusableArgument(f"argument {argument!a} is not UTF-8; rename the file or folder")
