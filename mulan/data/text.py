"""Texts to token ids, by the tokenizer that belongs to the text tower."""

from dataclasses import dataclass

import numpy as np
from tokenizers import Tokenizer

from mulan.config.pretrained import PretrainedError, pretrained_folder
from mulan.config.sections import TextTower

MOST_CHARACTERS = 20_000
"""Read of a text, since a tokenizer reads all of it before it cuts: 512 tokens are some 2,500 characters of English."""


def is_blank(text: str) -> bool:
    """Whether there is nothing to read in a text: it is empty, or all space, control characters and the like."""
    return not any(char.isprintable() and char not in " \N{REPLACEMENT CHARACTER}" for char in text[:MOST_CHARACTERS])


def is_unicode(text: str) -> bool:
    """Whether a text can be encoded; one with half of a surrogate pair, which JSON lets through, cannot."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


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


@dataclass(frozen=True)
class Vocabulary:
    """What masking asks of a tokenizer."""

    size: int
    mask_id: int
    """Of [MASK]."""
    special_ids: tuple[int, ...]
    """Of tokens that are no part of a text: [CLS], [SEP], padding and the like."""


def load_vocabulary(section: TextTower) -> Vocabulary:
    """
    Raises:
        PretrainedError: the text tower's tokenizer has no [MASK].
    """
    from transformers import AutoTokenizer

    whole = AutoTokenizer.from_pretrained(pretrained_folder(section.pretrained), local_files_only=True)
    if whole.mask_token_id is None:
        raise PretrainedError(
            section.pretrained,
            ["its tokenizer has no [MASK]"],
            "Masked terms need a BERT-type encoder; name one in text_tower.pretrained.",
        )
    unknown = whole.unk_token_id  # a word that the vocabulary lacks is a part of its text all the same
    special = tuple(sorted(number for number in whole.all_special_ids if number != unknown))
    return Vocabulary(len(whole), whole.mask_token_id, special)


def tokenize(texts: list[str], tokenizer: Tokenizer | None) -> tuple[np.ndarray, np.ndarray]:
    """Token ids and attention mask, both int64 [len(texts), max_tokens] (MuLan §3.1); [len(texts), 0] without any.

    Of each text the first :data:`MOST_CHARACTERS` are read; all must be Unicode (:func:`is_unicode`).
    """
    if tokenizer is None:
        return np.zeros((len(texts), 0), np.int64), np.zeros((len(texts), 0), np.int64)
    encoded = tokenizer.encode_batch_fast([text[:MOST_CHARACTERS] for text in texts])
    token_ids = np.array([text.ids for text in encoded], np.int64)
    return token_ids, np.array([text.attention_mask for text in encoded], np.int64)
