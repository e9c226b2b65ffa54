"""Train a filter of long-form texts from labelled ones: python -m jobs.train_text_filter --labels CSV --out URI"""

import argparse
from typing import TYPE_CHECKING

from jobs import arguments
from mulan.config.errors import MulanError
from mulan.preparation.texts.labels import LabelledTexts, read_labels
from mulan.storage import filesystem
from mulan.storage.hub import absolute_spec

if TYPE_CHECKING:
    from mulan.preparation.texts.classifier_training import TrainedFilter

DEFAULT_ENCODER = "hub:google-bert/bert-base-uncased"


class InvalidOption(MulanError, ValueError):
    """Raised when options of the command are out of range. Names all of them."""


def main() -> None:
    args = _parser().parse_args()
    args.out = filesystem.absolute(args.out)
    _check_ranges(args)
    labelled = read_labels(args.labels, min_of_each=args.folds)
    _check_folder(args.out)
    print(f"labels  {labelled.counts['music']} texts describe music, {labelled.counts['other']} do not")
    if not args.dry_run:
        _train(args, labelled)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="jobs.train_text_filter", description=__doc__)
    labels = (
        "CSV, TSV, JSON lines, Parquet or Arrow file with the columns text and label (1, true, music; 0, false, other)"
    )
    parser.add_argument("--labels", metavar="FILE", required=True, help=labels)
    parser.add_argument("--out", metavar="URI", required=True, help="folder of the filter, which must not contain one")
    parser.add_argument(
        "--pretrained",
        metavar="FOLDER",
        default=DEFAULT_ENCODER,
        help="BERT-type encoder: a folder, its URI, hub:OWNER/NAME or python:PACKAGE/FOLDER (default: %(default)s)",
    )
    parser.add_argument("--precision", type=float, default=0.9, help="wanted precision (default: %(default)s)")
    parser.add_argument("--folds", type=int, default=5, help="folds of the cross-validation (default: %(default)s)")
    parser.add_argument("--epochs", type=int, default=4, help="passes over the texts (default: %(default)s)")
    parser.add_argument("--batch-size", type=int, default=16, help="texts in a step (default: %(default)s)")
    parser.add_argument("--learning-rate", type=float, default=5e-5, help="maximum (default: %(default)s)")
    parser.add_argument("--max-tokens", type=int, default=64, help="tokens of a text (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="seed of all random draws (default: %(default)s)")
    parser.add_argument("--device", default="cpu", help="device of torch, such as cuda (default: %(default)s)")
    parser.add_argument("--dry-run", action="store_true", help="check the labels and the folder, and stop")
    return parser


def _check_ranges(args: argparse.Namespace) -> None:
    ranges = {
        "--precision": 0 < args.precision <= 1,
        "--folds": args.folds >= 2,
        "--epochs": args.epochs >= 1,
        "--batch-size": args.batch_size >= 1,
        "--learning-rate": 0 < args.learning_rate < 1,
        "--max-tokens": 3 <= args.max_tokens <= 512,
        "--seed": 0 <= args.seed < 2**32,
    }
    faults = [option for option, is_valid in ranges.items() if not is_valid]
    if faults:
        raise InvalidOption(f"{', '.join(faults)}: out of range; see python -m jobs.train_text_filter --help")


def _check_folder(uri: str) -> None:
    """Checks before the training that the filter can be written, and replaces no other one."""
    if filesystem.names_in(uri):
        raise InvalidOption(f"--out {uri} is not empty; name a new folder, or remove that one")
    filesystem.check_writable(uri)


def _train(args: argparse.Namespace, labelled: LabelledTexts) -> None:
    from mulan.preparation.texts.classifier_training import FilterTraining, save_filter, train_filter

    training = FilterTraining(
        pretrained=absolute_spec(args.pretrained),
        precision=args.precision,
        folds=args.folds,
        epochs=args.epochs,
        batch_size=args.batch_size,
        learning_rate=args.learning_rate,
        max_tokens=args.max_tokens,
        seed=args.seed,
        device=args.device,
    )
    trained = train_filter(labelled, training, progress=lambda line: print(line, flush=True))
    save_filter(trained, labelled, training, args.out)
    _print_scores(trained)
    print(f"filter  {args.out}")


def _print_scores(trained: "TrainedFilter") -> None:
    print("fold    texts  precision  recall")
    for number, fold in enumerate(trained.folds, 1):
        print(f"{number:<6}{fold.texts:>7}{fold.precision:>11.3f}{fold.recall:>8.3f}")
    overall = trained.overall
    print(f"all   {overall.texts:>7}{overall.precision:>11.3f}{overall.recall:>8.3f}")
    print(f"threshold  {trained.classifier.threshold:.4f}")


if __name__ == "__main__":
    arguments.end(main)
