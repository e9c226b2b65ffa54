"""The licence of a pretrained model, as its folder states it."""

from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import metadata_load

from mulan.storage.hub import LICENCE_FILES, MODEL_CARD


@dataclass(frozen=True)
class Licence:
    """The licence of a pretrained model."""

    name: str
    """Identifier in the model card, such as ``cc-by-nc-4.0``; empty if it states none."""
    text: str
    """Content of the folder's file ``LICENSE``; empty if there is none."""

    def __str__(self) -> str:
        if self.name:
            return f"licence {self.name}"
        return "licence in its file LICENSE" if self.text else "no licence stated"


def read_licence(folder: Path) -> Licence:
    """Reads the licence from the model card's metadata, the YAML at the beginning of ``README.md``, and from a file."""
    files = [folder / name for name in LICENCE_FILES if (folder / name).is_file()]
    text = files[0].read_text(encoding="utf-8", errors="replace") if files else ""
    return Licence(_name_in_card(folder / MODEL_CARD), text)


def _name_in_card(card: Path) -> str:
    if not card.is_file():
        return ""
    try:
        metadata = metadata_load(card) or {}
    except Exception:  # the parser raises many kinds of exceptions for arbitrary content
        return ""
    stated = metadata.get("license") or ""
    names = [str(name) for name in (stated if isinstance(stated, list) else [stated])]
    # the hub's word for a licence that it does not list, which has its name in another field
    return ", ".join(str(metadata.get("license_name") or name) if name == "other" else name for name in names)
