"""AudioSet's ontology (Gemmeke et al. 2017): the descriptions of its classes."""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from mulan.config.parsing import parse_json
from mulan.data.errors import MAX_FAULTS
from mulan.evaluation.errors import EvaluationError
from mulan.storage.text_file import read_text_file
from mulan.vocabularies.audioset_classes import ClassListName, class_list

REMEDY = "download ontology.json of github.com/audioset/ontology again"


@dataclass(frozen=True)
class DescribedClasses:
    """Classes with their descriptions."""

    descriptions: Mapping[str, str]
    """Description by display name, in the order of the list of classes."""
    sha256: str
    """SHA-256 of the ontology's text, in hexadecimal."""


def described_classes(uri: str, name: ClassListName) -> DescribedClasses:
    """Reads the descriptions of a list of classes.

    Args:
        uri: Path or URI of ``ontology.json``.
        name: Name of the list.

    Raises:
        EvaluationError: The file is not an ontology, or damaged, or does not describe all classes; lists all faults.
        UnusableTextFile: There is no such file, or something else stands in its place.
        StorageError: The file cannot be read.
    """
    text = read_text_file(uri, remedy=REMEDY)
    try:
        entries = parse_json(text)
    except ValueError as error:
        line = getattr(error, "lineno", 1)
        fault = f"{uri}, line {line}: not JSON, the file is truncated or damaged; {REMEDY}"
        raise EvaluationError(fault) from error
    known: dict[str, dict[str, Any]] = {}
    faults = [*_read_entries(entries, known)]
    classes = class_list(name).classes
    if not faults:
        faults = [*_missing(classes, known)]
    if faults:
        others = f"\n  and {len(faults) - MAX_FAULTS} more" if len(faults) > MAX_FAULTS else ""
        listed = "".join(f"\n  - {fault}" for fault in faults[:MAX_FAULTS])
        raise EvaluationError(f"{uri} is not AudioSet's ontology, or is damaged; {REMEDY}:{listed}{others}")
    digest = hashlib.sha256(text.encode()).hexdigest()
    return DescribedClasses({label: known[mid]["description"].strip() for mid, label in classes.items()}, digest)


def _read_entries(entries: Any, known: dict[str, dict[str, Any]]) -> Iterator[str]:
    """Adds the classes by their machine ids to ``known``, and yields the faults."""
    if not isinstance(entries, list):
        yield "it is not a list of classes"
        return
    for number, entry in enumerate(entries, 1):
        fields = entry if isinstance(entry, dict) else {}
        lacking = [name for name in ("id", "name", "description") if not isinstance(fields.get(name), str)]
        if lacking:
            yield f"class {number} lacks {', '.join(lacking)}"
        elif fields["id"] in known:
            yield f"class {number} has the id {fields['id']:.80} of another one"
        else:
            known[fields["id"]] = fields


def _missing(classes: Mapping[str, str], known: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    for mid, label in classes.items():
        if mid not in known:
            yield f"the class {label} ({mid}) is missing"
        elif known[mid]["name"] != label:
            yield f"the class {label} ({mid}) is named {known[mid]['name']:.80}"
        elif not known[mid]["description"].strip():
            yield f"the class {label} ({mid}) has no description"
