"""Texts to token ids, by the tokenizer that belongs to the text tower."""

from functools import lru_cache

import numpy as np
from tokenizers import Tokenizer
from transformers import AutoTokenizer

from mulan.config.pretrained import pretrained_folder
from mulan.config.sections import TextTower


@lru_cache(maxsize=2)
def _tokenizer(pretrained: str, max_tokens: int) -> Tokenizer:
    """Without its wrapping in ``transformers``, whose other results nobody needs."""
    whole = AutoTokenizer.from_pretrained(pretrained_folder(pretrained), local_files_only=True)
    tokenizer: Tokenizer = whole.backend_tokenizer
    tokenizer.enable_truncation(max_tokens)
    tokenizer.enable_padding(length=max_tokens, pad_id=whole.pad_token_id, pad_token=whole.pad_token)
    return tokenizer


def tokenize(texts: list[str], section: TextTower) -> tuple[np.ndarray, np.ndarray]:
    """Token ids and attention mask, both int64 [len(texts), max_tokens], cut or null-padded (MuLan §3.1).

    Where the recipe has no text tower they are [len(texts), 0].
    """
    if not section.pretrained:
        return np.zeros((len(texts), 0), np.int64), np.zeros((len(texts), 0), np.int64)
    encoded = _tokenizer(section.pretrained, section.max_tokens).encode_batch_fast(texts)
    token_ids = np.array([text.ids for text in encoded], np.int64)
    return token_ids, np.array([text.attention_mask for text in encoded], np.int64)
