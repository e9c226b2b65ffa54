"""Training in this process, without Ray."""

from collections.abc import Callable

from mulan.data.corpus.index import Corpus
from mulan.evaluation.encoders.encoder import EncoderInfo
from mulan.evaluation.finetuning.end_to_end import EndToEnd, StartingNetwork
from mulan.evaluation.finetuning.training import EndToEndJob, EndToEndSettings, TrainedNetwork, train_end_to_end
from mulan.evaluation.recordings import EmbeddedRecordings

QUICK = EndToEndSettings(
    learning_rates=(1e-4, 3e-3), batch_size=16, min_batches=10, max_epochs=6, plateau_epochs=1, patience_epochs=3
)


def train_here(job: EndToEndJob) -> list[TrainedNetwork]:
    """Trains with each learning rate."""
    return [_last(job, rate) for rate in job.settings.learning_rates]


def _last(job: EndToEndJob, rate: float) -> TrainedNetwork:
    *_, last = train_end_to_end(job, rate, "cpu")
    assert isinstance(last, TrainedNetwork)
    return last


def end_to_end(
    model: EncoderInfo,
    corpus: Corpus,
    audio: EmbeddedRecordings,
    folder_uri: str,
    *,
    from_scratch: bool = False,
    settings: EndToEndSettings = QUICK,
    train: Callable[[EndToEndJob], list[TrainedNetwork]] = train_here,
    on_message: Callable[[str], None] = print,
) -> EndToEnd:
    """Returns what trains a network in this process."""
    start = StartingNetwork(model, from_scratch)
    return EndToEnd(start, corpus, audio.of_splits("test"), folder_uri, train, "cpu", settings, on_message)


def not_called(job: EndToEndJob) -> list[TrainedNetwork]:
    raise AssertionError("nothing needs to be trained")
