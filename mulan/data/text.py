"""Tokenization of texts with the tokenizer of the text tower."""

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
"""Maximum number of characters of a text that are tokenized: tokenizers process the whole text before they truncate it,
and 512 tokens are about 2,500 characters of English."""

TOKEN_MULTIPLE = 8
"""Texts are padded to a multiple of this many tokens, for the matrix units of GPUs."""

SUPPORTED_ENCODERS = (
    "Set text_tower.pretrained to an encoder that ignores padding, network and tokenizer saved in one folder by "
    "save_pretrained. text_tower.pooling = cls needs a bidirectional one whose tokenizer begins every text with a "
    "special token: BERT, RoBERTa, DistilBERT, MPNet, ELECTRA, ALBERT, DeBERTa, ModernBERT and their kin; last needs "
    "one whose last token depends on all before it."
)
"""Remedy for an encoder that cannot be a text tower."""


def is_blank(text: str) -> bool:
    """Returns whether a text is empty or contains only white space, control characters and the like."""
    return not any(char.isprintable() and char not in " \N{REPLACEMENT CHARACTER}" for char in text[:MAX_CHARACTERS])


def is_unicode(text: str) -> bool:
    """Returns whether a text can be encoded; one with a lone surrogate, which JSON permits, cannot."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def load_tokenizer(section: TextTowerConfig) -> Tokenizer | None:
    """Returns the text tower's tokenizer, which truncates and null-pads to ``max_tokens``; None without a text tower.

    It can be pickled, so that readers need neither the files of the pretrained model nor ``transformers``.

    Raises:
        PretrainedError: The tokenizer cannot be loaded, cannot pad, or does not begin texts with a special token, which
            ``text_tower.pooling = cls`` reads.
    """
    if not section.pretrained:
        return None
    spec, pretrained = section.pretrained, pretrained_tokenizer(section.pretrained)
    tokenizer = getattr(pretrained, "backend_tokenizer", None)
    if not isinstance(tokenizer, Tokenizer):
        fault = f"its tokenizer, {type(pretrained).__name__}, is written in Python and has no fast version"
        raise PretrainedError(spec, [fault], SUPPORTED_ENCODERS)
    if pretrained.pad_token_id is None:
        raise PretrainedError(
            spec,
            ["its tokenizer has no padding token"],
            'Load it with transformers, add one with tokenizer.add_special_tokens({"pad_token": "[PAD]"}), and save '
            "it again; call network.resize_token_embeddings(len(tokenizer)), and save the network again too.",
        )
    with loading(spec, "its tokenizer cannot be loaded", SUPPORTED_ENCODERS):
        # truncate and pad on the right regardless of the files: the first token must stay the sentence token
        tokenizer.enable_truncation(section.max_tokens, direction="right")
        tokenizer.enable_padding(
            direction="right", length=section.max_tokens, pad_id=pretrained.pad_token_id, pad_token=pretrained.pad_token
        )
        encoded = tokenizer.encode("music")
    if section.pooling == "cls" and not encoded.special_tokens_mask[0]:
        fault = "its tokenizer adds no special token before a text: the first position would be that of a word"
        raise PretrainedError(spec, [fault], f"Set text_tower.pooling to mean or last. {SUPPORTED_ENCODERS}")
    return tokenizer


def pretrained_tokenizer(spec: str) -> "PreTrainedTokenizerBase":
    """Returns a text encoder's tokenizer as a ``transformers`` object that truncates and pads on the right.

    Contacts no hub except in :func:`mulan.storage.weights_cache.weights_folder`, and runs no code from the folder.

    Args:
        spec: Value of ``text_tower.pretrained``.

    Raises:
        PretrainedError: The tokenizer does not exist or cannot be loaded.
    """
    folder = weights_folder(spec)
    from transformers import AutoTokenizer

    with loading(spec, "its tokenizer cannot be loaded", SUPPORTED_ENCODERS):
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(
            folder, local_files_only=True, trust_remote_code=False, truncation_side="right", padding_side="right"
        )
    return tokenizer


@dataclass(frozen=True)
class Vocabulary:
    """The properties of a vocabulary that masking needs."""

    size: int
    """Number of tokens, including added ones."""
    mask_id: int
    """Id of [MASK]."""
    special_ids: tuple[int, ...]
    """Ids of tokens that are not part of a text: [CLS], [SEP], padding and the like."""


def load_vocabulary(section: TextTowerConfig) -> Vocabulary:
    """Returns the vocabulary of the text tower's tokenizer.

    Raises:
        PretrainedError: The tokenizer cannot be loaded, or has no [MASK].
    """
    tokenizer = pretrained_tokenizer(section.pretrained)
    if tokenizer.mask_token_id is None:
        raise PretrainedError(
            section.pretrained,
            ["its tokenizer has no [MASK]"],
            "Masked terms need a BERT-type encoder; name one in text_tower.pretrained.",
        )
    unknown = tokenizer.unk_token_id  # stands for a word of the text
    special = tuple(sorted(token_id for token_id in tokenizer.all_special_ids if token_id != unknown))
    return Vocabulary(len(tokenizer), tokenizer.mask_token_id, special)


def tokenize(texts: list[str], tokenizer: Tokenizer | None) -> tuple[np.ndarray, np.ndarray]:
    """Tokenizes the texts of a micro-batch and pads them to one length (MuLan §3.1).

    Args:
        texts: Unicode (:func:`is_unicode`); the first :data:`MAX_CHARACTERS` of each are read.
        tokenizer: Return value of :func:`load_tokenizer`.

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
