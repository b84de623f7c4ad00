"""Each way in which S3 refuses, in words with a remedy: by a real S3 where it can be brought to
it, else by a server that answers as S3 is specified to."""

import ssl
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from unit.trainer.support import READ_ONLY_KEY, MakeSpec, Seaweed

from luthier_api.result import ExitCode
from luthier_api.runspec import S3Access
from luthier_trainer.data.sources import fetch
from luthier_trainer.errors import TrainerError
from luthier_trainer.storage.open import open_store


class S3:
    """Answers every request with one error, HEAD without a body."""

    def __init__(self, certificate: Path | None = None) -> None:
        self.status, self.body = 200, b""
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(outer.status)
                self.send_header("Content-Length", str(len(outer.body)))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(outer.body)

            do_HEAD = do_PUT = do_POST = do_GET  # noqa: N815

            def log_message(self, *_: object) -> None: ...

        class Quiet(ThreadingHTTPServer):
            def handle_error(self, *_: object) -> None: ...

        self._server = Quiet(("127.0.0.1", 0), Handler)
        scheme = "http"
        if certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
            scheme = "https"
        self.url = f"{scheme}://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def refuse(self, status: int, code: str, more: str = "") -> None:
        text = f"<Error><Code>{code}</Code><Message>said {code}</Message>{more}</Error>"
        self.status, self.body = status, text.encode()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def refusing(monkeypatch: pytest.MonkeyPatch) -> Iterator[S3]:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "example-secret")
    server = S3()
    yield server
    server.close()


_WAYS = ["read", "download", "list", "write"]


def ask(way: str, uri: str, access: S3Access, folder: Path) -> None:
    store = open_store(uri, access, "dataset.uri")
    match way:
        case "read":
            store.read("key")
        case "download":
            store.download("key", folder / "key")
        case "list":
            store.entries()
        case "write":
            store.write("key", b"1")


def reach(way: str, uri: str, access: S3Access, folder: Path) -> TrainerError:
    with pytest.raises(TrainerError) as caught:
        ask(way, uri, access, folder)
    message = caught.value.error.message
    assert "said " not in message  # what a server writes is its own
    assert "max retries" not in message
    return caught.value


@pytest.mark.parametrize("way", _WAYS)
@pytest.mark.parametrize(
    ("status", "code", "more", "told", "words"),
    [
        (403, "AccessDenied", "", "StorageDenied", "the right s3:"),
        (403, "InvalidAccessKeyId", "", "StorageDenied", "correct AWS_ACCESS_KEY_ID"),
        (403, "SignatureDoesNotMatch", "", "StorageDenied", "correct AWS_SECRET_ACCESS_KEY"),
        (400, "ExpiredToken", "", "StorageDenied", "session token"),
        (400, "InvalidToken", "", "StorageDenied", "session token"),
        (403, "RequestTimeTooSkewed", "", "StorageDenied", "the clocks"),
        (404, "NoSuchBucket", "", "BucketNotFound", "no such bucket"),
        (
            400,
            "AuthorizationHeaderMalformed",
            "<Region>eu-west-3</Region>",
            "StorageMisconfigured",
            "eu-west-3",
        ),
        (400, "InvalidArgument", "", "StorageError", "S3 answers InvalidArgument"),
    ],
)
def test_every_refusal_by_every_request(
    way: str,
    status: int,
    code: str,
    more: str,
    told: str,
    words: str,
    refusing: S3,
    tmp_path: Path,
) -> None:
    refusing.refuse(status, code, more)
    access = S3Access(endpoint=refusing.url, retry_seconds=0)
    error = reach(way, "s3://bucket/x", access, tmp_path).error
    assert (error.code, error.param) == (told, "dataset.uri")
    assert words in error.message


def test_redirects_are_told(refusing: S3, tmp_path: Path) -> None:
    refusing.refuse(307, "TemporaryRedirect", "<Endpoint>elsewhere</Endpoint>")
    access = S3Access(endpoint=refusing.url, retry_seconds=0)
    error = reach("read", "s3://bucket/x", access, tmp_path).error
    assert error.code == "StorageMisconfigured"
    assert "region" in error.message


@pytest.mark.parametrize("way", ["list", "read", "download"])
@pytest.mark.parametrize("status", [200, 404])
def test_what_isnt_s3(status: int, way: str, refusing: S3, tmp_path: Path) -> None:
    refusing.status, refusing.body = status, b"<html>Welcome"
    access = S3Access(endpoint=refusing.url, retry_seconds=0)
    if (status, way) == (200, "download"):  # a page can't be told from a file
        ask(way, "s3://bucket/x", access, tmp_path)
        return
    error = reach(way, "s3://bucket/x", access, tmp_path).error
    # A page in place of a list may be a gateway's that is out of order.
    unavailable = (status, way) == (200, "list")
    assert error.code == ("StorageUnavailable" if unavailable else "StorageMisconfigured")
    assert "isn't S3" in error.message


def test_a_certificate_that_isnt_trusted_is_told_at_once(
    certificate: Path, refusing: S3, tmp_path: Path
) -> None:
    server = S3(certificate)
    try:
        access = S3Access(endpoint=server.url, retry_seconds=60)
        found = reach("read", "s3://bucket/x", access, tmp_path)
        assert (found.error.code, found.exit_code) == ("UntrustedServer", ExitCode.DENIED)
        assert "its CA" in found.error.message
        trusting = access.model_copy(update={"ca_file": str(certificate.with_suffix(".crt"))})
        server.refuse(404, "NoSuchKey")
        assert open_store("s3://bucket/x", trusting, "x").read("key") is None
    finally:
        server.close()


@pytest.mark.parametrize(
    ("changes", "uri", "code"),
    [
        ({"endpoint": "https://127.0.0.1:PORT"}, "s3://bucket/x", "StorageMisconfigured"),
        ({"endpoint": "127.0.0.1:9"}, "s3://bucket/x", "StorageMisconfigured"),
        ({"endpoint": "http://[::1"}, "s3://bucket/x", "StorageMisconfigured"),
        ({"ca_file": "/nonexistent/ca.crt"}, "s3://bucket/x", "StorageMisconfigured"),
        ({}, "s3://Not_A Bucket!/x", "BucketNotFound"),
        ({"region": "not a region"}, "s3://bucket/x", "StorageMisconfigured"),
    ],
)
def test_settings_that_cant_be_right(
    changes: dict[str, str], uri: str, code: str, refusing: S3, tmp_path: Path
) -> None:
    port = refusing.url.rpartition(":")[2]
    changes = {name: value.replace("PORT", port) for name, value in changes.items()}
    endpoint = refusing.url.replace("http:", "https:") if "ca_file" in changes else refusing.url
    access = S3Access(**{"endpoint": endpoint, "retry_seconds": 0, **changes})
    assert reach("read", uri, access, tmp_path).error.code == code


def test_a_key_without_its_secret(
    refusing: S3, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    access = S3Access(endpoint=refusing.url, retry_seconds=0)
    error = reach("read", "s3://bucket/x", access, tmp_path).error
    assert error.code == "NoCredentials"
    assert "storage.secretName" in error.message


@pytest.mark.parametrize(
    ("uri", "code"),
    [
        ("s3://no-such-bucket/rows.jsonl", "BucketNotFound"),
        ("s3://no-such-bucket/folder", "BucketNotFound"),
        ("s3://datasets/no-such.jsonl", "DatasetNotFound"),
    ],
)
def test_a_missing_bucket_isnt_a_missing_file(
    uri: str, code: str, s3: Any, seaweed: Seaweed, make_spec: MakeSpec, tmp_path: Path
) -> None:
    with pytest.raises(TrainerError) as caught:
        fetch(uri, make_spec(storage=seaweed.access().model_dump()), tmp_path / "data")
    assert caught.value.error.code == code


@pytest.mark.parametrize("key", ["data//train.jsonl", "data/../../train.jsonl", "/train.jsonl"])
def test_a_key_that_would_become_a_path_elsewhere(
    key: str, refusing: S3, make_spec: MakeSpec, tmp_path: Path
) -> None:
    item = f"<Contents><Key>x/{key}</Key><Size>3</Size><ETag>e</ETag></Contents>"
    refusing.status = 200
    refusing.body = f"<ListBucketResult><Name>b</Name>{item}</ListBucketResult>".encode()
    spec = make_spec(storage={"endpoint": refusing.url, "retry_seconds": 0})
    with pytest.raises(TrainerError) as caught:
        fetch("s3://bucket/x", spec, tmp_path / "data", wanted=["train"])
    # What isn't a split's is left where it is.
    assert caught.value.error.code in ("UnsafeKey", "DatasetNotFound")
    assert caught.value.error.code == "UnsafeKey" or ".." in key
    assert not list(tmp_path.rglob("train.jsonl*"))


@pytest.mark.parametrize(
    ("name", "value", "way", "words"),
    [
        ("AWS_ACCESS_KEY_ID", "nobody-known", "download", "AWS_ACCESS_KEY_ID"),
        ("AWS_SECRET_ACCESS_KEY", "wrong-secret", "download", "AWS_SECRET_ACCESS_KEY"),
        ("AWS_SECRET_ACCESS_KEY", "wrong-secret", "list", "AWS_SECRET_ACCESS_KEY"),
        ("AWS_ACCESS_KEY_ID", READ_ONLY_KEY, "write", "s3:PutObject"),
    ],
)
def test_a_real_s3_refuses(
    name: str,
    value: str,
    way: str,
    words: str,
    s3: Any,
    seaweed: Seaweed,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(name, value)
    found = reach(way, "s3://store/x", seaweed.access(), tmp_path)
    assert (found.error.code, found.exit_code) == ("StorageDenied", ExitCode.DENIED)
    assert words in found.error.message
