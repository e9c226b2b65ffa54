"""Files that one process alone can make, so that several can agree who of them goes ahead."""

import errno

from fsspec.implementations.local import LocalFileSystem

from mulan.data import local_files, storage
from mulan.data.storage_errors import s3_code


def create(uri: str, content: bytes) -> bool:
    """Writes a file unless one of that name is there; whether this call wrote it.

    Of several processes one alone is told that it did: on a disk (NFS included), on S3, GCS and Azure. Other storage,
    and object stores that do not keep to S3's ``If-None-Match``, may tell it to two that come at the same moment; then
    the content of the last stays. Where the answer was lost the call is told that it did not, so it should look whose
    content is there.

    Raises:
        StorageError, StorageRefused: it could not be written.
    """
    fs, path = storage.filesystem(uri)
    written = True

    def write() -> None:
        nonlocal written
        if isinstance(fs, LocalFileSystem):
            written = local_files.create(path, content)
            return
        try:
            fs.pipe_file(path, content, mode="create")
        except OSError as error:
            if error.errno == errno.ENOSYS:  # an object store that refuses the condition
                written = not storage.exists(uri)
                if written:
                    fs.pipe_file(path, content)
            elif isinstance(error, FileExistsError) or s3_code(error) == "PreconditionFailed":
                written = False
            else:
                raise

    storage.write_by(uri, write)
    return written
