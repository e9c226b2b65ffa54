"""Vectors of texts: of queries, and of the prompts that stand for tags."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType

import numpy as np

from mulan.evaluation.encoders.encoder import Encoder, EncoderInfo
from mulan.evaluation.errors import EvaluationError
from mulan.evaluation.protocols.templates import TAGS_ALONE, PromptTemplates


def embed_texts(encoder: Encoder, texts: Sequence[str]) -> np.ndarray:
    """Returns the unit vector of each text, float32 [texts, d]. Equal texts are embedded once.

    Raises:
        EvaluationError: A vector is not finite.
    """
    distinct = sorted(set(texts))
    rows = {text: row for row, text in enumerate(distinct)}
    vectors = encoder.embed_text(distinct) if distinct else np.zeros((0, encoder.info.dim), np.float32)
    if not np.isfinite(vectors).all():
        raise EvaluationError(
            f"text embeddings of the model {encoder.info.name} are not finite; did its training diverge?"
        )
    return vectors[[rows[text] for text in texts]]


class RememberedTexts:
    """An encoder that embeds each text once, however often it is asked for."""

    def __init__(self, encoder: Encoder) -> None:
        self._encoder = encoder
        self._vectors: dict[str, np.ndarray] = {}

    @property
    def info(self) -> EncoderInfo:
        """What the encoder is."""
        return self._encoder.info

    def embed_audio(self, windows: np.ndarray) -> np.ndarray:
        """Embeds windows as the encoder does."""
        return self._encoder.embed_audio(windows)

    def embed_text(self, texts: Sequence[str]) -> np.ndarray:
        """Embeds texts as unit rows, float32 [n, d], of which those are computed that are asked for the first time."""
        new = [text for text in dict.fromkeys(texts) if text not in self._vectors]
        if new:
            self._vectors |= zip(new, self._encoder.embed_text(new), strict=True)
        return np.stack([self._vectors[text] for text in texts])


class PromptEnsemble:
    """The prompts of tags, and one unit vector for each tag."""

    def __init__(self, encoder: Encoder, tags: Sequence[str], templates: PromptTemplates = TAGS_ALONE) -> None:
        """
        Args:
            encoder: The model, which embeds each prompt.
            tags: Tags, ``category:text``.
            templates: Templates of their prompts. The vector of a tag is the mean of the unit vectors of its prompts,
                normalised.

        Raises:
            EvaluationError: A vector is not finite.
        """
        self._prompts = {tag: templates.prompts_of(tag) for tag in tags}
        vectors = embed_texts(encoder, [prompt for tag in tags for prompt in self._prompts[tag]])
        ends = np.cumsum([len(self._prompts[tag]) for tag in tags])
        sums = np.add.reduceat(vectors.astype(np.float64), np.concatenate([[0], ends[:-1]]), axis=0)
        norms = np.linalg.norm(sums, axis=1, keepdims=True)
        self._vectors = sums / np.where(norms > 0, norms, 1)  # opposite prompts of a tag cancel

    @property
    def prompts(self) -> Mapping[str, list[str]]:
        """The prompts of each tag, as they were embedded."""
        return MappingProxyType(self._prompts)

    @property
    def vectors(self) -> np.ndarray:
        """The vector of each tag, float64 [tags, d], in the order of the tags."""
        return self._vectors
