"""The classifier of long-form texts (MuLan §3.4): whether a sentence describes music."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer

from mulan.config.parsing import parse_json
from mulan.data.text import MAX_CHARACTERS
from mulan.model.towers.pretrained_networks import attention_implementation, quiet_transformers
from mulan.storage.hub import TEXT_ENCODER, PretrainedError, RequiredFiles, loading
from mulan.storage.weights_cache import weights_folder

FORMAT_VERSION = 1
DESCRIPTION = "text_filter.json"
"""File with the threshold, the format version, and what is known about the classifier."""

TEXT_FILTER = RequiredFiles("text.filter", {**TEXT_ENCODER.parts, "description": (DESCRIPTION,)}, TEXT_ENCODER.optional)
"""The files of a trained classifier."""
REMEDY = "Set text.filter to the folder that python -m jobs.train_text_filter wrote."

_TEXTS_AT_ONCE = 64


@dataclass
class TextClassifier:
    """A sequence classifier with two classes, of which the second is music, and a threshold."""

    network: Any
    """Network of ``transformers`` with two logits, in evaluation mode."""
    tokenizer: Any
    """Its tokenizer."""
    max_tokens: int
    """Maximum number of tokens of a text; the rest of a longer one is ignored."""
    threshold: float
    """Minimum probability of music of a text that is kept."""

    @classmethod
    def load(cls, uri: str, *, device: str = "cpu") -> "TextClassifier":
        """Loads a classifier that ``jobs.train_text_filter`` trained.

        Args:
            uri: Its folder, or the URI of it.
            device: Device of torch on which it is computed.

        Raises:
            PretrainedError: The folder lacks a file, or a file is damaged or has another format version.
            StorageError: The storage does not respond.
        """
        folder = filter_folder(uri)
        description = _description(uri, folder)
        with loading(uri, "cannot be loaded", REMEDY):
            network, missing = load_sequence_classifier(folder)
            tokenizer = load_tokenizer(folder)
        if missing:
            raise PretrainedError(uri, [f"has no weights for {', '.join(missing)}"], REMEDY)
        return cls(network.to(device).eval(), tokenizer, description["max_tokens"], description["threshold"])

    def probabilities(self, texts: Sequence[str]) -> np.ndarray:
        """Returns the probability that each text describes music, float64 [len(texts)].

        Texts are batched by length, and every batch is computed alone: a probability depends on the other texts only by
        rounding.
        """
        result = np.zeros(len(texts))
        order = sorted(range(len(texts)), key=lambda index: len(texts[index]))
        device = next(self.network.parameters()).device
        for start in range(0, len(order), _TEXTS_AT_ONCE):
            chosen = order[start : start + _TEXTS_AT_ONCE]
            batch = encoded(self.tokenizer, [texts[index] for index in chosen], self.max_tokens)
            with torch.inference_mode():
                logits = self.network(**{name: tensor.to(device) for name, tensor in batch.items()}).logits
            result[chosen] = logits.double().softmax(1)[:, 1].cpu().numpy()
        return result

    def keep(self, texts: Sequence[str]) -> list[bool]:
        """Returns whether each text describes music: whether its probability reaches the threshold."""
        return [bool(probability >= self.threshold) for probability in self.probabilities(texts)]


def filter_folder(uri: str) -> Path:
    """Returns the local folder of a classifier that ``jobs.train_text_filter`` trained.

    Raises:
        PretrainedError, StorageError: As in :meth:`TextClassifier.load`.
    """
    return weights_folder(uri, TEXT_FILTER)


def load_sequence_classifier(folder: Path) -> tuple[Any, list[str]]:
    """Returns a BERT-type network with a classifier of two classes, and the names of weights that the files lack.

    Missing weights are initialized from torch's default generator. Runs no code from the folder.
    """
    config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False, num_labels=2)
    network_class = AutoModelForSequenceClassification._model_mapping[type(config)]
    config._attn_implementation = attention_implementation(network_class)
    with quiet_transformers():
        network, report = network_class.from_pretrained(
            folder,
            config=config,
            local_files_only=True,
            weights_only=True,
            dtype=torch.float32,
            output_loading_info=True,
        )
    return network, sorted(report["missing_keys"])


def load_tokenizer(folder: Path) -> Any:
    """Returns the tokenizer in a folder, which truncates and pads on the right."""
    return AutoTokenizer.from_pretrained(
        folder, local_files_only=True, trust_remote_code=False, truncation_side="right", padding_side="right"
    )


def encoded(tokenizer: Any, texts: Sequence[str], max_tokens: int) -> dict[str, torch.Tensor]:
    """Returns the inputs of a network for texts: int64 [len(texts), L] with L up to ``max_tokens``."""
    shortened = [text[:MAX_CHARACTERS] for text in texts]
    return dict(tokenizer(shortened, padding=True, truncation=True, max_length=max_tokens, return_tensors="pt"))


def _description(uri: str, folder: Path) -> dict[str, Any]:
    try:
        description = parse_json((folder / DESCRIPTION).read_text(encoding="utf-8"))
        version = description["format_version"]
        is_valid = 0 <= description["threshold"] <= 1 and description["max_tokens"] >= 3
    except (ValueError, KeyError, TypeError) as error:
        raise PretrainedError(uri, [f"{DESCRIPTION} is damaged: {type(error).__name__}: {error}"], REMEDY) from error
    if version != FORMAT_VERSION:
        raise PretrainedError(
            uri,
            [f"{DESCRIPTION} has the format version {version!r}, this program reads {FORMAT_VERSION}"],
            "Train the filter again, or use the program that trained it.",
        )
    if not is_valid:
        raise PretrainedError(uri, [f"{DESCRIPTION} has an impossible threshold or number of tokens"], REMEDY)
    return dict(description)
