"""MuLaP's masking of tokens and segments and its exchange of captions, drawn from the plan (MuLaP §2.2)."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mulan.config.objectives import LossWeightsConfig, MulapConfig
from mulan.config.sections import TextTowerConfig
from mulan.data.batch import NOT_PREDICTED, Masks
from mulan.data.plan import Plan
from mulan.data.text import TokenVocabulary, load_vocabulary

_MASKED, _RANDOM = 0.8, 0.9
"""Cumulative probabilities that a token to be predicted becomes [MASK], or a random token (BERT §3.1)."""


@dataclass(frozen=True)
class Masking:
    """Draws the masks of the loss terms whose weight is not 0; nothing is drawn for the others."""

    section: MulapConfig
    weights: LossWeightsConfig
    segments: int
    """Number of segments of a window."""
    max_tokens: int
    """Maximum number of tokens of a text."""
    vocabulary: TokenVocabulary

    @classmethod
    def from_sections(
        cls, section: MulapConfig, weights: LossWeightsConfig, text_tower: TextTowerConfig, *, segments: int
    ) -> "Masking | None":
        """Builds the masking from sections of a recipe; returns None if all of MuLaP's terms have weight 0.

        Args:
            section: MuLaP's probabilities.
            weights: Weights of the loss terms.
            text_tower: Section whose tokenizer is used.
            segments: Number of segments in each window.

        Raises:
            PretrainedError: The text tower's vocabulary has no mask token.
        """
        if not weights.uses_mulap:
            return None
        return cls(section, weights, segments, text_tower.max_tokens, load_vocabulary(text_tower))

    def captions(
        self, plan: Plan, step: int, micro_batch: int, texts: Sequence[str], recording_ids: Sequence[str]
    ) -> np.ndarray:
        """Returns, for each of m pairs, the index of the pair whose text it receives, int64 [m].

        With ``mismatch_probability``, a pair receives the text of a random other pair, or of the next one after it with
        a different text and recording. If there is none, and otherwise, it keeps its own text.
        """
        m = len(texts)
        order = np.arange(m)
        if not self.weights.atm:
            return order
        exchanged, choice = plan.uniforms(2 * m, purpose="mismatches", step=step, micro_batch=micro_batch).reshape(2, m)
        for pair in np.flatnonzero(exchanged < self.section.mismatch_probability).tolist():
            first = 1 + int(choice[pair] * (m - 1))
            for other in ((pair + first + offset) % m for offset in range(m)):
                if texts[other] != texts[pair] and recording_ids[other] != recording_ids[pair]:
                    order[pair] = other
                    break
        return order

    def __call__(
        self,
        plan: Plan,
        step: int,
        micro_batch: int,
        *,
        token_ids: np.ndarray,
        attention_mask: np.ndarray,
        matched: np.ndarray,
    ) -> tuple[np.ndarray, Masks]:
        """Masks tokens and segments.

        Args:
            plan: Plan of the micro-batch.
            step: Step of the micro-batch.
            micro_batch: Number of the micro-batch.
            token_ids: Token ids of the captions after their exchange, int64 [m, L].
            attention_mask: Attention mask of the captions after their exchange, int64 [m, L].
            matched: Whether each pair has its own caption, bool [m]; tokens of exchanged captions are masked, but not
                predicted.

        Returns:
            Masked token ids, int64 [m, L], and the masks.
        """
        m = len(token_ids)
        targets = np.full((m, 0), NOT_PREDICTED)
        if self.weights.mlm:
            token_ids, targets = self._mask_tokens(plan, step, micro_batch, token_ids, attention_mask)
            targets[~matched] = NOT_PREDICTED
        hidden = np.zeros((m, self.segments), np.uint8)
        if self.weights.mam:
            draws = plan.uniforms(hidden.size, purpose="segments", step=step, micro_batch=micro_batch)
            hidden = (draws.reshape(hidden.shape) < self.section.segment_mask_probability).astype(np.uint8)
        return token_ids, Masks(targets, hidden, matched.astype(np.uint8))

    def _mask_tokens(
        self, plan: Plan, step: int, micro_batch: int, token_ids: np.ndarray, attention_mask: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        # drawn for the maximum length, so that the masks of a caption do not depend on the other captions
        captions, length = token_ids.shape
        draws = plan.uniforms(2 * captions * self.max_tokens, purpose="tokens", step=step, micro_batch=micro_batch)
        selection, kind = draws.reshape(2, captions, self.max_tokens)[..., :length]
        words = (attention_mask == 1) & ~np.isin(token_ids, self.vocabulary.special_ids)
        predicted = words & (selection < self.section.token_mask_probability)
        random_ids = ((kind - _MASKED) / (_RANDOM - _MASKED) * self.vocabulary.size).astype(np.int64)
        masked = np.where(kind < _MASKED, self.vocabulary.mask_id, np.where(kind < _RANDOM, random_ids, token_ids))
        return np.where(predicted, masked, token_ids), np.where(predicted, token_ids, NOT_PREDICTED)
