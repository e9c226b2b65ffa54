"""The arguments that the jobs share, and how a job ends: 0, 1 for a failed run, 2 for a request that cannot be met."""

import argparse
import atexit
import gc
import sys
from collections.abc import Callable

from mulan.config.errors import MulanError
from mulan.config.recipe import Recipe, known_names, load_recipe
from mulan.config.recipes import named_recipes
from mulan.data import storage
from mulan.training.run import Run


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


def recipe_of(arguments: argparse.Namespace, *, data_uri: str | None) -> Recipe:
    recipe = load_recipe(arguments.recipe, named_recipes(), arguments.settings, data_uri=data_uri)
    # a run remembers its corpus: the path must mean the same from another folder
    whole = recipe.data.model_copy(update={"uri": storage.absolute(recipe.data.uri)})
    return recipe.model_copy(update={"data": whole})


def recipe_of_run(arguments: argparse.Namespace, run: Run) -> Recipe:
    """The recipe of a run that is there, with ``--set`` laid over it.

    Raises:
        RunError: there is no such run, or what is asked for differs from its recipe in more than ``scale``.
    """
    own = run.recipe()
    name, named = arguments.recipe or run.recipe_uri, named_recipes() | {run.recipe_uri: own}
    recipe = load_recipe(name, named, arguments.settings, data_uri=own.data.uri)
    run.check(recipe)
    return recipe


def run_of(arguments: argparse.Namespace) -> Run:
    return Run.at(arguments.storage, arguments.name)


def end(main: Callable[[], None]) -> None:
    """Runs a job's main function and exits with its code; a user's fault is printed as its message alone."""
    atexit.register(gc.freeze)  # else the end looks for garbage in all of torch and transformers, which takes a second
    try:
        main()
    except MulanError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        print("interrupted; a run goes on from its newest checkpoint by the same command", file=sys.stderr)
        sys.exit(130)
