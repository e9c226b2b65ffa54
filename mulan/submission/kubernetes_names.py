"""The forms of names, labels and numbers that Kubernetes accepts in its objects."""

import re
from collections.abc import Mapping

MAX_INT = 2**31 - 1
"""The largest number in most fields of Kubernetes."""

_MAX_NAME, _MAX_LABEL = 253, 63
_WORD = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_NAME = re.compile(rf"{_WORD}(\.{_WORD})*")
_IMAGE = re.compile(
    r"([A-Za-z0-9][-A-Za-z0-9.]*(:\d+)?/|\[[0-9A-Fa-f:]+\](:\d+)?/)?"  # the registry
    r"[a-z0-9]+([-._]+[a-z0-9]+)*(/[a-z0-9]+([-._]+[a-z0-9]+)*)*"
    r"(:\w[\w.-]{0,127})?(@[A-Za-z][A-Za-z0-9+._-]*:[0-9A-Fa-f]{32,})?",
    re.ASCII,
)
_LABEL_WORD = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?")


def checked_namespace(text: str) -> str:
    """Returns the name of a namespace.

    Raises:
        ValueError: It is not one.
    """
    if len(text) > _MAX_LABEL or not re.fullmatch(_WORD, text):
        raise ValueError(
            f"a namespace has 1 to {_MAX_LABEL} lower-case letters, digits and '-', and begins and ends with a letter "
            "or digit"
        )
    return text


def checked_name(text: str) -> str:
    """Returns the name of an object, such as a secret or a service account.

    Raises:
        ValueError: Kubernetes refuses it.
    """
    if len(text) > _MAX_NAME or not _NAME.fullmatch(text):
        raise ValueError(
            f"a name in Kubernetes has 1 to {_MAX_NAME} lower-case letters, digits, '-' and '.', and begins and ends "
            "with a letter or digit"
        )
    return text


def checked_key(text: str) -> str:
    """Returns the key of a label, ``NAME`` or ``PREFIX/NAME``; resources have such names too.

    Raises:
        ValueError: Kubernetes refuses it.
    """
    prefix, slash, name = text.rpartition("/")
    if not _is_label(name) or (slash and (len(prefix) > _MAX_NAME or not _NAME.fullmatch(prefix))):
        raise ValueError(
            f"{text!r} is not the key of a label or resource, NAME or PREFIX/NAME, with a domain as "
            f"PREFIX and a NAME of at most {_MAX_LABEL} letters, digits, '-', '_' and '.'"
        )
    return text


def checked_image(text: str) -> str:
    """Returns the reference of an image.

    Raises:
        ValueError: No container runtime takes it.
    """
    if not _IMAGE.fullmatch(text):
        raise ValueError("an image has the form [REGISTRY/]NAME[:TAG][@DIGEST], with a NAME in lower case")
    return text


def checked_resource(text: str) -> str:
    """Returns the name of a resource of a device, ``PREFIX/NAME``.

    Raises:
        ValueError: Kubernetes refuses it.
    """
    if "/" not in text:
        raise ValueError("the resource of a device has the form PREFIX/NAME, such as nvidia.com/gpu")
    return checked_key(text)


def checked_labels(labels: Mapping[str, str]) -> dict[str, str]:
    """Returns labels by key.

    Raises:
        ValueError: Kubernetes refuses a key or a value; names all of them.
    """
    faults = []
    for key, value in labels.items():
        try:
            checked_key(key)
        except ValueError as error:
            faults.append(str(error))
        if value and not _is_label(value):
            faults.append(
                f"{value!r} is not the value of a label, of at most {_MAX_LABEL} letters, digits, '-', '_' and '.', of "
                "which the first and the last are letters or digits"
            )
    if faults:
        raise ValueError("; ".join(faults))
    return dict(labels)


def _is_label(text: str) -> bool:
    return len(text) <= _MAX_LABEL and _LABEL_WORD.fullmatch(text) is not None
