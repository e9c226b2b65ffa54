"""Found recordings on the local disk, so that a source is read once however often its recordings are needed."""

import gzip
import pickle
import tempfile
from collections.abc import Iterator
from types import TracebackType

from mulan.preparation.found import FoundRecording


class RecordingSpool:
    """A temporary file of found recordings, each with the number of its source. It is removed with the block.

    A context manager. Recordings are added first, and then read any number of times, in the order of their addition.
    """

    def __enter__(self) -> "RecordingSpool":
        self._file = tempfile.TemporaryFile()
        self._writer: gzip.GzipFile | None = gzip.GzipFile(fileobj=self._file, mode="wb", compresslevel=1)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._file.close()

    def add(self, source: int, recording: FoundRecording) -> None:
        """Adds a recording.

        Args:
            source: Number of its source.
            recording: The recording.
        """
        assert self._writer is not None, "recordings are added before they are read"
        pickle.dump((source, recording), self._writer, pickle.HIGHEST_PROTOCOL)

    def __iter__(self) -> Iterator[tuple[int, FoundRecording]]:
        if self._writer is not None:
            self._writer.close()
            self._writer = None
        self._file.seek(0)
        with gzip.GzipFile(fileobj=self._file, mode="rb") as reader:
            while reader.peek(1):
                yield pickle.load(reader)  # written by this process
