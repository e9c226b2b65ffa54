"""Evaluation of a joint model in each validation, by the protocols of :mod:`mulan.evaluation`, on all workers together.

The scores do not depend on the number of workers: each recording, and each group of texts, is embedded in a forward
pass of its own, whichever worker computes it.
"""

from collections.abc import Sequence
from itertools import islice
from typing import Protocol

import numpy as np
import torch

from mulan.config.evaluation import EvaluatedTask
from mulan.config.recipe import Recipe
from mulan.data.corpus.index import Corpus
from mulan.data.corpus.records import read_fragments
from mulan.data.errors import BadRecording
from mulan.data.text import TextTokenizer, load_tokenizer, tokenize
from mulan.distributed.collectives import all_gather_objects, rank_and_world_size
from mulan.evaluation.embedding.indexed import IndexedRecording, indexed_recordings
from mulan.evaluation.embedding.labels import with_labels
from mulan.evaluation.embedding.windows import Windowing
from mulan.evaluation.encoders.encoder import EncoderInfo
from mulan.evaluation.errors import EvaluationError
from mulan.evaluation.protocols.protocol import Evaluated, EvaluationProtocol
from mulan.evaluation.protocols.retrieval import CaptionRetrieval, PlaylistRetrieval
from mulan.evaluation.protocols.zero_shot import ZeroShotTagging
from mulan.evaluation.recordings import EmbeddedRecordings, LabelledRecording

MAX_WINDOWS = 16
"""Maximum number of windows of a recording, from its start on; they are kept in memory during the whole run."""
_TEXTS_AT_ONCE = 32
_SPLIT = "validation"


class EmbeddingModule(Protocol):
    """The functions of :class:`mulan.model.joint.JointModel` that embed, also of one that is sharded by ZeRO."""

    def embed_audio(self, waveform: torch.Tensor) -> torch.Tensor: ...

    def embed_text(self, token_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor: ...


class ValidationEvaluation:
    """The recordings that the model is evaluated on, which are read once, and the protocols."""

    def __init__(
        self,
        recordings: Sequence[tuple[int, LabelledRecording, np.ndarray]],
        *,
        count: int,
        recipe: Recipe,
        tokenizer: TextTokenizer,
    ) -> None:
        """
        Args:
            recordings: This worker's recordings: number among all recordings, labels, windows int16 [n, samples].
            count: Number of the recordings of all workers.
            recipe: Recipe of the run.
            tokenizer: Tokenizer of the text tower.
        """
        self._recordings, self._count, self._tokenizer = recordings, count, tokenizer
        self._window_samples, self._select = recipe.encoder_window_samples, recipe.evaluation.select
        self._protocols = [_protocol(task) for task in recipe.evaluation.tasks]

    @classmethod
    def from_recipe(cls, recipe: Recipe, rank: int, workers: int) -> "ValidationEvaluation | None":
        """Reads a worker's share of the recordings; None if the recipe evaluates nothing.

        Recordings that cannot be read are left out.

        Raises:
            CorpusError, StorageError: The corpus cannot be read.
            EvaluationError: It has no recordings for validation.
            PretrainedError: The tokenizer cannot be loaded.
        """
        section = recipe.evaluation
        if not section.tasks:
            return None
        corpus = Corpus.open(recipe.data.uri)
        everything = indexed_recordings(corpus, [_SPLIT])
        count = min(len(everything), section.recordings)
        chosen = np.linspace(0, len(everything) - 1, count).round().astype(int)[rank::workers]
        windowing = Windowing(recipe.data.sample_rate_hz, recipe.encoder_window_samples)
        tokenizer = load_tokenizer(recipe.text_tower)
        assert tokenizer is not None, "models that embed text have a tokenizer"
        recordings = [
            (rank + workers * turn, *found)
            for turn, row in enumerate(chosen.tolist())
            if (found := _read(everything[row], windowing)) is not None
        ]
        return cls(recordings, count=count, recipe=recipe, tokenizer=tokenizer)

    def scores(self, module: EmbeddingModule, device: torch.device) -> dict[str, float]:
        """Computes the scores by their paths in ``report.json``, such as ``zero_shot.genre.roc_auc``. Collective.

        Args:
            module: The model, in evaluation mode.
            device: Device of the model.

        Raises:
            EvaluationError: ``evaluation.select`` is not among the scores, or no recording could be read.
        """
        model = Evaluated(
            _TrainedEncoder(module, device, self._tokenizer), audio=self._embedded(module, device), replicates=0
        )
        found = {
            f"{result.section}.{result.name}.{score}": value
            for protocol in self._protocols
            for result in protocol.evaluate(model)
            for score, value in result.scores.items()
            if not np.isnan(value)
        }
        if self._select and self._select not in found:
            raise EvaluationError(
                f"evaluation.select = {self._select} is not among the scores of the validation: "
                f"{', '.join(sorted(found)) or 'there are none'}"
            )
        return found

    def _embedded(self, module: EmbeddingModule, device: torch.device) -> EmbeddedRecordings:
        workers = rank_and_world_size()[1]
        own = []
        silence = np.zeros((1, self._window_samples), np.int16)
        # with sharded weights, every worker takes part in as many forward passes
        for turn in range(-(-self._count // workers)):
            number, labels, windows = self._recordings[turn] if turn < len(self._recordings) else (0, None, silence)
            vectors = module.embed_audio(torch.tensor(windows, device=device)).float().cpu().numpy()
            if labels is not None:
                own.append((number, labels, vectors))
        everything = sorted((each for part in all_gather_objects(own) for each in part), key=lambda each: each[0])
        if not everything:
            raise EvaluationError("none of the recordings of the validation split can be read")
        starts = np.concatenate([[0], np.cumsum([len(vectors) for *_, vectors in everything])])
        windows = np.concatenate([vectors for *_, vectors in everything])
        return EmbeddedRecordings(tuple(labels for _, labels, _ in everything), windows, starts, is_unit=True)


class _TrainedEncoder:
    """Embeds texts with the model that is being trained; see :class:`mulan.evaluation.encoders.encoder.Encoder`.

    Calls are collective, with the same texts on all workers.
    """

    info = EncoderInfo(
        name="training",
        kind="training",
        uri="",
        sha256="",
        sample_rate_hz=0,
        window_samples=0,
        dim=0,
        is_unit=True,
        embeds_text=True,
    )

    def __init__(self, module: EmbeddingModule, device: torch.device, tokenizer: TextTokenizer) -> None:
        self._module, self._device, self._tokenizer = module, device, tokenizer

    def embed_audio(self, windows: np.ndarray) -> np.ndarray:
        return self._module.embed_audio(torch.tensor(windows, device=self._device)).float().cpu().numpy()

    def embed_text(self, texts: Sequence[str]) -> np.ndarray:
        rank, workers = rank_and_world_size()
        groups = [texts[start : start + _TEXTS_AT_ONCE] for start in range(0, len(texts), _TEXTS_AT_ONCE)]
        own: list[tuple[int, np.ndarray]] = []
        for number in range(rank, -(-len(groups) // workers) * workers, workers):
            group = groups[number] if number < len(groups) else [""]
            tokens = (torch.tensor(array, device=self._device) for array in tokenize(group, self._tokenizer))
            rows = self._module.embed_text(*tokens).float().cpu().numpy()
            if number < len(groups):
                own.append((number, rows))
        parts = sorted((each for part in all_gather_objects(own) for each in part), key=lambda each: each[0])
        return np.concatenate([rows for _, rows in parts])


def _read(recording: IndexedRecording, windowing: Windowing) -> tuple[LabelledRecording, np.ndarray] | None:
    """Reads a recording; None if it cannot be used."""
    (fragment,) = read_fragments([recording.location])
    try:
        record = fragment.record()
        windows = np.stack(list(islice(windowing.windows(record.audio), MAX_WINDOWS)))
        return with_labels(recording, record.metadata), windows
    except BadRecording:
        return None


def _protocol(task: EvaluatedTask) -> EvaluationProtocol:
    protocols: dict[EvaluatedTask, EvaluationProtocol] = {
        "tags": ZeroShotTagging("tagged", split=_SPLIT),
        "captions": CaptionRetrieval("long_form", split=_SPLIT),
        "playlists": PlaylistRetrieval("titles", split=_SPLIT),
    }
    return protocols[task]
