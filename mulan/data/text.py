"""Texts to token ids, by the tokenizer that belongs to the text tower."""

from functools import lru_cache
from typing import Any

import numpy as np
from transformers import AutoTokenizer

from mulan.config.pretrained import pretrained_folder
from mulan.config.sections import TextTower


@lru_cache(maxsize=2)
def _tokenizer(pretrained: str) -> Any:
    return AutoTokenizer.from_pretrained(pretrained_folder(pretrained), local_files_only=True)


def tokenize(texts: list[str], section: TextTower) -> tuple[np.ndarray, np.ndarray]:
    """Token ids and attention mask, both int64 [len(texts), max_tokens], cut or null-padded (MuLan §3.1).

    Where the recipe has no text tower they are [len(texts), 0].
    """
    if not section.pretrained:
        return np.zeros((len(texts), 0), np.int64), np.zeros((len(texts), 0), np.int64)
    encoded = _tokenizer(section.pretrained)(
        texts, truncation=True, max_length=section.max_tokens, padding="max_length", return_tensors="np"
    )
    return encoded["input_ids"].astype(np.int64), encoded["attention_mask"].astype(np.int64)
