"""Listing of the audio of public data sets, whose missing folders are named with what should be in them."""

from mulan.preparation.audio_files import AudioFiles
from mulan.preparation.faults import SourceError


def list_audio(source: str, uri: str, *, remedy: str) -> AudioFiles:
    """Lists the audio files below a folder of a data set.

    Args:
        source: The source, as ``KIND=PATH``, for messages.
        uri: Path or URI of the folder.
        remedy: Where to get its files, for messages.

    Raises:
        SourceError: There is no such folder.
        StorageError, StoragePermanentError: It cannot be listed.
    """
    try:
        return AudioFiles.below(uri)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise SourceError(source, [f"there is no folder {uri}; {remedy}"]) from error
