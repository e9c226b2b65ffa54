"""Tokenization of texts with the tokenizer of the text tower."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from tokenizers import Tokenizer

from mulan.config.sections import Pooling, TextTowerConfig
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
    "special token: BERT, RoBERTa, XLM-RoBERTa, DistilBERT, MPNet, ELECTRA, ALBERT, DeBERTa, ModernBERT and their kin; "
    "mean also fits the encoders of T5, mT5 and UMT5; last also fits causal networks such as Llama, Qwen3 and Gemma."
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


@dataclass(frozen=True)
class TextTokenizer:
    """Computes the token ids that a text tower reads: in training, in validation, and in an exported model.

    It can be pickled, so that readers need neither the files of the pretrained model nor ``transformers``.
    """

    tokenizer: Tokenizer
    """Truncates on the right to ``max_tokens``, and does not pad."""
    padding_id: int
    """Id of the padding token."""
    max_tokens: int
    """Maximum number of tokens of a text, including special ones and the prefix."""
    prefix: str
    """Text before every text."""

    @classmethod
    def of(cls, pretrained: "PreTrainedTokenizerBase", *, max_tokens: int, prefix: str) -> "TextTokenizer":
        """Wraps a tokenizer of ``transformers``, and changes its truncation.

        Raises:
            ValueError: The tokenizer has no fast version or no padding token.
        """
        tokenizer, padding_id = getattr(pretrained, "backend_tokenizer", None), pretrained.pad_token_id
        if not isinstance(tokenizer, Tokenizer) or not isinstance(padding_id, int):
            raise ValueError("it is not a fast tokenizer with a padding token")
        # regardless of the files: the beginning of a text is kept
        tokenizer.enable_truncation(max_tokens, direction="right")
        tokenizer.no_padding()
        return cls(tokenizer, padding_id, max_tokens, prefix)

    def __call__(self, texts: Sequence[str]) -> list[list[int]]:
        """Returns the ids of each text, 1 to ``max_tokens``, special tokens included.

        The prefix precedes the first :data:`MAX_CHARACTERS` of the text. A text without tokens is a padding token.
        """
        encoded = self.tokenizer.encode_batch_fast([self.prefix + text[:MAX_CHARACTERS] for text in texts])
        return [text.ids or [self.padding_id] for text in encoded]


def load_tokenizer(section: TextTowerConfig) -> TextTokenizer | None:
    """Returns the text tower's tokenizer; None without a text tower.

    Raises:
        PretrainedError: The tokenizer cannot be loaded, has no padding token, or lacks the special token that
            ``text_tower.pooling`` reads; or the prefix leaves no token for a text.
    """
    if not section.pretrained:
        return None
    spec, pretrained = section.pretrained, pretrained_tokenizer(section.pretrained)
    if not isinstance(getattr(pretrained, "backend_tokenizer", None), Tokenizer):
        fault = f"its tokenizer, {type(pretrained).__name__}, is written in Python and has no fast version"
        raise PretrainedError(spec, [fault], SUPPORTED_ENCODERS)
    if pretrained.pad_token_id is None:
        has_end = pretrained.eos_token_id is not None
        raise PretrainedError(spec, ["its tokenizer has no padding token"], _PAD_BY_END if has_end else _ADD_PADDING)
    with loading(spec, "its tokenizer cannot be loaded", SUPPORTED_ENCODERS):
        tokenizer = TextTokenizer.of(pretrained, max_tokens=section.max_tokens, prefix=section.prefix)
        unpooled = _unpooled(tokenizer, section.pooling)
        tokens_of_prefix = len(tokenizer([""])[0])
    if unpooled:
        raise PretrainedError(spec, [unpooled], SUPPORTED_ENCODERS)
    if section.prefix and tokens_of_prefix >= section.max_tokens:
        raise PretrainedError(
            spec,
            [f"text_tower.prefix and the special tokens fill text_tower.max_tokens = {section.max_tokens}"],
            "Shorten the prefix, or set text_tower.max_tokens higher.",
        )
    return tokenizer


_PAD_BY_END = (
    "Load it with transformers, set tokenizer.pad_token = tokenizer.eos_token, and save it again: padding follows the "
    "text and is ignored."
)
_ADD_PADDING = (
    'Load it with transformers, add one with tokenizer.add_special_tokens({"pad_token": "[PAD]"}), and save it again; '
    "call network.resize_token_embeddings(len(tokenizer)), and save the network again too."
)
"""Remedies for a tokenizer without a padding token, with and without a token for the end of a text."""


def _unpooled(tokenizer: TextTokenizer, pooling: Pooling) -> str:
    """Returns the fault of a tokenizer that does not put the token that is pooled where it is read; empty if none."""
    if pooling == "cls" and tokenizer.tokenizer.encode("music").special_tokens_mask[:1] != [1]:
        return (
            "its tokenizer adds no special token before a text: with text_tower.pooling = cls, the first position "
            "would be that of a word; mean and last need no such token"
        )
    if pooling == "last":
        short, other, long = (ids[-1] for ids in tokenizer(["music", "a song", "music " * tokenizer.max_tokens]))
        if short == other != long:
            return (
                "its tokenizer ends a text with a token that truncation removes: with text_tower.pooling = last, long "
                "texts would be read at another one"
            )
    return ""


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
class TokenVocabulary:
    """The properties of a vocabulary that masking needs."""

    size: int
    """Number of tokens, including added ones."""
    mask_id: int
    """Id of [MASK]."""
    special_ids: tuple[int, ...]
    """Ids of tokens that are not part of a text: [CLS], [SEP], padding and the like."""


def load_vocabulary(section: TextTowerConfig) -> TokenVocabulary:
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
    return TokenVocabulary(len(tokenizer), tokenizer.mask_token_id, special)


def tokenize(texts: Sequence[str], tokenizer: TextTokenizer | None) -> tuple[np.ndarray, np.ndarray]:
    """Tokenizes the texts of a micro-batch and pads them to one length (MuLan §3.1).

    Args:
        texts: One or more, Unicode (:func:`is_unicode`).
        tokenizer: Return value of :func:`load_tokenizer`.

    Returns:
        Token ids and attention mask, both int64 [len(texts), L]. L is the number of tokens of the longest text, rounded
        up to a multiple of :data:`TOKEN_MULTIPLE`, and at most ``max_tokens``; 0 without a tokenizer.
    """
    if tokenizer is None:
        return np.zeros((len(texts), 0), np.int64), np.zeros((len(texts), 0), np.int64)
    encoded = tokenizer(texts)
    longest = max(map(len, encoded))
    length = min(tokenizer.max_tokens, -(-longest // TOKEN_MULTIPLE) * TOKEN_MULTIPLE)
    token_ids = np.full((len(texts), length), tokenizer.padding_id, np.int64)
    attention_mask = np.zeros_like(token_ids)
    for row, ids in enumerate(encoded):
        token_ids[row, : len(ids)] = ids
        attention_mask[row, : len(ids)] = 1
    return token_ids, attention_mask
