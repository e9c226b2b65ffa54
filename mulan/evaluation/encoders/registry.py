"""The kinds of encoders, and opening of an encoder by its name, ``[KIND=]URI``."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from transformers import ClapConfig

from mulan.config.parsing import parse_json
from mulan.config.paths import scheme_of
from mulan.evaluation.encoders import clap, exported, functions, log_mel, sentence, stored, untrained, untrained_clap
from mulan.evaluation.encoders.encoder import Encoder, EncoderError
from mulan.model.inference.files import CONFIG
from mulan.storage import filesystem, hub


class _Open(Protocol):
    def __call__(self, uri: str, /, *, name: str, device: str | None) -> Encoder: ...


@dataclass(frozen=True)
class EncoderKind:
    """A kind of encoders."""

    open: _Open
    """Opens an encoder."""
    has_uri: bool = True
    """Whether the encoder is made of files or functions."""


def _open_untrained(uri: str, *, name: str, device: str | None) -> Encoder:
    """Opens the baseline of a folder whose content determines its kind."""
    # models of mulan are not opened from these places
    kind = clap.KIND if uri.startswith(_PACKAGED) else _kind_of_folder(uri)
    return _UNTRAINED[kind](uri, name=name, device=device)


_UNTRAINED: Mapping[str, _Open] = {
    exported.KIND: untrained.open_untrained,
    clap.KIND: untrained_clap.open_untrained_clap,
}
"""Functions that open a model with random weights, by the model's kind."""
_PACKAGED = ("hub:", "python:")
"""Beginnings of the names of folders whose content is not looked up to determine their kind."""

KINDS: Mapping[str, EncoderKind] = {
    exported.KIND: EncoderKind(exported.open_exported),
    clap.KIND: EncoderKind(clap.ClapEncoder.open),
    functions.KIND: EncoderKind(functions.FunctionEncoder.open),
    stored.KIND: EncoderKind(stored.StoredEncoder.open),
    sentence.KIND: EncoderKind(sentence.open_sentence_encoder),
    f"{sentence.KIND}-cls": EncoderKind(partial(sentence.open_sentence_encoder, pooling="cls")),
    f"{sentence.KIND}-mean": EncoderKind(partial(sentence.open_sentence_encoder, pooling="mean")),
    untrained.KIND: EncoderKind(_open_untrained),
    log_mel.KIND: EncoderKind(log_mel.open_log_mel, has_uri=False),
}
"""The kinds of encoders by name: a folder that mulan exported, or a ClapModel; an object of another project; stored
vectors; text encoders with the pooling that their folder states, or that of the name; and the baselines of probes."""

_NAMED_BY_KIND = frozenset(KINDS) - {exported.KIND, clap.KIND, functions.KIND, stored.KIND}
"""Kinds that are part of an encoder's name: their URIs may also name an encoder of another kind."""
_CONTAINERS = frozenset({"model"})
"""Names of folders that are the same for all encoders, such as that of the exported model in the folder of a run."""
_KIND = re.compile(r"([A-Za-z][A-Za-z0-9_-]*)=(.*)", re.DOTALL)


def open_encoder(spec: str, *, device: str | None = None, name: str = "") -> Encoder:
    """Opens an encoder.

    Args:
        spec: ``KIND=URI``; or the URI of a folder, whose content determines the kind; or the name of a kind without
            URI.
        device: The device to compute on. If None, a CUDA device if available, otherwise the CPU.
        name: Name of the encoder in reports; if empty, that of :func:`encoder_names`.

    Raises:
        EncoderError: There is no such kind, or it cannot be determined; or as the kind raises it.
        ModelFolderError, PretrainedError: The folder does not exist, is incomplete, or holds another kind of model.
        StorageError: The storage does not respond.
    """
    kind, uri = split_spec(spec)
    opened = KINDS[kind or _kind_of_folder(uri)].open
    return opened(uri, name=name or encoder_names([spec])[0], device=device)


def baseline_specs(specs: Sequence[str]) -> dict[str, str]:
    """Returns the baselines of probes by name: the first encoder of those that have one, with random weights instead of
    its own, and log-mel statistics.

    Args:
        specs: Encoders as in :func:`open_encoder`.

    Raises:
        EncoderError: As in :func:`open_encoder`, of a kind that cannot be determined.
    """
    baselines = {}
    for spec in specs:
        kind, uri = split_spec(spec)
        if (kind or _kind_of_folder(uri)) in _UNTRAINED:
            baselines[untrained.KIND] = f"{untrained.KIND}={uri}"
            break
    return {**baselines, log_mel.KIND: log_mel.KIND}


def split_spec(spec: str) -> tuple[str, str]:
    """Splits ``[KIND=]URI`` into the kind, empty if there is none, and the URI.

    Raises:
        EncoderError: There is no such kind, or the URI is missing or superfluous.
    """
    match = _KIND.fullmatch(spec)
    kind, uri = (match[1], match[2]) if match else ("", spec)
    if spec in KINDS and not KINDS[spec].has_uri:
        return spec, ""
    if kind and kind not in KINDS:
        raise EncoderError(
            f"encoder {spec}: there is no kind {kind!r}; the kinds are {', '.join(KINDS)}. Write a folder whose name "
            f"has an equals sign as ./{spec}."
        )
    if kind and not KINDS[kind].has_uri:
        raise EncoderError(f"encoder {spec}: {kind} takes no path; write {kind} alone.")
    if not uri:
        raise EncoderError(f"encoder {spec!r}: the path or URI is missing. Write it as [KIND=]URI.")
    return kind, uri


def absolute_spec(spec: str) -> str:
    """Returns the name of an encoder in a form that means the same in every working directory.

    Raises:
        EncoderError: As in :func:`split_spec`.
    """
    kind, uri = split_spec(spec)
    if not uri:
        return spec
    uri = uri if kind == functions.KIND else hub.absolute_spec(uri)
    return f"{kind}={uri}" if kind else uri


def encoder_names(specs: Sequence[str]) -> list[str]:
    """Returns short names of encoders, which differ if the encoders do: ``first`` for ``runs/first/model``.

    Raises:
        EncoderError: An encoder is named twice; or as in :func:`split_spec`.
    """
    repeated = [spec for spec, count in Counter(map(absolute_spec, specs)).items() if count > 1]
    if repeated:
        raise EncoderError(f"encoder {repeated[0]}: it is named twice. Name every encoder once.")
    parts = [_parts(*split_spec(spec)) for spec in specs]
    lengths = [1] * len(specs)
    while True:
        names = [_name(split_spec(spec)[0], each[-n:]) for spec, each, n in zip(specs, parts, lengths, strict=True)]
        counts = Counter(names)
        short = [k for k, name in enumerate(names) if counts[name] > 1 and lengths[k] < len(parts[k])]
        if not short:
            break
        for k in short:
            lengths[k] += 1
    return [name if counts[name] == 1 else spec for name, spec in zip(names, specs, strict=True)]


def _parts(kind: str, uri: str) -> list[str]:
    """Returns the parts of a URI from which names are made, the most specific one last."""
    scheme = scheme_of(uri)
    path = uri[len(scheme) + len("://") :] if scheme else re.sub("^(hub|python):", "", uri)
    if kind == functions.KIND:
        path = re.sub(r"\.(?=[^:]*:)", "/", path)  # packages are parts, but a module and its function are one
    parts = [part for part in path.split("/") if part not in ("", ".", "..")]
    if kind == stored.KIND and parts:
        parts[-1] = re.sub(r"\.(parquet|pq)$", "", parts[-1])
    while len(parts) > 1 and parts[-1] in _CONTAINERS:
        parts.pop()
    return parts


def _name(kind: str, parts: Sequence[str]) -> str:
    return " ".join(filter(None, [kind if kind in _NAMED_BY_KIND else "", "/".join(parts)]))


def _kind_of_folder(uri: str) -> str:
    """Returns the kind of the model in a folder."""
    remedy = f"Name its kind, as in {sentence.KIND}={uri}; the kinds are {', '.join(KINDS)}."
    if uri.startswith(_PACKAGED):
        raise EncoderError(f"encoder {uri}: only a folder's content is looked up. {remedy}")
    try:
        values = parse_json(filesystem.read_bytes(filesystem.join(uri, CONFIG)))
    except (FileNotFoundError, NotADirectoryError) as error:
        if filesystem.exists(uri):
            raise EncoderError(f"encoder {uri}: there is no {CONFIG} in it. {remedy}") from error
        raise EncoderError(f"encoder {uri}: there is no such folder. Name the folder of a model.") from error
    except ValueError as error:
        raise EncoderError(f"encoder {uri}: {CONFIG} is damaged: {error}. Restore the file.") from error
    stated = values if isinstance(values, dict) else {}
    if str(stated.get("format", "")).startswith("mulan-"):
        return exported.KIND
    if stated.get("model_type") == ClapConfig.model_type:
        return clap.KIND
    raise EncoderError(
        f"encoder {uri}: {CONFIG} describes neither a model that mulan exported nor a ClapModel, but one of type "
        f"{stated.get('model_type')!r:.80}. {remedy}"
    )
