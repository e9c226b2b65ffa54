"""A random BERT-type classifier of two narrow layers with a pretrained tokenizer."""

from pathlib import Path

import torch
from transformers import AutoTokenizer, BertConfig, BertForSequenceClassification

from mulan.recipes.miniature import MINILM
from mulan.storage.weights_cache import weights_folder


def save_small_bert(folder: Path) -> None:
    """Saves the classifier and its tokenizer, without a description."""
    torch.manual_seed(0)
    tokenizer = AutoTokenizer.from_pretrained(weights_folder(MINILM))
    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_attention_heads": 2, "num_hidden_layers": 2}
    config = BertConfig(vocab_size=len(tokenizer), initializer_range=0.5, **sizes)
    BertForSequenceClassification(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
