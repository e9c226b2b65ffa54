"""The text tower: a pretrained BERT-type encoder whose [CLS] output is the sentence (MuLan §3.3)."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel, PreTrainedModel
from transformers.utils import logging

from mulan.config import sections
from mulan.config.pretrained import PretrainedError, pretrained_folder
from mulan.model.attention import drop_key_biases


class TextTower(nn.Module):
    """Token ids to the encoder's [CLS] output. Holds no parameter that this output does not depend on."""

    def __init__(self, encoder: PreTrainedModel, *, length_groups: int = 1) -> None:
        """
        Args:
            encoder: one whose outputs have a ``last_hidden_state``; it is changed in place.
            length_groups: see :class:`mulan.config.sections.TextTower`.
        """
        super().__init__()
        self._length_groups = length_groups
        self._frozen: tuple[nn.Module, ...] = ()
        if getattr(encoder, "pooler", None) is not None:
            encoder.pooler = None
        drop_key_biases(encoder)
        self.encoder = encoder
        self.output_dim: int = encoder.config.hidden_size

    @classmethod
    def from_section(cls, section: sections.TextTower) -> "TextTower":
        """The encoder of a recipe with its pretrained weights, in float32.

        Raises:
            PretrainedError: no such folder, not a text encoder, weights missing, or fewer layers than asked for.
        """
        folder = pretrained_folder(section.pretrained)
        tower = cls(_load_encoder(section.pretrained, folder, section.layers), length_groups=section.length_groups)
        if section.frozen_layers:
            tower._freeze(section.pretrained, section.frozen_layers)
        return tower

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> "TextTower":
        """The encoder that :attr:`config` describes, with fresh weights."""
        return cls(AutoModel.from_config(AutoConfig.for_model(**config)))

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

    def forward(self, token_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """int64 [B, L] and its mask (1 for tokens, 0 for padding) to [B, output_dim]."""
        groups = min(self._length_groups, len(token_ids))
        if groups == 1:
            return self._encode(token_ids, attention_mask)
        # always the same number of groups: under ZeRO 3 every worker must gather the same weights in the same order
        by_length = attention_mask.sum(dim=1).argsort(stable=True)
        parts = [self._encode(token_ids[rows], attention_mask[rows]) for rows in by_length.tensor_split(groups)]
        return torch.cat(parts)[by_length.argsort()]

    def _encode(self, token_ids: Tensor, attention_mask: Tensor) -> Tensor:
        longest = int(attention_mask.sum(dim=1).max()) if self._length_groups > 1 else token_ids.shape[1]
        output: Tensor = self.encoder(
            input_ids=token_ids[:, :longest], attention_mask=attention_mask[:, :longest]
        ).last_hidden_state
        return output[:, 0]

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
    remedy = "Name a BERT-type encoder saved by transformers."
    try:
        config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        available = config.num_hidden_layers
        if layers > available:
            raise PretrainedError(
                spec,
                [f"text_tower.layers = {layers}, but it has {available}"],
                f"Ask for 1 to {available}, or 0 for all.",
            )
        config.num_hidden_layers = layers or available
        with _quiet_loading():
            encoder, loading = AutoModel.from_pretrained(
                folder,
                config=config,
                local_files_only=True,
                trust_remote_code=False,
                dtype=torch.float32,
                output_loading_info=True,
            )
    except PretrainedError:
        raise
    except (OSError, ValueError, RuntimeError, AttributeError, UnpicklingError, SafetensorError) as error:
        raise PretrainedError(spec, [f"cannot be loaded: {error}"], remedy) from error
    missing = sorted(name for name in loading["missing_keys"] if not name.startswith("pooler."))
    if missing:
        raise PretrainedError(spec, [f"has no weights for {', '.join(missing)}"], remedy)
    return encoder


@contextmanager
def _quiet_loading() -> Iterator[None]:
    """Without a progress bar, and without a report on what is left out on purpose (layers above those asked for)."""
    verbosity, progress_bar = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if progress_bar:
            logging.enable_progress_bar()
