"""Names of the files of a prepared corpus, by which sources know the files that a preparation has written."""

from collections.abc import Iterable

from mulan.data.corpus.index_rows import INDEX_NAME

SETTINGS_NAME = "preparation/settings.json"
"""The file that a preparation writes first."""
RECORDINGS_NAME = "preparation/recordings.parquet"
"""The table of all recordings, among others with ``recording_id`` and ``sha256`` of the clip
(:attr:`mulan.preparation.clips.Clip.sha256`)."""
REPORT_NAME = "preparation/report.json"
"""The report."""


def is_settings(path: str) -> bool:
    """Returns whether a path is that of the settings of a preparation."""
    return f"/{path}".endswith(f"/{SETTINGS_NAME}")


def without_corpora(paths: Iterable[str]) -> list[str]:
    """Returns the paths that are not of prepared corpora, in order.

    Args:
        paths: Paths relative to one folder, among them those of settings (:func:`is_settings`).

    Example:
        >>> without_corpora(["a.csv", "corpus/index.parquet", "corpus/preparation/settings.json", "shards/b.csv"])
        ['a.csv', 'shards/b.csv']
    """
    paths = list(paths)
    corpora = [path.removesuffix(SETTINGS_NAME) for path in paths if is_settings(path)]
    folders = tuple(f"{corpus}{folder}/" for corpus in corpora for folder in ("preparation", "shards"))
    indices = {f"{corpus}{INDEX_NAME}" for corpus in corpora}
    return [path for path in paths if path not in indices and not path.startswith(folders)]
