"""Objects in S3. The only module that knows boto3."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

from luthier_api.result import ExitCode
from luthier_api.runspec import S3Access
from luthier_trainer.errors import TrainerError, is_disk_full
from luthier_trainer.storage.objectstore import Entry
from luthier_trainer.storage.retry import brief, retry

T = TypeVar("T")

_CONNECT_TIMEOUT = 5
_READ_TIMEOUT = 30
_PART_BYTES = 16 * 1024 * 1024
_DENIED = {
    "AccessDenied",
    "AllAccessDisabled",
    "ExpiredToken",
    "Forbidden",
    "InvalidAccessKeyId",
    "InvalidToken",
    "SignatureDoesNotMatch",
    "403",
}
_MISSING = {"NoSuchKey", "404", "NotFound"}
_CONFLICT = {"PreconditionFailed", "ConditionalRequestConflict", "412"}
_THROTTLED = {
    "RequestLimitExceeded",
    "RequestTimeout",
    "SlowDown",
    "Throttling",
    "ThrottlingException",
    "TooManyRequests",
    "429",
}


class S3Store:
    """Objects below s3://bucket/prefix. See ObjectStore."""

    def __init__(self, uri: str, access: S3Access, param: str) -> None:
        parts = urlsplit(uri)
        self.uri = uri.rstrip("/")
        self._bucket = parts.netloc
        self._prefix = parts.path.strip("/")
        self._param = param
        self._retry_seconds = access.retry_seconds
        self._endpoint = access.endpoint or "AWS"
        self._client = _client(access)

    def read(self, key: str) -> bytes | None:
        tagged = self.read_tagged(key)
        return None if tagged is None else tagged[0]

    def read_tagged(self, key: str) -> tuple[bytes, str] | None:
        def get() -> tuple[bytes, str]:
            answer = self._client.get_object(Bucket=self._bucket, Key=self._key(key))
            return answer["Body"].read(), answer["ETag"]

        return self._call(f"read {key}", get, missing=None)

    def write(self, key: str, data: bytes) -> None:
        self._call(
            f"write {key}",
            lambda: self._client.put_object(Bucket=self._bucket, Key=self._key(key), Body=data),
        )

    def write_once(self, key: str, data: bytes) -> bool:
        if self._conditional_put(key, data, IfNoneMatch="*"):
            return True
        # The write of a lost answer may have been ours.
        return self.read(key) == data

    def replace(self, key: str, data: bytes, etag: str) -> bool:
        return self._conditional_put(key, data, IfMatch=etag) or self.read(key) == data

    def upload(self, key: str, path: Path) -> None:
        # upload_file splits large files into parts and aborts them when one fails.
        self._call(
            f"upload {key}",
            lambda: self._client.upload_file(
                str(path), self._bucket, self._key(key), Config=_transfer()
            ),
        )

    def copy(self, key: str, source: str) -> None:
        parts = urlsplit(source)
        place = {"Bucket": parts.netloc, "Key": parts.path.lstrip("/")}

        def copied() -> bool:
            # The managed copy splits objects that are too large for one request.
            self._client.copy(place, self._bucket, self._key(key), Config=_transfer())
            return True

        if not self._call(f"copy {source} to {key}", copied, missing=False):
            raise FileNotFoundError(source)

    def download(self, key: str, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)

        def get() -> bool:
            self._client.download_file(self._bucket, self._key(key), str(path), Config=_transfer())
            return True

        if not self._call(f"download {key}", get, missing=False):
            raise FileNotFoundError(f"{self.uri}/{key}")

    def entries(self, prefix: str = "") -> list[Entry]:
        base = f"{self._prefix}/" if self._prefix else ""

        def pages() -> list[Entry]:
            found = []
            for page in self._client.get_paginator("list_objects_v2").paginate(
                Bucket=self._bucket, Prefix=base + prefix
            ):
                for item in page.get("Contents", ()):
                    key = item["Key"][len(base) :]
                    if key and not key.endswith("/"):
                        found.append(Entry(key, item["Size"], item["ETag"].strip('"')))
            return sorted(found, key=lambda entry: entry.key)

        return self._call(f"list {prefix or 'the folder'}", pages)

    def delete(self, keys: list[str]) -> None:
        for key in keys:
            self._call(
                f"delete {key}",
                lambda key=key: self._client.delete_object(  # type: ignore[misc]
                    Bucket=self._bucket, Key=self._key(key)
                ),
                missing=None,
            )

    def _key(self, key: str) -> str:
        return "/".join(part for part in (self._prefix, key) if part)

    def _conditional_put(self, key: str, data: bytes, **condition: str) -> bool:
        return self._call(
            f"write {key}",
            lambda: bool(
                self._client.put_object(
                    Bucket=self._bucket, Key=self._key(key), Body=data, **condition
                )
            ),
            conflict=False,
        )

    def _call(self, what: str, call: Callable[[], T], **instead: Any) -> T:
        """`call`, again while the error can heal; `missing`/`conflict` instead of an error."""
        try:
            return retry(
                what, call, self._retry_seconds, lambda error: _classify(error) == "transient"
            )
        except Exception as error:
            if is_disk_full(error):
                raise
            kind = _classify(error)
            if kind in instead:
                return instead[kind]  # type: ignore[no-any-return]
            raise self._failure(kind, what, error) from error

    def _failure(self, kind: str, what: str, error: Exception) -> TrainerError:
        place = f"s3://{self._bucket}"
        match kind:
            case "bucket":
                code, exit_code = "BucketNotFound", ExitCode.NOT_FOUND
                message = f"{place}: no such bucket at {self._endpoint}; create it, or correct "
                message += "the URI"
            case "missing":
                code, exit_code = "ObjectNotFound", ExitCode.NOT_FOUND
                message = f"{self.uri}: could not {what}: no such object; correct the URI"
            case "denied":
                code, exit_code = "StorageDenied", ExitCode.DENIED
                message = f"{self.uri}: could not {what}: {brief(error)}; check the Secret of "
                message += "storage.secretName and the rights of its key on this bucket"
            case "credentials":
                code, exit_code = "NoCredentials", ExitCode.DENIED
                message = f"{self.uri}: no credentials for S3; name a Secret with "
                message += "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY in storage.secretName"
            case "transient":
                code, exit_code = "StorageUnavailable", ExitCode.STORAGE_UNAVAILABLE
                message = f"{self.uri}: could not {what} for {self._retry_seconds} s: "
                message += f"{brief(error)}; check that {self._endpoint} runs and can be "
                message += "reached from the pod (NetworkPolicy, DNS), then retry"
            case _:
                code, exit_code = "StorageError", ExitCode.INTERNAL
                message = f"{self.uri}: could not {what}: {brief(error)}"
        return TrainerError(exit_code, code, message, self._param)


def _client(access: S3Access) -> Any:
    import boto3
    from botocore.config import Config

    # A session of its own: the default one keeps the credentials that it found first.
    return boto3.Session().client(
        "s3",
        endpoint_url=access.endpoint,
        region_name=access.region or "us-east-1",
        verify=access.ca_file,
        config=Config(
            # Retries are ours: they end after the time that the pool allows.
            retries={"total_max_attempts": 1},
            connect_timeout=_CONNECT_TIMEOUT,
            read_timeout=_READ_TIMEOUT,
            s3={"addressing_style": "path" if access.path_style else "auto"},
        ),
    )


def _transfer() -> Any:
    from boto3.s3.transfer import TransferConfig

    return TransferConfig(
        multipart_threshold=_PART_BYTES, multipart_chunksize=_PART_BYTES, max_concurrency=4
    )


def _classify(error: Exception) -> str:
    """transient, denied, credentials, bucket, missing, conflict, or other."""
    from boto3.exceptions import S3UploadFailedError
    from botocore import exceptions as s3

    if isinstance(error, S3UploadFailedError) and isinstance(error.__context__, Exception):
        error = error.__context__
    if isinstance(error, s3.NoCredentialsError | s3.PartialCredentialsError):
        return "credentials"
    if isinstance(error, s3.ClientError):
        code = str(error.response.get("Error", {}).get("Code", ""))
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        for kind, codes in (
            ("bucket", {"NoSuchBucket"}),
            ("missing", _MISSING),
            ("denied", _DENIED),
            ("conflict", _CONFLICT),
            ("transient", _THROTTLED),
        ):
            if code in codes:
                return kind
        return "transient" if status >= 500 else "other"
    transient = (
        s3.ConnectionError,  # botocore's: unreachable, or it closed the connection
        s3.HTTPClientError,  # timeouts, TLS
        s3.IncompleteReadError,
        s3.ResponseStreamingError,
        s3.FlexibleChecksumError,
        ConnectionError,
        TimeoutError,
    )
    if isinstance(error, transient) or type(error).__name__ == "RetriesExceededError":
        return "transient"
    return "other"
