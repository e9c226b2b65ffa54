"""The runs of an ablation, ``STORAGE/NAME/VARIANT/``, and what is left to do for each."""

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from mulan.config.errors import USER_ERROR, MulanError
from mulan.config.recipe import Recipe
from mulan.runs.checkpoint_list import steps_saved
from mulan.runs.run import Run


@dataclass(frozen=True)
class AblationRun:
    """The run of a variant."""

    name: str
    """Name of the variant."""
    recipe: Recipe
    """Recipe to train it with."""
    run: Run
    """Its run, which need not exist."""

    @classmethod
    def of(cls, ablation: Run, name: str, recipe: Recipe) -> "AblationRun":
        """Returns the run of a variant.

        Args:
            ablation: The folder of the ablation.
            name: Name of the variant.
            recipe: Recipe of the variant.
        """
        return cls(name, recipe, Run(ablation.uri, name))

    @property
    def is_finished(self) -> bool:
        """Whether the model of the last step has been exported, so that nothing is left to train."""
        exported = self.run.exported_steps()
        return self.run.has_model and exported is not None and exported >= self.recipe.train.steps

    @property
    def steps_saved(self) -> int:
        """Number of steps of the newest checkpoint; 0 if there is none."""
        return steps_saved(self.run.uri)

    def as_it_is(self) -> "AblationRun":
        """Returns the variant with the corpus and the number of steps of its existing run.

        Raises:
            RunError, RecipeError: The run does not exist, its recipe is damaged, or it has another recipe otherwise.
        """
        own = self.run.recipe()
        recipe = self.recipe.replace({"data.uri": own.data.uri, "train.steps": own.train.steps})
        self.run.check(recipe)
        return AblationRun(self.name, recipe, self.run)

    def state(self) -> str:
        """Returns in words what there is, and what is left to train."""
        steps, saved = self.recipe.train.steps, self.steps_saved
        if self.is_finished:
            return f"trained for {self.run.exported_steps()} steps and exported"
        if saved >= steps:
            return f"trained for {saved} steps; its model is to be exported"
        if saved:
            return f"{steps - saved} of {steps} steps are to be trained, from step {saved} on"
        return f"{steps} steps are to be trained"


@dataclass
class MissingVariants:
    """Why variants are missing in a report, by name."""

    untrained: dict[str, str] = field(default_factory=dict)
    """Those that have no model, and were not to be trained."""
    faults: dict[str, str] = field(default_factory=dict)
    """Those that could not be trained or evaluated."""

    @property
    def reasons(self) -> dict[str, str]:
        """All of them."""
        return {**self.untrained, **self.faults}

    @contextmanager
    def noting(self, one: AblationRun) -> Iterator[None]:
        """Notes an error of a variant that another attempt would raise again, so that others continue.

        Raises:
            MulanError: Another attempt may succeed.
        """
        try:
            yield
        except MulanError as error:
            if error.exit_code != USER_ERROR:
                raise
            self.faults[one.name] = str(error)


def existing_runs(runs: Sequence[AblationRun], missing: MissingVariants) -> list[AblationRun]:
    """Returns the runs that have a model, as they are (:meth:`AblationRun.as_it_is`), and notes the others."""
    found = []
    for one in runs:
        if one.run.has_model:
            with missing.noting(one):
                found.append(one.as_it_is())
        else:
            missing.untrained[one.name] = f"{one.run.uri} has no exported model, {one.state()}"
    return found


def runs_to_train(
    runs: Sequence[AblationRun],
    only: Collection[str],
    missing: MissingVariants,
    *,
    index_sha256: str,
    check: Callable[[Recipe, Run], object],
) -> tuple[list[AblationRun], list[AblationRun]]:
    """Returns the runs to report and, of these, those to train. All are checked before the first is trained.

    Args:
        runs: The runs of all variants.
        only: Names of the variants to train; others are reported as they are.
        missing: Receives the variants that cannot be trained, and those that are not to be trained.
        index_sha256: Digest of the index of the corpus that they are trained on.
        check: Raises a :class:`MulanError` if a run cannot train its recipe.
    """
    chosen = [one for one in runs if one.name in only]
    usable = existing_runs([one for one in runs if one.name not in only], missing)
    to_train = []
    for one in chosen:
        with missing.noting(one):
            if one.is_finished:
                one.run.check(one.recipe, index_sha256)
            else:
                check(one.recipe, one.run)
                to_train.append(one)
            usable.append(one)
    names = [one.name for one in runs]
    return sorted(usable, key=lambda one: names.index(one.name)), to_train
