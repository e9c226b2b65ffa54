"""Export a run's newest checkpoint as a model: python -m jobs.export --storage URI --name RUN"""

import argparse

from jobs import arguments
from mulan.launch.checks import check_checkpoint
from mulan.runs.run import Run


def main() -> None:
    parser = argparse.ArgumentParser(prog="jobs.export", description=__doc__)
    arguments.add_recipe(parser, of_run=True)
    arguments.add_run(parser)
    args = parser.parse_args()
    run = arguments.run_of(args)
    recipe = arguments.recipe_of_run(args, run)
    check_checkpoint(run)
    run.check_writable()
    export(run, dry_run=args.dry_run)
    if args.dry_run:
        print(recipe.to_toml(), end="")


def export(run: Run, *, dry_run: bool = False) -> None:
    """Exports a run's newest checkpoint and prints the folder; with ``dry_run``, only reads the checkpoint."""
    from mulan.runs.export import checkpoint_to_export, export_run
    from mulan.tracking.results import send_model

    if dry_run:
        checkpoint_to_export(run).state.close()
        return
    steps_done = export_run(run)
    print(f"export  model of step {steps_done}: {run.model_uri}", flush=True)
    if run.recipe().logging.trackers:
        send_model(run, steps_done)


if __name__ == "__main__":
    arguments.end(main)
