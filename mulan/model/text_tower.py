"""The text tower: a pretrained BERT-type encoder whose [CLS] output is the sentence (MuLan §3.3)."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel, PreTrainedModel

from mulan.config import sections
from mulan.config.pretrained import PretrainedError, pretrained_folder
from mulan.model.attention import ATTENTION, drop_key_biases
from mulan.model.loading import LOADING_ERRORS, load_network
from mulan.model.text_lengths import LengthGroup


class TextTower(nn.Module):
    """Token ids to the encoder's [CLS] output, or to all outputs. Holds no parameter that they do not depend on."""

    def __init__(self, encoder: PreTrainedModel) -> None:
        """``encoder``: one whose outputs have a ``last_hidden_state``; it is changed in place."""
        super().__init__()
        self._frozen: tuple[nn.Module, ...] = ()
        if getattr(encoder, "pooler", None) is not None:
            encoder.pooler = None
        drop_key_biases(encoder)
        self.encoder = encoder
        self.output_dim: int = encoder.config.hidden_size
        kinds = getattr(encoder.config, "layer_types", None) or ()
        self._windowed = any(kind != "full_attention" for kind in kinds)

    @classmethod
    def from_section(cls, section: sections.TextTower) -> "TextTower":
        """The encoder of a recipe with its pretrained weights, in float32.

        Raises:
            PretrainedError: no such folder, not a text encoder, weights missing, or fewer layers than asked for.
        """
        folder = pretrained_folder(section.pretrained)
        tower = cls(_load_encoder(section.pretrained, folder, section.layers))
        if section.frozen_layers:
            tower._freeze(section.pretrained, section.frozen_layers)
        return tower

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> "TextTower":
        """The encoder that :attr:`config` describes, with fresh weights."""
        return cls(AutoModel.from_config(AutoConfig.for_model(**config), attn_implementation=ATTENTION))

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
        """Sentences of m texts. Never waits for the device.

        Args:
            token_ids: int64 [m, L].
            attention_mask: int64 [m, L], 1 for tokens and 0 for padding.
            groups: of :func:`mulan.model.text_lengths.length_groups`, with their rows on the device of the token ids:
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
        ready = attention_mask if self._windowed else attention_mask[:, None, None, :].bool()
        output: Tensor = self.encoder(input_ids=token_ids, attention_mask=ready).last_hidden_state
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


def _load_encoder(spec: str, folder: Path, layers: int) -> PreTrainedModel:
    remedy = "Set text_tower.pretrained to a BERT-type encoder saved by transformers."
    try:
        config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        available = config.num_hidden_layers
    except LOADING_ERRORS as error:
        raise PretrainedError(spec, [f"cannot be loaded: {error}"], remedy) from error
    if layers > available:
        raise PretrainedError(
            spec, [f"text_tower.layers = {layers}, but it has {available}"], f"Ask for 1 to {available}, or 0 for all."
        )
    config.num_hidden_layers = layers or available
    return load_network(AutoModel, spec, folder, config, remedy=remedy)
