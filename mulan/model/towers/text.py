"""The text tower: a pretrained encoder whose [CLS] output is the sentence (MuLan §3.3)."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from mulan.config import sections
from mulan.model.towers.pretrained_networks import drop_key_biases
from mulan.model.towers.text_encoder import drawn_encoder, load_encoder
from mulan.model.towers.text_probe import takes_ready_mask
from mulan.storage.hub import PretrainedError


class LengthGroup(NamedTuple):
    """Texts of like length within a micro-batch."""

    rows: Tensor
    """int64 [k], their places in the micro-batch, ascending; on the device of the token ids."""
    longest: int
    """Tokens of the longest of them."""


def length_groups(attention_mask: np.ndarray | Tensor, groups: int) -> tuple[LengthGroup, ...]:
    """Texts in groups of like length, each to be padded to its own longest only.

    Always ``min(groups, m)`` groups, whatever the lengths: under ZeRO 3 every worker must gather the same weights in
    the same order.

    Args:
        attention_mask: int64 [m, L] on the host, where it can be looked at without waiting for a device; padding
            follows the tokens.
        groups: at least 1.

    Returns:
        Groups from short texts to long ones; their ``rows`` are on the host.
    """
    lengths = np.asarray(attention_mask).sum(axis=1)
    by_length = np.argsort(lengths, kind="stable")
    return tuple(
        LengthGroup(torch.from_numpy(np.sort(rows)), int(lengths[rows].max()))
        for rows in np.array_split(by_length, min(groups, len(lengths)))
    )


class TextTower(nn.Module):
    """Token ids to the encoder's [CLS] output, or to all outputs. Holds no parameter that they do not depend on."""

    def __init__(self, encoder: PreTrainedModel) -> None:
        """``encoder``: on the CPU, one whose outputs have a ``last_hidden_state``; it is changed in place."""
        super().__init__()
        self._frozen: tuple[nn.Module, ...] = ()
        if getattr(encoder, "pooler", None) is not None:
            encoder.pooler = None
        drop_key_biases(encoder)
        self.encoder = encoder
        self.output_dim: int = encoder.config.hidden_size
        self._takes_ready_mask = takes_ready_mask(encoder)

    @classmethod
    def from_section(cls, section: sections.TextTowerConfig) -> "TextTower":
        """The encoder of a recipe with its pretrained weights, in float32.

        Raises:
            PretrainedError: no such folder, not a text encoder, weights missing, fewer layers or positions than asked
                for, or its first position is not the sentence.
        """
        tower = cls(load_encoder(section))
        if section.frozen_layers:
            tower._freeze(section.pretrained, section.frozen_layers)
        return tower

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> "TextTower":
        """The encoder that :attr:`config` describes, with fresh weights.

        Raises:
            ValueError: it describes none.
        """
        return cls(drawn_encoder(config))

    @property
    def config(self) -> dict[str, Any]:
        """All that is needed to build the encoder again, ready for JSON."""
        config: dict[str, Any] = self.encoder.config.to_diff_dict()
        return config

    def train(self, mode: bool = True) -> "TextTower":
        """Frozen layers stay in evaluation mode: they learn nothing that dropout could help to generalize."""
        super().train(mode)
        for module in self._frozen:
            module.eval()
        return self

    def forward(self, token_ids: Tensor, attention_mask: Tensor, groups: Sequence[LengthGroup] | None = None) -> Tensor:
        """Sentences of m texts. Never waits for the device with an encoder of BERT's type.

        Args:
            token_ids: int64 [m, L].
            attention_mask: int64 [m, L], 1 for tokens and 0 for padding.
            groups: of :func:`mulan.model.towers.text.length_groups`, with their rows on the device of the token ids:
                the same result for less work. None encodes all rows at once, as they are.

        Returns:
            [m, output_dim].
        """
        if groups is None:
            return self.tokens(token_ids, attention_mask)[:, 0]
        parts = [
            self.tokens(token_ids[rows, :longest], attention_mask[rows, :longest])[:, 0] for rows, longest in groups
        ]
        joined = torch.cat(parts)
        return torch.zeros_like(joined).index_copy(0, torch.cat([group.rows for group in groups]), joined)

    def tokens(self, token_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """All positions of m texts, [m, L, output_dim]; ``forward`` gives the first ones."""
        # transformers asks the device whether a mask [m, L] masks anything at all; one that is ready it takes as it is
        mask = attention_mask[:, None, None, :].bool() if self._takes_ready_mask else attention_mask
        output: Tensor = self.encoder(input_ids=token_ids, attention_mask=mask).last_hidden_state
        return output

    def _freeze(self, spec: str, layers: int) -> None:
        stack = getattr(getattr(self.encoder, "encoder", None), "layer", None)
        if stack is None or layers > len(stack):
            has = "no such stack of layers" if stack is None else f"{len(stack)} layers"
            raise PretrainedError(
                spec, [f"text_tower.frozen_layers = {layers}, but it has {has}"], "Freeze fewer, or 0 to train all."
            )
        self._frozen = (self.encoder.embeddings, *stack[:layers])
        for module in self._frozen:
            module.requires_grad_(False)
