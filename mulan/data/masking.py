"""What MuLaP hides of a micro-batch, and which captions it exchanges: a function of the plan (MuLaP §2.2)."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mulan.config.sections import LossWeightsConfig, MulapConfig, TextTowerConfig
from mulan.data.batch import NOT_PREDICTED, Masks
from mulan.data.plan import Plan
from mulan.data.text import Vocabulary, load_vocabulary

_MASKED, _RANDOM = 0.8, 0.9
"""Of the tokens to be predicted, below the first become [MASK], below the second a random token (BERT §3.1)."""


@dataclass(frozen=True)
class Masking:
    """Masks for the terms that have a weight; a term without one costs no draw."""

    section: MulapConfig
    weights: LossWeightsConfig
    segments: int
    """Of each window."""
    max_tokens: int
    """Most tokens of a text."""
    vocabulary: Vocabulary

    @classmethod
    def from_sections(
        cls, section: MulapConfig, weights: LossWeightsConfig, text_tower: TextTowerConfig, *, segments: int
    ) -> "Masking | None":
        """Returns the masking of a recipe's sections; None if none of MuLaP's terms has a weight.

        Args:
            segments: Number of segments in each window.

        Raises:
            PretrainedError: The text tower's vocabulary has no token to mask with.
        """
        if not weights.uses_mulap:
            return None
        return cls(section, weights, segments, text_tower.max_tokens, load_vocabulary(text_tower))

    def captions(
        self, plan: Plan, step: int, micro_batch: int, texts: Sequence[str], recording_ids: Sequence[str]
    ) -> np.ndarray:
        """int64 [m]: whose text each of m pairs is given.

        Its own or, with the probability of a mismatch, one drawn from the others; if that one is the same text or of
        the same recording, the next one that is neither. A pair of which there is none keeps its own.
        """
        m = len(texts)
        order = np.arange(m)
        if not self.weights.atm:
            return order
        exchanged, choice = plan.uniforms(2 * m, purpose="mismatches", step=step, micro_batch=micro_batch).reshape(2, m)
        for pair in np.flatnonzero(exchanged < self.section.mismatch_probability).tolist():
            first = 1 + int(choice[pair] * (m - 1))
            for other in ((pair + first + turn) % m for turn in range(m)):
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
        """Hides tokens and segments.

        Args:
            token_ids: int64 [m, L], of the captions as they were given.
            attention_mask: int64 [m, L].
            matched: bool [m], whether a pair has its own caption: no token of another one is to be predicted.

        Returns:
            Token ids with those hidden that are to be predicted, of all captions alike, and the masks.
        """
        m = len(token_ids)
        targets = np.full((m, 0), NOT_PREDICTED)
        if self.weights.mlm:
            token_ids, targets = self._hide_tokens(plan, step, micro_batch, token_ids, attention_mask)
            targets[~matched] = NOT_PREDICTED
        hidden = np.zeros((m, self.segments), np.uint8)
        if self.weights.mam:
            draws = plan.uniforms(hidden.size, purpose="segments", step=step, micro_batch=micro_batch)
            hidden = (draws.reshape(hidden.shape) < self.section.segment_mask_probability).astype(np.uint8)
        return token_ids, Masks(targets, hidden, matched.astype(np.uint8))

    def _hide_tokens(
        self, plan: Plan, step: int, micro_batch: int, token_ids: np.ndarray, attention_mask: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        # drawn for the longest text there may be: what is hidden of a caption does not depend on the other captions
        captions, length = token_ids.shape
        draws = plan.uniforms(2 * captions * self.max_tokens, purpose="tokens", step=step, micro_batch=micro_batch)
        chosen, fate = draws.reshape(2, captions, self.max_tokens)[..., :length]
        real = (attention_mask == 1) & ~np.isin(token_ids, self.vocabulary.special_ids)
        predicted = real & (chosen < self.section.token_mask_probability)
        at_random = ((fate - _MASKED) / (_RANDOM - _MASKED) * self.vocabulary.size).astype(np.int64)
        hidden = np.where(fate < _MASKED, self.vocabulary.mask_id, np.where(fate < _RANDOM, at_random, token_ids))
        return np.where(predicted, hidden, token_ids), np.where(predicted, token_ids, NOT_PREDICTED)
