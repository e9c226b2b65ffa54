"""Tiny, randomly initialised text encoders of many kinds, saved with a tokenizer in the format of transformers."""

from pathlib import Path
from typing import Any, get_args

import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from tokenizers.processors import TemplateProcessing
from torch import Tensor
from transformers import AutoConfig, AutoModel, PreTrainedModel, PreTrainedTokenizerFast

from mulan.config.sections import Pooling
from mulan.config.sections import TextTowerConfig as TextSection
from mulan.data.text import load_tokenizer, tokenize

POSITIONS = 24
_WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *(f"w{number}" for number in range(35))]
_SIZES: dict[str, Any] = {
    "vocab_size": len(_WORDS),
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "max_position_embeddings": POSITIONS,
    "pad_token_id": 0,
    "bos_token_id": 2,
    "eos_token_id": 3,
}
_T5_SIZES = {"vocab_size": len(_WORDS), "d_model": 16, "d_kv": 8, "d_ff": 24, "num_layers": 2, "num_heads": 2}
_ALL_SIZES: dict[str, dict[str, Any]] = {
    "bart": {
        "vocab_size": len(_WORDS),
        "d_model": 16,
        "encoder_layers": 1,
        "decoder_layers": 1,
        "encoder_ffn_dim": 24,
        "decoder_ffn_dim": 24,
    },
    "distilbert": {
        "vocab_size": len(_WORDS),
        "dim": 16,
        "n_layers": 2,
        "n_heads": 2,
        "hidden_dim": 24,
        "max_position_embeddings": POSITIONS,
    },
    **dict.fromkeys(("mt5", "t5", "umt5"), _T5_SIZES),
    "xlnet": {"vocab_size": len(_WORDS), "d_model": 16, "n_layer": 2, "n_head": 2, "d_inner": 24},
}
_OTHER_SIZES: dict[str, dict[str, Any]] = {
    "albert": {"embedding_size": 8},
    "deberta-v2": {"relative_attention": True, "pos_att_type": ["p2c", "c2p"], "share_att_key": True},
    "electra": {"embedding_size": 8},
    "gemma3_text": {"num_key_value_heads": 1, "head_dim": 8, "sliding_window": 4},
    "gpt2": {"n_embd": 16, "n_layer": 2, "n_head": 2},
    "llama": {"num_key_value_heads": 1},
    "qwen3": {"num_key_value_heads": 1, "head_dim": 8},
    "modernbert": {"local_attention": 4},
}


FIT = {
    "albert": True,
    "bert": True,
    "deberta": False,
    "deberta-v2": False,
    "distilbert": True,
    "electra": True,
    "modernbert": False,
    "mpnet": False,
    "mt5": True,
    "rembert": False,
    "roberta": True,
    "roformer": False,
    "t5": True,
    "umt5": True,
    "xlm-roberta": True,
    "xlnet": False,
}
"""Kinds of encoders, and whether a boolean 4D mask gives the same outputs as their own mask."""

CAUSAL = ("gemma3_text", "gpt2", "llama", "qwen3")
"""Kinds of causal networks, whose outputs at a position do not depend on the tokens that follow."""

POOLED: list[tuple[str, Pooling]] = [
    *((kind, pooling) for kind in FIT for pooling in get_args(Pooling)),
    *((kind, pooling) for kind in CAUSAL for pooling in ("mean", "last")),
]
"""Kinds of encoders, each with every pooling that it fits."""

TEXTS = ["w1 w2 w3", "w4 " * 40, ""]


def drawn(kind: str, **settings: Any) -> PreTrainedModel:
    """Builds an encoder in evaluation mode with random parameters, biases included."""
    sizes = _ALL_SIZES.get(kind) or _SIZES | _OTHER_SIZES.get(kind, {})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network: PreTrainedModel = AutoModel.from_config(AutoConfig.for_model(kind, **(sizes | settings))).eval()
        for name, parameter in network.named_parameters():
            if name.endswith("bias"):
                torch.nn.init.normal_(parameter, std=0.3)
    return network


def encoder_of(network: PreTrainedModel) -> PreTrainedModel:
    """Returns the encoder of a network with a decoder, or the network itself."""
    encoder: PreTrainedModel = network.get_encoder() if network.config.is_encoder_decoder else network
    return encoder


def saved(network: PreTrainedModel, folder: Path, **tokenizer: Any) -> str:
    """Saves a network with a tokenizer, and returns the folder."""
    network.save_pretrained(folder)
    save_tokenizer(folder, **tokenizer)
    return str(folder)


def save_tokenizer(folder: Path, *, template: str = "[CLS] $A [SEP]", words: int = len(_WORDS), **special: Any) -> None:
    """Saves a tokenizer of 40 words; ``special`` overrides its special tokens and sides, as in transformers."""
    tokenizer = Tokenizer(WordLevel({word: place for place, word in enumerate(_WORDS[:words])}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = Whitespace()
    tokenizer.post_processor = TemplateProcessing(single=template, special_tokens=[("[CLS]", 2), ("[SEP]", 3)])
    names = {f"{name.lower()}_token": f"[{name}]" for name in ("PAD", "UNK", "CLS", "SEP", "MASK")}
    given = {name: value for name, value in (names | special).items() if value is not None}
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, **given).save_pretrained(folder)


def section_of(spec: str, max_tokens: int = 12, *, pooling: Pooling = "cls") -> TextSection:
    return TextSection(pretrained=spec, max_tokens=max_tokens, pooling=pooling)


def tokens_of(section: TextSection) -> tuple[Tensor, Tensor]:
    token_ids, mask = tokenize(TEXTS, load_tokenizer(section))
    return torch.from_numpy(token_ids), torch.from_numpy(mask)
