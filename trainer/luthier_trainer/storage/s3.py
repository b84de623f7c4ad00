"""Objects in S3. The only module that knows boto3."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

from luthier_api.runspec import S3Access
from luthier_trainer.credentials import credential
from luthier_trainer.errors import TrainerError, is_disk_full
from luthier_trainer.redaction import remember
from luthier_trainer.storage import uploaded
from luthier_trainer.storage.objectstore import Entry
from luthier_trainer.storage.retry import retry
from luthier_trainer.storage.s3errors import Fault, classify, failure
from luthier_trainer.storage.uri import split

T = TypeVar("T")

_CONNECT_TIMEOUT = 5
_READ_TIMEOUT = 30
_PART_BYTES = 16 * 1024 * 1024


class S3Store:
    """Objects below s3://bucket/prefix. See ObjectStore."""

    def __init__(self, uri: str, access: S3Access, param: str) -> None:
        _, self._bucket, path = split(uri)
        self.uri = uri.rstrip("/")
        self._prefix = path.strip("/")
        self._param = param
        self._retry_seconds = access.retry_seconds
        self._endpoint = access.endpoint
        self._client = self._call("reach it", lambda: _client(access, param))

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
        uploaded.add(len(data))

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
        uploaded.add(path.stat().st_size)

    def copy(self, key: str, source: str) -> None:
        _, bucket, path = split(source)
        place = {"Bucket": bucket, "Key": path.lstrip("/")}

        def copied() -> bool:
            # The managed copy splits objects that are too large for one request.
            self._client.copy(place, self._bucket, self._key(key), Config=_transfer())
            return True

        def looked() -> Any:
            return self._client.get_object(**place, Range="bytes=0-0")

        if not self._call(f"copy {source} to {key}", copied, looked, missing=False):
            raise FileNotFoundError(source)

    def download(self, key: str, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)

        def get() -> bool:
            self._client.download_file(self._bucket, self._key(key), str(path), Config=_transfer())
            return True

        def looked() -> Any:
            return self._client.get_object(
                Bucket=self._bucket, Key=self._key(key), Range="bytes=0-0"
            )

        if not self._call(f"download {key}", get, looked, missing=False):
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

    def entry(self, key: str) -> Entry | None:
        def head() -> Entry:
            answer = self._client.head_object(Bucket=self._bucket, Key=self._key(key))
            return Entry(key, answer["ContentLength"], answer["ETag"].strip('"'))

        def looked() -> Any:
            return self._client.get_object(
                Bucket=self._bucket, Key=self._key(key), Range="bytes=0-0"
            )

        return self._call(f"look at {key}", head, looked, missing=None)

    def delete(self, keys: list[str]) -> None:
        for key in keys:
            self._call(
                f"delete {key}",
                lambda key=key: self._client.delete_object(  # type: ignore[misc]
                    Bucket=self._bucket, Key=self._key(key)
                ),
                missing=None,
            )

    def folders(self) -> list[str]:
        base = f"{self._prefix}/" if self._prefix else ""

        def pages() -> list[str]:
            listed = self._client.get_paginator("list_objects_v2").paginate(
                Bucket=self._bucket, Prefix=base, Delimiter="/"
            )
            found = (it["Prefix"] for page in listed for it in page.get("CommonPrefixes", ()))
            return sorted(prefix[len(base) :].strip("/") for prefix in found)

        return self._call("list the folder", pages)

    def abort_uploads(self, prefix: str, older_than: timedelta) -> int:
        base = f"{self._prefix}/" if self._prefix else ""
        before = datetime.now(UTC) - older_than

        def pages() -> list[dict[str, Any]]:
            listed = self._client.get_paginator("list_multipart_uploads").paginate(
                Bucket=self._bucket, Prefix=base + prefix
            )
            found = [item for page in listed for item in page.get("Uploads", ())]
            return [it for it in found if it["Key"].startswith(base + prefix)]

        uploads = self._call("list unfinished uploads", pages)
        old = [it for it in uploads if it["Initiated"] <= before]
        for each in old:
            self._call(
                f"abort an upload of {each['Key'][len(base) :]}",
                lambda each=each: self._client.abort_multipart_upload(  # type: ignore[misc]
                    Bucket=self._bucket, Key=each["Key"], UploadId=each["UploadId"]
                ),
                missing=None,
            )
        return len(old)

    def _key(self, key: str) -> str:
        return "/".join(part for part in (self._prefix, key) if part)

    def _conditional_put(self, key: str, data: bytes, **condition: str) -> bool:
        written = self._call(
            f"write {key}",
            lambda: bool(
                self._client.put_object(
                    Bucket=self._bucket, Key=self._key(key), Body=data, **condition
                )
            ),
            conflict=False,
        )
        if written:
            uploaded.add(len(data))
        return written

    def _call(
        self,
        what: str,
        call: Callable[[], T],
        look: Callable[[], Any] | None = None,
        **instead: Any,
    ) -> T:
        """`call`, again while the error can heal; `missing`/`conflict` instead of an error.

        `look`: the same object asked for by GET, where `call` asks by HEAD: that is answered by a
        number alone.
        """
        try:
            return retry(what, call, self._retry_seconds, lambda e: classify(e).kind == "transient")
        except TrainerError:
            raise
        except Exception as error:
            if is_disk_full(error):
                raise
            fault = classify(error)
            if look and fault.operation == "HeadObject":
                fault = _looked_at(look) or fault
            if fault.kind in instead:
                return instead[fault.kind]  # type: ignore[no-any-return]
            raise failure(
                fault,
                what,
                self.uri,
                self._bucket,
                self._endpoint,
                self._retry_seconds,
                self._param,
            ) from error


def _looked_at(look: Callable[[], Any]) -> Fault | None:
    try:
        look()
    except Exception as error:
        return classify(error)
    return None


def _client(access: S3Access, param: str) -> Any:
    import boto3
    from botocore.config import Config
    from botocore.exceptions import PartialCredentialsError

    if access.endpoint:
        remember(access.endpoint.rpartition("://")[2].rpartition("@")[0].rpartition(":")[2])
    # Those of the environment, checked: what an HTTP header can't hold is quoted by what fails.
    keys = {
        argument: credential(name, param)
        for argument, name in (
            ("aws_access_key_id", "AWS_ACCESS_KEY_ID"),
            ("aws_secret_access_key", "AWS_SECRET_ACCESS_KEY"),
            ("aws_session_token", "AWS_SESSION_TOKEN"),
        )
    }
    if not keys["aws_access_key_id"]:
        keys = {}
    elif not keys["aws_secret_access_key"]:
        raise PartialCredentialsError(provider="env", cred_var="AWS_SECRET_ACCESS_KEY")
    # A session of its own: the default one keeps the credentials that it found first.
    return boto3.Session(**keys).client(
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
