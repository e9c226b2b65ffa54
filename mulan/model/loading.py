"""Networks of ``transformers`` from a local folder, with errors that name the recipe's field."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError
from transformers import PreTrainedModel
from transformers.utils import logging

from mulan.config.pretrained import PretrainedError
from mulan.model.attention import ATTENTION

LOADING_ERRORS = (
    OSError,
    ValueError,
    RuntimeError,
    AttributeError,
    UnpicklingError,
    SafetensorError,
    StrictDataclassError,
)
"""What ``transformers`` raises for folders that are damaged or of another kind."""


def load_network(network_class: Any, spec: str, folder: Path, config: Any, *, remedy: str) -> PreTrainedModel:
    """A network with all of its weights, in float32. Asks no hub and prints nothing.

    Args:
        network_class: has ``from_pretrained``.
        spec: what the recipe names, for messages.
        config: of ``transformers``; the folder's own or one with fewer layers.

    Raises:
        PretrainedError: cannot be loaded, or weights are missing (those of a pooler may be).
    """
    try:
        with _quiet_loading():
            network, loading = network_class.from_pretrained(
                folder,
                config=config,
                local_files_only=True,
                dtype=torch.float32,
                attn_implementation=ATTENTION,
                output_loading_info=True,
            )
    except LOADING_ERRORS as error:
        raise PretrainedError(spec, [f"cannot be loaded: {error}"], remedy) from error
    missing = sorted(name for name in loading["missing_keys"] if not name.startswith("pooler."))
    if missing:
        raise PretrainedError(spec, [f"has no weights for {', '.join(missing)}"], remedy)
    loaded: PreTrainedModel = network
    return loaded


@contextmanager
def _quiet_loading() -> Iterator[None]:
    """Without a progress bar, and without a report on what is left out on purpose (layers above those asked for)."""
    verbosity, progress_bar = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if progress_bar:
            logging.enable_progress_bar()
