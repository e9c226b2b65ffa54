"""Errors of storage: transient ones, which are worth a retry, and permanent ones, which are reported with a remedy."""

import errno
import socket
import ssl
from collections.abc import Iterator

import fsspec

from mulan.config.errors import MulanError
from mulan.config.paths import CREDENTIALS, LOCAL_SCHEMES, PASSWORD_FAULT, has_password, is_mistyped, scheme_of

_PERMANENT_ERRNOS = frozenset(
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
        errno.EREMCHG,  # s3fs translates S3's redirections to this
        errno.EROFS,
    }
)
"""Error numbers of the operating system, or of translated S3 errors, that are permanent."""

_TRANSIENT_CODES = frozenset({"BadDigest", "IncompleteBody", "NoSuchUpload", "XAmzContentSHA256Mismatch"})
"""S3 error codes of requests that were corrupted in transit, or whose response was lost after they succeeded."""

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
        "CredentialRetrievalError",  # from a metadata service, which is reached over the network
        "FSTimeoutError",
        "HTTPClientError",
        "IncompleteRead",
        "MetadataRetrievalError",
        "ResponseParserError",
    }
)
"""Connection errors of botocore, aiohttp, urllib3 and fsspec that do not derive from OSError; by name, because these
packages need not be installed."""

_RENEW = f"renew the {CREDENTIALS}"


SUPPORTED_URIS = "name a folder, s3://BUCKET/FOLDER, or another URI that fsspec supports"
"""Remedy for a path or URI that cannot be used."""

_BUCKETS = frozenset(
    {"s3", "s3a", "gs", "gcs", "abfs", "abfss", "az", "adl", "oss", "oci", "http", "https", "ftp", "sftp", "ssh", "smb"}
)
"""Schemes whose URIs begin with the name of a bucket, a container or a server."""


class StorageError(MulanError):
    """Raised when storage keeps failing until the retries time out, or fails permanently (see the subclasses)."""

    exit_code = 1


class StoragePermanentError(StorageError):
    """Raised when storage cannot be used and a retry would not help."""

    exit_code = 2


class UnsupportedStorage(StoragePermanentError, ValueError):
    """Raised for a path or URI that cannot exist, or whose scheme needs a package that is not installed."""


def is_transient(error: BaseException) -> bool:
    """Returns whether an operation that failed with this error may succeed when retried.

    A server that is overloaded, restarting or dropping connections is transient; a missing file or bucket, rejected
    credentials or permissions, an unknown host and a full disk are not.
    """
    if s3_code(error) in _TRANSIENT_CODES:
        return True
    if isinstance(error, FileNotFoundError | PermissionError | NotADirectoryError | IsADirectoryError):
        return False
    if _unknown_host(error) or _untrusted_host(error):
        return False
    if isinstance(error, OSError):
        return error.errno not in _PERMANENT_ERRNOS
    return bool(_class_names(error) & _CONNECTION_ERRORS)


def affects_all_files(error: BaseException) -> bool:
    """Returns whether operations on all other files would fail too: for bad credentials or an unreachable server."""
    unreachable = "BotoCoreError" in _class_names(error) or _is_endpoint_fault(error)
    return unreachable or s3_code(error) in _CREDENTIAL_CODES


def permanent_error(what: str, error: Exception) -> StoragePermanentError | None:
    """Wraps an error of storage in a message for the user, with a remedy; returns None for any other error.

    Args:
        what: Consequence of the error, with which the message begins, such as ``"URI cannot be read"``.
        error: Error of storage, or any other.
    """
    if isinstance(error, MulanError) or not (
        isinstance(error, OSError) or "BotoCoreError" in _class_names(error) or _is_endpoint_fault(error)
    ):
        return None
    reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return StoragePermanentError(f"{what}: {reason}; {_remedy(error)}; then run the same command again to resume")


def location_fault(path: str) -> str | None:
    """Returns why a path or URI is invalid, with the remedy; None if it is valid."""
    scheme = scheme_of(path)
    rest = path[len(scheme) + len("://") :] if scheme else path
    if not path:
        return f"the path is empty; {SUPPORTED_URIS}"
    if "\0" in path or any("\ud800" <= letter <= "\udfff" for letter in path):
        return "the path is not valid Unicode; rename the folder"
    if is_mistyped(path):
        return (
            f"it is neither a URI nor clearly a path; {SUPPORTED_URIS}; for a folder of that name here write ./{path}"
        )
    if not scheme:
        return None
    if scheme not in fsspec.available_protocols():
        return f"the scheme {scheme}:// is not supported; {SUPPORTED_URIS}"
    if scheme in LOCAL_SCHEMES and not rest.startswith("/"):
        return f"a path after {scheme}:// must be absolute; write {scheme}:///FOLDER"
    if scheme in _BUCKETS and not rest.partition("/")[0]:
        return f"the bucket or server is missing; write {scheme}://BUCKET/FOLDER"
    if scheme in _BUCKETS and has_password(path):
        return PASSWORD_FAULT
    if scheme in ("s3", "s3a") and "?versionId=" in path:
        return "object versions are not supported; remove ?versionId="
    if "://" in rest.partition("::")[2]:
        return "chained URIs are not supported; name one file or folder"
    return None


def s3_code(error: BaseException) -> str:
    """Returns the S3 error code of an error that s3fs has translated; empty if there is none."""
    response = getattr(error.__cause__, "response", None)
    return str(response.get("Error", {}).get("Code", "")) if isinstance(response, dict) else ""


def _remedy(error: Exception) -> str:
    code = s3_code(error)
    if code in _CREDENTIAL_CODES or _class_names(error) & _CREDENTIAL_ERRORS:
        return f"the credentials are rejected: {_RENEW}"
    if code == "400":  # the response to a HEAD request has no body with details
        return f"if the credentials have expired, {_RENEW}; otherwise check the region (AWS_DEFAULT_REGION)"
    if _unknown_host(error) or _is_endpoint_fault(error):
        return "the server is unknown: check AWS_ENDPOINT_URL and AWS_DEFAULT_REGION"
    if _untrusted_host(error):
        return "the server's certificate is not trusted: check AWS_ENDPOINT_URL and AWS_CA_BUNDLE"
    if code == "NoSuchBucket":
        return "the bucket does not exist: create it, or check the URI"
    if isinstance(error, PermissionError):
        where = "list, read, write and delete objects there" if code else "read and write there"
        wrong = f"if the credentials are wrong, {_RENEW}; otherwise " if code == "403" else ""  # again without details
        return f"access is denied: {wrong}allow this user to {where}"
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return "free some space there"
    if isinstance(error, OSError) and error.errno == errno.EFBIG:
        return "allow larger files there (ulimit -f, or another file system)"
    return "check the URI"


def _class_names(error: BaseException) -> set[str]:
    return {cls.__name__ for cls in type(error).__mro__}


def _is_endpoint_fault(error: BaseException) -> bool:
    """Returns whether botocore has rejected AWS_ENDPOINT_URL as an invalid URL."""
    return isinstance(error, ValueError) and str(error).startswith("Invalid endpoint")


def _unknown_host(error: BaseException) -> bool:
    return any(isinstance(e, socket.gaierror) and e.errno == socket.EAI_NONAME for e in _wrapped_errors(error))


def _untrusted_host(error: BaseException) -> bool:
    return any(isinstance(e, ssl.SSLCertVerificationError) for e in _wrapped_errors(error))


def _wrapped_errors(error: BaseException) -> Iterator[BaseException]:
    """Yields the error and the errors that botocore and aiohttp have wrapped in it."""
    wrapped: object = error
    for _ in range(4):
        if not isinstance(wrapped, BaseException):
            return
        yield wrapped
        wrapped = getattr(wrapped, "kwargs", {}).get("error") or getattr(wrapped, "os_error", None)
