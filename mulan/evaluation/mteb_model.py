"""Any encoder as a model of ``mteb``, the Massive Text Embedding Benchmark, whose tasks of audio it then runs.

``mteb`` is installed by ``pip install mulan[mteb]``. A model of mulan on its task of MusicCaps::

    encoder = open_encoder("runs/first/model")
    mteb.evaluate(MtebModel(encoder), tasks=mteb.get_tasks(["MusicCapsT2ARetrieval"]))
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cached_property
from typing import Any

import numpy as np

from mulan.evaluation.encoders.encoder import Encoder, EncoderError
from mulan.evaluation.recordings import EmbeddedRecordings, LabelledRecording
from mulan.model.inference.inputs import windows_of


class MtebModel:
    """An encoder with the methods of ``EncoderProtocol`` of ``mteb`` 2.

    A recording is resampled to the rate of the encoder, and its vector is the mean over the fewest windows that cover
    it, as in mulan's own evaluation. Prompts and instructions of ``mteb`` are not used. Vectors are compared by cosine
    similarity.
    """

    def __init__(self, encoder: Encoder) -> None:
        self._encoder = encoder

    @cached_property
    def mteb_model_meta(self) -> Any:
        """The model's ``ModelMeta`` of ``mteb``, by whose name and revision ``mteb`` caches results."""
        from mteb.models.model_meta import ModelMeta, ScoringFunction

        similarity = ScoringFunction(self.description["similarity_fn_name"])
        return ModelMeta.create_empty({**self.description, "similarity_fn_name": similarity})

    @property
    def description(self) -> dict[str, Any]:
        """What is known about the model, by the names of the fields of ``ModelMeta``.

        The revision is the digest of the encoder's content, so that no results of other weights are taken from the
        cache of ``mteb``.
        """
        info = self._encoder.info
        supported = {"audio": info.embeds_audio, "text": info.embeds_text}
        return {
            "name": f"mulan/{info.name}",
            "revision": info.sha256,
            "embed_dim": info.dim,
            "framework": ["PyTorch"],
            "similarity_fn_name": "cosine",
            "modalities": [modality for modality, is_supported in supported.items() if is_supported],
        }

    def encode(
        self,
        inputs: Iterable[Mapping[str, Any]],
        *,
        task_metadata: Any,
        hf_split: str,
        hf_subset: str,
        prompt_type: Any = None,
        **kwargs: Any,
    ) -> np.ndarray:
        """Embeds the items of a task.

        Args:
            inputs: Batches, such as the ``DataLoader`` of ``mteb``: a list of ``text``, and of ``audio``, each of which
                has ``array``, float [samples] or [channels, samples] in [-1, 1], and ``sampling_rate``. The vector of
                an item that has both is the sum of their vectors, as in the models of ``mteb``.
            task_metadata: The task, whose ``name`` is used in messages.
            hf_split: Not used.
            hf_subset: Not used.
            prompt_type: Not used.
            kwargs: Not used.

        Returns:
            float32 [items, d].

        Raises:
            EncoderError: The task has items that the encoder does not embed.
        """
        rows = [self._rows(batch, str(task_metadata.name)) for batch in inputs]
        return np.concatenate([np.zeros((0, self._encoder.info.dim), np.float32), *rows])

    def similarity(self, embeddings1: Any, embeddings2: Any) -> np.ndarray:
        """Returns the cosine similarities of vectors, [n, d] or [d], with other vectors, as [n, m]."""
        similarities: np.ndarray = _unit_rows(embeddings1) @ _unit_rows(embeddings2).T
        return similarities

    def similarity_pairwise(self, embeddings1: Any, embeddings2: Any) -> np.ndarray:
        """Returns the cosine similarity of each pair of vectors, [n, d] or [d], as [n]."""
        similarities: np.ndarray = (_unit_rows(embeddings1) * _unit_rows(embeddings2)).sum(axis=1)
        return similarities

    def _rows(self, batch: Mapping[str, Any], task: str) -> np.ndarray:
        embed: dict[str, Callable[[Any], np.ndarray]] = {"audio": self._audio_rows, "text": self._text_rows}
        given = [modality for modality in embed if modality in batch]
        missing = sorted({*given} - {*self.description["modalities"]})
        if missing or not given:
            name = self._encoder.info.name
            fault = f"{' and '.join(missing)}, which {name} does not embed" if given else "neither audio nor text"
            raise EncoderError(f"the task {task} of mteb has {fault}; choose another task for {name}")
        rows: np.ndarray = np.sum([embed[modality](batch[modality]) for modality in given], axis=0)
        return rows

    def _text_rows(self, texts: Iterable[str]) -> np.ndarray:
        return self._encoder.embed_text(list(texts))

    def _audio_rows(self, items: Iterable[Mapping[str, Any]]) -> np.ndarray:
        windows = [list(self._windows(item)) for item in items]
        rows = self._encoder.embed_audio(np.concatenate(windows))
        recordings = tuple(LabelledRecording(f"{number:09}", "test") for number in range(len(windows)))
        starts = np.cumsum([0, *map(len, windows)])
        return EmbeddedRecordings(recordings, rows, starts, self._encoder.info.is_unit).means

    def _windows(self, item: Mapping[str, Any]) -> Iterator[np.ndarray]:
        info = self._encoder.info
        samples, rate_hz = np.asarray(item["array"], np.float32), int(item["sampling_rate"])
        return windows_of(samples, info.window_samples, sample_rate_hz=rate_hz, model_rate_hz=info.sample_rate_hz)


def _unit_rows(vectors: Any) -> np.ndarray:
    """Returns vectors, [n, d] or [d], as unit rows, float64 [n, d]."""
    rows = np.atleast_2d(np.asarray(vectors, np.float64))
    unit: np.ndarray = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return unit
