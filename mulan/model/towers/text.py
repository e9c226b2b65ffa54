"""The text tower: a pretrained encoder whose pooled outputs represent the text (MuLan §3.3: at [CLS])."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from mulan.config import sections
from mulan.config.sections import Pooling
from mulan.model.towers.pretrained_networks import drop_key_biases, drop_unused
from mulan.model.towers.text_encoder import encoder_from_config, load_encoder
from mulan.model.towers.text_layers import layers_of, run_layers, take_upper_layers
from mulan.model.towers.text_lengths import LengthGroup
from mulan.model.towers.text_pooling import pool
from mulan.model.towers.text_probe import accepts_4d_mask
from mulan.storage.hub import PretrainedError


class TextTower(nn.Module):
    """Computes the encoder's pooled or all outputs from token ids. Parameters without effect are removed."""

    def __init__(self, encoder: PreTrainedModel, *, pooling: Pooling = "cls") -> None:
        """Wraps an encoder on the CPU whose outputs have a ``last_hidden_state``; the encoder is modified in place."""
        super().__init__()
        self._pooling: Pooling = pooling
        self._frozen: tuple[nn.Module, ...] = ()
        if getattr(encoder, "pooler", None) is not None:
            encoder.pooler = None
        drop_key_biases(encoder)
        drop_unused(encoder)
        encoder.config.use_cache = False  # causal networks would keep keys and values for texts that are continued
        self.encoder = encoder
        self.upper_layers = nn.ModuleList()
        """Layers that :meth:`split` has taken out of the encoder; empty otherwise."""
        self.output_dim: int = encoder.config.hidden_size
        self._accepts_4d_mask = accepts_4d_mask(encoder)

    @classmethod
    def from_section(cls, section: sections.TextTowerConfig) -> "TextTower":
        """Loads a recipe's encoder with its pretrained weights in float32.

        Raises:
            PretrainedError: The folder does not exist, holds no text encoder, lacks weights, or has fewer layers or
                positions than requested; or its pooled output does not represent the text.
        """
        tower = cls(load_encoder(section), pooling=section.pooling)
        if section.frozen_layers:
            tower._freeze(section.pretrained, section.frozen_layers)
        return tower

    @classmethod
    def from_config(cls, config: Mapping[str, Any], *, pooling: Pooling = "cls") -> "TextTower":
        """Builds the encoder that a :attr:`config` describes, with randomly initialised weights.

        Raises:
            ValueError: The configuration describes no encoder.
        """
        return cls(encoder_from_config(config), pooling=pooling)

    @property
    def config(self) -> dict[str, Any]:
        """The encoder's configuration, serialisable as JSON, from which :meth:`from_config` builds it again."""
        config: dict[str, Any] = self.encoder.config.to_diff_dict()
        return config

    def train(self, mode: bool = True) -> "TextTower":
        """Sets the mode, but keeps frozen layers in evaluation mode: in them, dropout would only add noise."""
        super().train(mode)
        for module in self._frozen:
            module.eval()
        return self

    def forward(self, token_ids: Tensor, attention_mask: Tensor, groups: Sequence[LengthGroup] | None = None) -> Tensor:
        """Encodes m texts, for encoders of BERT's type without synchronising with the device.

        Args:
            token_ids: int64 [m, L].
            attention_mask: int64 [m, L], 1 for tokens and 0 for padding.
            groups: Result of :func:`mulan.model.towers.text_lengths.length_groups`, with rows on the device of the
                token ids, which saves work without changing the result. If None, all texts are encoded at once.

        Returns:
            [m, output_dim].
        """
        if groups is None:
            return self._pooled(token_ids, attention_mask)
        parts = [self._pooled(token_ids[rows, :length], attention_mask[rows, :length]) for rows, length in groups]
        joined = torch.cat(parts)
        return torch.zeros_like(joined).index_copy(0, torch.cat([group.rows for group in groups]), joined)

    def tokens(self, token_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Returns the encoder's outputs at all positions, [m, L, output_dim]; ``forward`` pools them."""
        # transformers synchronises to check whether a mask [m, L] masks any token; a 4D mask is used unchanged. It is
        # broadcast over heads and queries. GPUs cannot use flash attention with it, but the memory-efficient kernel;
        # of a layer's operations on texts of up to 512 tokens, attention needs a tenth at most
        mask = attention_mask[:, None, None, :].bool() if self._accepts_4d_mask else attention_mask
        output: Tensor = self.encoder(input_ids=token_ids, attention_mask=mask).last_hidden_state
        return output

    def split(self, layers: int) -> None:
        """Takes the last ``layers`` layers out of the encoder and :meth:`tokens`, to be run by :meth:`upper_layer`.

        They stay frozen or trained as they were.
        """
        self.upper_layers = take_upper_layers(self.encoder, layers)

    def upper_layer(self, number: int, hidden: Tensor, attention_mask: Tensor) -> Tensor:
        """Applies one of the layers that were split off, from 0, to [m, L, output_dim]; the mask is int64 [m, L]."""
        return run_layers([self.upper_layers[number]], hidden, attention_mask)

    def _pooled(self, token_ids: Tensor, attention_mask: Tensor) -> Tensor:
        return pool(self.tokens(token_ids, attention_mask), attention_mask, self._pooling)

    def _freeze(self, spec: str, layers: int) -> None:
        stack = layers_of(self.encoder)
        if stack is None or layers > len(stack):
            has = "no list of layers" if stack is None else f"{len(stack)} layers"
            raise PretrainedError(
                spec, [f"text_tower.frozen_layers = {layers}, but it has {has}"], "Set it lower, or to 0 to train all."
            )
        embeddings = getattr(self.encoder, "embeddings", None) or self.encoder.get_input_embeddings()
        self._frozen = (embeddings, *stack[:layers])
        for module in self._frozen:
            module.requires_grad_(False)
