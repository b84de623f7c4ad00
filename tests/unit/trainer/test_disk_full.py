"""A full disk is told as one, wherever it is noticed. /dev/full answers each write with ENOSPC."""

import errno
import gzip
import os
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from unit.trainer.support import MakeSpec, Seaweed

from luthier_trainer.data.sources import fetch
from luthier_trainer.errors import OUT_OF_MEMORY, from_exception
from luthier_trainer.pod.usercode import UserCode
from luthier_trainer.storage import http
from luthier_trainer.storage.filestore import FileStore
from luthier_trainer.storage.open import open_store


@pytest.fixture
def full(tmp_path: Path) -> Path:
    path = tmp_path / "full"
    path.symlink_to("/dev/full")
    return path


def no_room(*_: Any, **__: Any) -> Any:
    """The file system's own answer."""
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/cache/model.safetensors")


@pytest.mark.parametrize("kind", OUT_OF_MEMORY)
@pytest.mark.parametrize(
    ("error", "place"),
    [
        (OSError(errno.ENOSPC, "No space left on device", "/cache/x"), "disk: /cache/x."),
        (OSError(errno.EDQUOT, "Disk quota exceeded", "/a", None, "/copy"), "disk: /copy."),
        # As safetensors says it.
        (RuntimeError("I/O error: No space left on device (os error 28)"), "left on device."),
    ],
)
def test_it_is_told_with_the_levers(error: Exception, place: str, kind: str) -> None:
    told = from_exception(error, kind).error
    assert (told.code, told.param) == ("DiskFull", "placement.pool")
    for words in (place, "ephemeral storage", "scratchSize", "cacheSize", "cacheClaim"):
        assert words in told.message
    assert ("checkpoints" in told.message) == (kind == "FineTuneJob")


def test_another_error_of_files_is_none() -> None:
    error = OSError(errno.EIO, "Input/output error", "/cache/x")
    assert from_exception(error).error.code == "InternalError"


def test_a_copy(full: Path, tmp_path: Path) -> None:
    (tmp_path / "weights").write_bytes(b"w" * 10**6)
    with pytest.raises(OSError, match="No space left") as caught:
        FileStore(tmp_path).download("weights", full)
    assert from_exception(caught.value).error.code == "DiskFull"


def test_rows_that_are_unpacked(full: Path, make_spec: MakeSpec, tmp_path: Path) -> None:
    """It isn't the file that is malformed."""
    rows = tmp_path / "train.jsonl.gz"
    rows.write_bytes(gzip.compress(b'{"text": "a"}\n' * 10**5))
    full.rename(tmp_path / f"{rows.name}.plain")
    with pytest.raises(OSError, match="No space left") as caught:
        fetch(f"file://{rows}", make_spec(), tmp_path)
    assert from_exception(caught.value).error.code == "DiskFull"


def test_a_download_over_http(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is no fault of the server's, and trying again doesn't help."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"weights")

    server = HTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setattr(http, "_copy", no_room)
    url = f"http://127.0.0.1:{server.server_port}/weights"
    try:
        with pytest.raises(OSError, match="No space left") as caught:
            http.Http(retry_seconds=60).download(url, tmp_path / "weights")
    finally:
        server.shutdown()
        server.server_close()
    assert from_exception(caught.value).error.code == "DiskFull"
    assert asked == ["/weights"]


def test_a_download_from_s3(
    s3: Any, seaweed: Seaweed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    s3.put_object(Bucket="models", Key="full/weights", Body=b"w" * 10**6)
    store = open_store("s3://models/full", seaweed.access(), "model.uri")
    monkeypatch.setattr("s3transfer.utils.OSUtils.open", no_room)
    with pytest.raises(OSError, match="No space left") as caught:
        store.download("weights", tmp_path / "weights")
    assert from_exception(caught.value).error.code == "DiskFull"


def test_code_of_the_user_is_not_to_blame() -> None:
    code = UserCode(Path("eval.py"), "evaluation", "evaluation.script")
    with pytest.raises(OSError, match="No space left"), code.running():
        no_room()
