"""What storage can answer instead of doing what it is asked: what passes by itself, and what the user has to mend."""

import errno
import socket
import ssl
from collections.abc import Iterator

import fsspec

from mulan.config.errors import MulanError
from mulan.config.paths import LOCAL_SCHEMES, is_mistyped, scheme_of

_LASTING = frozenset(
    {
        errno.EACCES,
        errno.EDQUOT,
        errno.EEXIST,
        errno.EFBIG,
        errno.EINVAL,
        errno.ELOOP,
        errno.EMSGSIZE,
        errno.ENAMETOOLONG,
        errno.ENOSPC,
        errno.ENOSYS,
        errno.ENOTEMPTY,
        errno.EPERM,
        errno.EREMCHG,  # what S3's redirections are translated to
        errno.EROFS,
    }
)
"""Errors of the operating system, or what S3's are translated to, that another attempt would meet again."""

_PASSING_CODES = frozenset({"BadDigest", "IncompleteBody", "NoSuchUpload", "XAmzContentSHA256Mismatch"})
"""S3's codes for a request that was garbled on its way, or whose answer got lost after it was done."""

_CREDENTIAL_CODES = frozenset(
    {
        "ExpiredToken",
        "ExpiredTokenException",
        "InvalidAccessKeyId",
        "InvalidClientTokenId",
        "InvalidToken",
        "RequestTimeTooSkewed",
        "SignatureDoesNotMatch",
        "TokenRefreshRequired",
        "UnrecognizedClientException",
    }
)
_CREDENTIAL_ERRORS = frozenset(
    {"NoCredentialsError", "PartialCredentialsError", "ProfileNotFound", "SSOError", "TokenRetrievalError"}
)
_CONNECTION_ERRORS = frozenset(
    {
        "ClientError",  # aiohttp's; botocore's are translated by s3fs
        "ConnectionError",
        "CredentialRetrievalError",  # a service of the machine or the cluster, asked over the network
        "FSTimeoutError",
        "HTTPClientError",
        "IncompleteRead",
        "MetadataRetrievalError",
        "ResponseParserError",
    }
)
"""Classes of botocore, aiohttp, urllib3 and fsspec that are no OSError, by name: they need not be installed."""

_RENEW = "renew the credentials (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN, a profile or a role)"


SCHEMES_THAT_WORK = "name a folder, s3://BUCKET/FOLDER, or another URI that fsspec knows"

_BUCKETS = frozenset(
    {"s3", "s3a", "gs", "gcs", "abfs", "abfss", "az", "adl", "oss", "oci", "http", "https", "ftp", "sftp", "ssh", "smb"}
)
"""Schemes of which a URI begins with the name of a bucket, a container or a server."""


class StorageError(MulanError):
    """Storage that failed for longer than our patience lasts, or that refused (:class:`StoragePermanentError`)."""

    exit_code = 1


class StoragePermanentError(StorageError):
    """Storage that cannot be used as it is, and that another attempt would find the same."""

    exit_code = 2


class UnsupportedStorage(StoragePermanentError, ValueError):
    """A path or URI at which nothing can be, or of a scheme for which a package is missing."""


def is_transient(error: BaseException) -> bool:
    """Whether an operation that failed so may succeed when tried again.

    A server that is overloaded, restarts, or drops connections; not a file or bucket that is not there, credentials or
    permission that are refused, a host that nobody knows, or a full disk.
    """
    if s3_code(error) in _PASSING_CODES:
        return True
    if isinstance(error, FileNotFoundError | PermissionError | NotADirectoryError | IsADirectoryError):
        return False
    if _unknown_host(error) or _untrusted_host(error):
        return False
    if isinstance(error, OSError):
        return error.errno not in _LASTING
    return bool(_class_names(error) & _CONNECTION_ERRORS)


def affects_all_files(error: BaseException) -> bool:
    """Whether an operation on any other file would fail in the same way: credentials, or a server that is not there."""
    unreachable = "BotoCoreError" in _class_names(error) or _is_endpoint_fault(error)
    return unreachable or s3_code(error) in _CREDENTIAL_CODES


def permanent_error(what: str, error: Exception) -> StoragePermanentError | None:
    """An error as the user is told it, with the remedy; None for what is no answer of storage.

    ``what``: what it means, ``"URI cannot be read"``.
    """
    if isinstance(error, MulanError) or not (
        isinstance(error, OSError) or "BotoCoreError" in _class_names(error) or _is_endpoint_fault(error)
    ):
        return None
    reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return StoragePermanentError(f"{what}: {reason}; {_remedy(error)}; then the same command goes on")


def location_fault(path: str) -> str | None:
    """Why nothing can be at such a path or URI, with the remedy; None where something may be."""
    scheme = scheme_of(path)
    rest = path[len(scheme) + len("://") :] if scheme else path
    if not path:
        return f"the path is empty; {SCHEMES_THAT_WORK}"
    if "\0" in path or any("\ud800" <= letter <= "\udfff" for letter in path):
        return "the path is not Unicode text; give the folder another name"
    if is_mistyped(path):
        return f"it is neither a URI nor clearly a path; {SCHEMES_THAT_WORK}; a folder of that name here is ./{path}"
    if not scheme:
        return None
    if scheme not in fsspec.available_protocols():
        return f"there is no storage of scheme {scheme}://; {SCHEMES_THAT_WORK}"
    if scheme in LOCAL_SCHEMES and not rest.startswith("/"):
        return f"a local path behind {scheme}:// begins at the root; write {scheme}:///FOLDER"
    if scheme in _BUCKETS and not rest.partition("/")[0]:
        return f"it names no bucket or server; write {scheme}://BUCKET/FOLDER"
    if scheme in ("s3", "s3a") and "?versionId=" in path:
        return "versions of an object cannot be named; leave out ?versionId="
    if "::" in path:
        return "URIs cannot be chained, and a folder in this storage cannot have :: in its name; choose another name"
    return None


def s3_code(error: BaseException) -> str:
    """S3's own word for an error that s3fs has translated; empty where there is none."""
    response = getattr(error.__cause__, "response", None)
    return str(response.get("Error", {}).get("Code", "")) if isinstance(response, dict) else ""


def _remedy(error: Exception) -> str:
    code = s3_code(error)
    if code in _CREDENTIAL_CODES or _class_names(error) & _CREDENTIAL_ERRORS:
        return f"the credentials are refused: {_RENEW}"
    if code == "400":  # the answer to a HEAD request has no body that would say more
        return f"if the credentials have expired, {_RENEW}; otherwise check the region (AWS_DEFAULT_REGION)"
    if _unknown_host(error) or _is_endpoint_fault(error):
        return "no such server is known: check AWS_ENDPOINT_URL and AWS_DEFAULT_REGION"
    if _untrusted_host(error):
        return "the server's certificate is not trusted: check AWS_ENDPOINT_URL and AWS_CA_BUNDLE"
    if code == "NoSuchBucket":
        return "there is no such bucket: create it, or check the URI"
    if isinstance(error, PermissionError):
        where = "list, read, write and delete objects there" if code else "read and write there"
        return f"access is denied: let this user {where}"
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return "make room there"
    if isinstance(error, OSError) and error.errno == errno.EFBIG:
        return "allow larger files there (ulimit -f, or another file system)"
    return "check the URI"


def _class_names(error: BaseException) -> set[str]:
    return {cls.__name__ for cls in type(error).__mro__}


def _is_endpoint_fault(error: BaseException) -> bool:
    """botocore's answer to an AWS_ENDPOINT_URL that is no URL."""
    return isinstance(error, ValueError) and str(error).startswith("Invalid endpoint")


def _unknown_host(error: BaseException) -> bool:
    return any(isinstance(one, socket.gaierror) and one.errno == socket.EAI_NONAME for one in _within(error))


def _untrusted_host(error: BaseException) -> bool:
    return any(isinstance(one, ssl.SSLCertVerificationError) for one in _within(error))


def _within(error: BaseException) -> Iterator[BaseException]:
    """The error, and those that botocore and aiohttp have wrapped in it."""
    wrapped: object = error
    for _ in range(4):
        if not isinstance(wrapped, BaseException):
            return
        yield wrapped
        wrapped = getattr(wrapped, "kwargs", {}).get("error") or getattr(wrapped, "os_error", None)
