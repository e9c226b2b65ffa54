"""Encoder for vectors that another program has computed and stored in Parquet files."""

import posixpath
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Self

import numpy as np

from mulan.evaluation.encoders.digest import file_sha256, text_sha256
from mulan.evaluation.encoders.encoder import EncoderError, EncoderInfo
from mulan.evaluation.encoders.stored_tables import RECORDING, TEXT, StoredTable, read_table
from mulan.evaluation.recordings import EmbeddedRecordings, LabelledRecording
from mulan.storage import filesystem
from mulan.storage.listing import files_below
from mulan.storage.retries import with_retries

KIND = "parquet"
_EXTENSIONS = (".parquet", ".pq")
_MAX_SHOWN = 20
_REMEDY = (
    f"A file of recordings has the columns {RECORDING}, a text, and embedding, a list of floating-point numbers or a "
    f"list of such lists, one for each window; a file of texts has the columns {TEXT} and embedding."
)


class StoredVectorsError(EncoderError):
    """Stored vectors cannot be used. The message lists all faults, up to 20."""

    def __init__(self, uri: str, faults: Sequence[str], remedy: str = _REMEDY) -> None:
        """
        Args:
            uri: Path or URI of the file or folder.
            faults: What is wrong, without full stops.
            remedy: One or more sentences, with which the message ends.
        """
        self.uri, self.faults, self.remedy = uri, tuple(faults), remedy
        more = [f"and {len(faults) - _MAX_SHOWN} more"] if len(faults) > _MAX_SHOWN else []
        super().__init__(f"encoder {KIND}={uri}: {'; '.join([*faults[:_MAX_SHOWN], *more])}. {remedy}")

    def __reduce__(self) -> tuple[type["StoredVectorsError"], tuple[str, tuple[str, ...], str]]:
        return type(self), (self.uri, self.faults, self.remedy)


class StoredEncoder:
    """Vectors of recordings and, in the same space, of texts. It embeds neither windows nor texts itself.

    If there are vectors of texts, vectors are compared by cosine similarity, and all of them are normalised here.
    """

    def __init__(self, info: EncoderInfo, recordings: StoredTable, texts: StoredTable | None) -> None:
        """
        Args:
            info: What the encoder is.
            recordings: Vectors of the windows of recordings; unit rows with ``info.is_unit``.
            texts: Vectors of texts, unit rows; None if there are none.
        """
        self._info, self._recordings, self._texts = info, recordings, texts

    @classmethod
    def open(cls, uri: str, *, name: str, device: str | None = None) -> Self:
        """Reads all vectors into memory.

        Args:
            uri: Path or URI of a Parquet file, or of a folder of Parquet files, also in subfolders.
            name: Name of the encoder in reports.
            device: Not used: nothing is computed.

        Raises:
            StoredVectorsError: The file or folder does not exist, files are damaged or have other columns, vectors
                differ in size, contain NaN, or are zero, or ids occur twice; lists all faults.
            StorageError: The storage does not respond.
        """
        faults: list[str] = []
        tables: dict[str, list[StoredTable]] = {RECORDING: [], TEXT: []}
        contents: list[str] = []
        with tempfile.TemporaryDirectory() as folder:
            for file, file_uri in _files(uri):
                try:
                    local = filesystem.local_copy(file_uri, folder)
                    contents += [file, file_sha256(local)]
                except OSError as error:
                    raise StoredVectorsError(uri, [f"{file} cannot be read: {error}"]) from error
                found = read_table(local, file, faults)
                if found is not None:
                    tables[found.key].append(found)
        recordings, texts = (_joined(tables[key], faults) for key in (RECORDING, TEXT))
        if recordings is None and not faults:
            faults.append("there are no vectors of recordings")
        if recordings is not None and texts is not None and recordings.dim != texts.dim:
            faults.append(f"vectors of recordings have {recordings.dim} values, but those of texts {texts.dim}")
        if faults or recordings is None:
            raise StoredVectorsError(uri, faults)
        info = EncoderInfo(
            name=name,
            kind=KIND,
            uri=uri,
            sha256=text_sha256(KIND, *contents),
            sample_rate_hz=0,
            window_samples=0,
            dim=recordings.dim,
            is_unit=texts is not None,
            embeds_text=texts is not None,
        )
        return cls(info, recordings.normalised() if texts else recordings, texts and texts.normalised())

    @property
    def info(self) -> EncoderInfo:
        """What the encoder is; it embeds no audio."""
        return self._info

    @property
    def recording_ids(self) -> tuple[str, ...]:
        """Ids of the recordings with vectors, in their stored order."""
        return self._recordings.keys

    def embedded(self, recordings: Sequence[LabelledRecording]) -> EmbeddedRecordings:
        """Returns the vectors of recordings, at least one.

        Raises:
            StoredVectorsError: Recordings have no vectors; lists them.
        """
        ordered = sorted(recordings, key=lambda recording: recording.recording_id)
        rows = self._rows(self._recordings, [recording.recording_id for recording in ordered], "recordings")
        windows, starts = self._recordings.select(rows)
        return EmbeddedRecordings(tuple(ordered), windows, starts, self._info.is_unit)

    def embed_audio(self, windows: np.ndarray) -> np.ndarray:
        """Raises :class:`EncoderError`: the vectors of recordings are those of :meth:`embedded`."""
        raise EncoderError(f"encoder {self._info.name}: its vectors are stored; it embeds no audio")

    def embed_text(self, texts: Sequence[str]) -> np.ndarray:
        """Returns the vectors of texts, unit rows, float32 [n, d].

        Raises:
            StoredVectorsError: Texts have no vectors; lists them.
        """
        if self._texts is None:
            raise StoredVectorsError(self._info.uri, [f"there is no file with the columns {TEXT} and embedding"])
        windows, _ = self._texts.select(self._rows(self._texts, texts, "texts"))
        return windows

    def _rows(self, table: StoredTable, keys: Sequence[str], what: str) -> np.ndarray:
        missing = sorted({key for key in keys if key not in table.rows})
        if missing:
            count = f"{len(missing)} of {len(set(keys))} {what} have no vector"
            shown = ", ".join(f"{key!r:.80}" for key in missing[:_MAX_SHOWN])
            more = f" and {len(missing) - _MAX_SHOWN} more" if len(missing) > _MAX_SHOWN else ""
            raise StoredVectorsError(self._info.uri, [f"{count}: {shown}{more}"], "Store the vectors of all of them.")
        return np.array([table.rows[key] for key in keys], np.int64)


def _files(uri: str) -> Iterator[tuple[str, str]]:
    """Yields the name and the URI of each file, in the order of the names."""
    try:
        fs, path = filesystem.url_to_fs(uri)
        if not with_retries(f"{uri} cannot be reached", fs.isdir, path):
            if not filesystem.exists(uri):
                raise StoredVectorsError(uri, ["there is no such file or folder"])
            yield posixpath.basename(path), uri
            return
        names = list(files_below(uri, lambda name: name.lower().endswith(_EXTENSIONS)))
    except (OSError, ValueError) as error:
        if isinstance(error, EncoderError):
            raise
        raise StoredVectorsError(uri, [f"cannot be reached: {error}"]) from error
    if not names:
        raise StoredVectorsError(uri, ["there are no Parquet files in the folder"])
    for name in names:
        yield name, filesystem.join(uri, name)


def _joined(tables: Sequence[StoredTable], faults: list[str]) -> StoredTable | None:
    """Joins the tables of several files; adds the faults of vectors and ids. None if there are none, or faults."""
    if not tables:
        return None
    files = Counter(key for table in tables for key in {*table.keys} - {""})
    repeated = [key for key, count in files.items() if count > 1]
    if repeated:
        what = f"the same {'recordings' if tables[0].key == RECORDING else 'texts'}, such as {min(repeated)!r:.80}"
        faults.append(f"several files have {what}: name one of them, or a folder with the files of one encoder alone")
        return None
    joined = StoredTable.joined(tables)
    found = list(joined.faults())
    faults += found
    return None if found else joined
