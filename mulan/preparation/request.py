"""What a command line requests: settings and sources, all of whose faults are reported at once."""

import difflib
import re
from collections import Counter
from collections.abc import Iterable, Sequence

from mulan.config.errors import RecipeError
from mulan.config.validation import parsed_settings, with_changes
from mulan.preparation.faults import SettingsError
from mulan.preparation.fields import FieldsConfig
from mulan.preparation.scan import NamedSource
from mulan.preparation.settings import PreparationConfig
from mulan.preparation.sources.registry import KINDS
from mulan.preparation.sources.webdataset import WebDataset
from mulan.preparation.workspace import Workspace
from mulan.storage import filesystem
from mulan.storage.errors import location_fault
from mulan.storage.hub import absolute_spec


def load_settings(settings: Iterable[str], *, texts: Iterable[str] = (), tags: Iterable[str] = ()) -> PreparationConfig:
    """Returns the settings of a preparation, with absolute paths of models and of the table of playlists.

    Args:
        settings: Settings that differ from the defaults, each ``section.field=value`` with a value of TOML.
        texts: Fields with texts, each ``SOURCE=FIELD``.
        tags: Fields with tags.

    Raises:
        SettingsError: A setting or text source is unknown, or a value is invalid; lists all faults.

    Example:
        >>> config = load_settings(["clip.duration_s=10"], texts=["long_form=caption"])
        >>> config.clip.duration_s, config.fields.texts
        (10.0, {'long_form': ('caption',)})
    """
    changes, faults = parsed_settings(settings)
    by_source: dict[str, list[str]] = {}
    for text in texts:
        source, equals, name = text.partition("=")
        if not equals or not name:
            faults.append(f"--text {text}: must have the form SOURCE=FIELD, such as long_form=caption")
        by_source.setdefault(source.strip(), []).append(name.strip())
    if by_source:
        changes.append(("fields.texts", by_source))
    if tags := list(tags):
        changes.append(("fields.tags", tags))
    try:
        config = with_changes(PreparationConfig, {}, changes, name="preparation", faults=faults)
    except RecipeError as error:
        raise SettingsError(error.faults) from error
    # processes on other machines have other working folders
    paths = {"music.tagger": config.music.tagger, "text.filter": config.text.filter}
    paths["text.playlists"] = config.text.playlists
    return config.replace({name: absolute_spec(path) for name, path in paths.items() if path})


def open_sources(requests: Sequence[str], config: PreparationConfig) -> tuple[list[NamedSource], list[NamedSource]]:
    """Returns the requested sources: those whose recordings are copied, and tars that are indexed where they are.

    The ids of a source's recordings begin with its kind if there are several sources, and with a number too if several
    are of its kind.

    Args:
        requests: Kinds and paths or URIs of sources, each ``KIND=PATH``.
        config: The settings, with a section for each kind.

    Raises:
        SettingsError: A kind is unknown, or a location cannot be used; lists all faults.
    """
    faults: list[str] = []
    copied: list[NamedSource] = []
    adopted: list[NamedSource] = []
    kinds: Counter[str] = Counter()
    for request in requests:
        kind, _, path = request.partition("=")
        uri = filesystem.absolute(path) if path else ""
        if fault := _fault(kind, uri):
            faults.append(f"--source {request}: {fault}")
            continue
        kinds[kind] += 1
        prefix = "" if len(requests) == 1 else f"{kind}/" if kinds[kind] == 1 else f"{kind}-{kinds[kind]}/"
        source = KINDS[kind](uri, config.of_source(kind))
        named = NamedSource(f"{kind}={uri}", prefix, source)
        (adopted if isinstance(source, WebDataset) and not source.copies else copied).append(named)
    if config.fields != FieldsConfig() and kinds and not any(map(_has_fields, kinds)):
        faults.append(
            f"--text and --tags name fields of {', '.join(filter(_has_fields, KINDS))}, and not of {', '.join(kinds)}"
        )
    names = Counter(named.name for named in [*copied, *adopted])
    if repeated := [name for name, count in names.items() if count > 1]:
        faults.append(f"--source is given twice: {', '.join(repeated)}")
    if faults:
        raise SettingsError(faults)
    return copied, adopted


def workspace_of(uri: str) -> Workspace:
    """Returns the folder that ``--out`` names.

    Raises:
        SettingsError: The location cannot be used.
    """
    where = filesystem.absolute(uri)
    if fault := location_fault(where):
        raise SettingsError([f"--out {uri!r}: {fault}"])
    return Workspace(where)


def _has_fields(kind: str) -> bool:
    """Returns whether the fields with the texts and tags of a kind of source can be named."""
    return hasattr(getattr(PreparationConfig(), kind), "fields")


def _fault(kind: str, uri: str) -> str:
    """Returns what is wrong with a requested source; empty if nothing is."""
    if kind not in KINDS:
        near = difflib.get_close_matches(kind, KINDS, n=1)
        hint = f"did you mean {near[0]}?" if near else f"the kinds are {', '.join(KINDS)}"
        is_path = re.search(r"[/.]", kind)
        return f"must have the form KIND=PATH, such as folder={kind}" if is_path else f"{kind!r} is not a kind; {hint}"
    if not uri:
        return f"must have the form KIND=PATH, such as {kind}=music"
    return location_fault(uri) or ""
