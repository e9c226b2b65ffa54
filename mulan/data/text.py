"""Texts to token ids, by the tokenizer that belongs to the text tower."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from tokenizers import Tokenizer

from mulan.config.sections import TextTowerConfig
from mulan.storage.hub import PretrainedError, loading
from mulan.storage.weights_cache import weights_folder

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


MAX_CHARACTERS = 20_000
"""Read of a text, since a tokenizer reads all of it before it cuts: 512 tokens are some 2,500 characters of English."""

TOKEN_MULTIPLE = 8
"""Texts are padded to a multiple of this many tokens, for the matrix units of GPUs."""

FIT_ENCODERS = (
    "Set text_tower.pretrained to a bidirectional encoder whose tokenizer begins every text with a special token and "
    "pads it: BERT, RoBERTa, DistilBERT, MPNet, ELECTRA, ALBERT, DeBERTa, ModernBERT and their kin, network and "
    "tokenizer saved in one folder by save_pretrained."
)
"""What to do about an encoder that cannot be a text tower."""


def is_blank(text: str) -> bool:
    """Whether there is nothing to read in a text: it is empty, or all space, control characters and the like."""
    return not any(char.isprintable() and char not in " \N{REPLACEMENT CHARACTER}" for char in text[:MAX_CHARACTERS])


def is_unicode(text: str) -> bool:
    """Whether a text can be encoded; one with half of a surrogate pair, which JSON lets through, cannot."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def load_tokenizer(section: TextTowerConfig) -> Tokenizer | None:
    """The text tower's tokenizer, which cuts or null-pads to ``max_tokens``; None where the recipe has no text tower.

    It can be pickled: the processes that read need neither the pretrained model's files nor ``transformers``.

    Raises:
        PretrainedError: it cannot be loaded, cannot pad, or begins a text with something else than a special token.
    """
    if not section.pretrained:
        return None
    spec, whole = section.pretrained, whole_tokenizer(section.pretrained)
    tokenizer = getattr(whole, "backend_tokenizer", None)
    if not isinstance(tokenizer, Tokenizer):
        fault = f"its tokenizer, {type(whole).__name__}, is written in Python and has no fast form"
        raise PretrainedError(spec, [fault], FIT_ENCODERS)
    if whole.pad_token_id is None:
        raise PretrainedError(
            spec,
            ["its tokenizer has no token to pad with"],
            'Load it with transformers, name one, tokenizer.add_special_tokens({"pad_token": "[PAD]"}), and save it '
            "again, and so the network after network.resize_token_embeddings(len(tokenizer)).",
        )
    with loading(spec, "its tokenizer cannot be loaded", FIT_ENCODERS):
        # texts are cut and padded behind, whatever the files say: the sentence's token is the first
        tokenizer.enable_truncation(section.max_tokens, direction="right")
        tokenizer.enable_padding(
            direction="right", length=section.max_tokens, pad_id=whole.pad_token_id, pad_token=whole.pad_token
        )
        encoded = tokenizer.encode("music")
    if not encoded.special_tokens_mask[0]:
        fault = "its tokenizer puts no special token before a text: the first position would be that of a word"
        raise PretrainedError(spec, [fault], FIT_ENCODERS)
    return tokenizer


def whole_tokenizer(spec: str) -> "PreTrainedTokenizerBase":
    """A text encoder's tokenizer as ``transformers`` has it, cutting and padding behind the text.

    Asks no hub beyond :func:`mulan.storage.weights_cache.weights_folder`, and runs no code of the folder's.

    Args:
        spec: as in ``text_tower.pretrained``.

    Raises:
        PretrainedError: it is not there or cannot be loaded.
    """
    folder = weights_folder(spec)
    from transformers import AutoTokenizer

    with loading(spec, "its tokenizer cannot be loaded", FIT_ENCODERS):
        whole: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(
            folder, local_files_only=True, trust_remote_code=False, truncation_side="right", padding_side="right"
        )
    return whole


@dataclass(frozen=True)
class Vocabulary:
    """What masking asks of a tokenizer."""

    size: int
    mask_id: int
    """Of [MASK]."""
    special_ids: tuple[int, ...]
    """Of tokens that are no part of a text: [CLS], [SEP], padding and the like."""


def load_vocabulary(section: TextTowerConfig) -> Vocabulary:
    """
    Raises:
        PretrainedError: the text tower's tokenizer cannot be loaded, or has no [MASK].
    """
    whole = whole_tokenizer(section.pretrained)
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
    """Tokenizes the texts of a micro-batch and pads them to one length (MuLan §3.1).

    Args:
        texts: Unicode (:func:`is_unicode`); the first :data:`MAX_CHARACTERS` of each are read.
        tokenizer: the one of :func:`load_tokenizer`.

    Returns:
        Token ids and attention mask, both int64 [len(texts), L]. L is the number of tokens of the longest text, rounded
        up to a multiple of :data:`TOKEN_MULTIPLE`, and at most ``max_tokens``; 0 without a tokenizer.
    """
    if tokenizer is None:
        return np.zeros((len(texts), 0), np.int64), np.zeros((len(texts), 0), np.int64)
    encoded = tokenizer.encode_batch_fast([text[:MAX_CHARACTERS] for text in texts])
    token_ids = np.array([text.ids for text in encoded], np.int64)
    attention_mask = np.array([text.attention_mask for text in encoded], np.int64)
    longest = int(attention_mask.sum(axis=1).max())
    length = min(token_ids.shape[1], -(-longest // TOKEN_MULTIPLE) * TOKEN_MULTIPLE)
    return token_ids[:, :length], attention_mask[:, :length]
