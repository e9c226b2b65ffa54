"""Texts to token ids, by the tokenizer that belongs to the text tower."""

import numpy as np
from tokenizers import Tokenizer

from mulan.config.pretrained import pretrained_folder
from mulan.config.sections import TextTower


def load_tokenizer(section: TextTower) -> Tokenizer | None:
    """The text tower's tokenizer, which cuts or null-pads to ``max_tokens``; None where the recipe has no text tower.

    It can be pickled: the processes that read need neither the pretrained model's files nor ``transformers``.
    """
    if not section.pretrained:
        return None
    from transformers import AutoTokenizer

    whole = AutoTokenizer.from_pretrained(pretrained_folder(section.pretrained), local_files_only=True)
    tokenizer: Tokenizer = whole.backend_tokenizer
    tokenizer.enable_truncation(section.max_tokens)
    tokenizer.enable_padding(length=section.max_tokens, pad_id=whole.pad_token_id, pad_token=whole.pad_token)
    return tokenizer


def tokenize(texts: list[str], tokenizer: Tokenizer | None) -> tuple[np.ndarray, np.ndarray]:
    """Token ids and attention mask, both int64 [len(texts), max_tokens] (MuLan §3.1); [len(texts), 0] without any."""
    if tokenizer is None:
        return np.zeros((len(texts), 0), np.int64), np.zeros((len(texts), 0), np.int64)
    encoded = tokenizer.encode_batch_fast(texts)
    token_ids = np.array([text.ids for text in encoded], np.int64)
    return token_ids, np.array([text.attention_mask for text in encoded], np.int64)
