"""Object stores: the same promises by a folder and by a real S3, and S3's faults."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from unit.trainer.support import Seaweed, client, create_bucket

from luthier_api.result import ExitCode
from luthier_api.runspec import S3Access
from luthier_trainer.errors import TrainerError
from luthier_trainer.storage import uploaded
from luthier_trainer.storage.objectstore import ObjectStore
from luthier_trainer.storage.open import open_store


@pytest.fixture(params=["file", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> ObjectStore:
    if request.param == "file":
        return open_store(f"file://{tmp_path}/store", S3Access(), "output.uri")
    request.getfixturevalue("s3")
    seaweed: Seaweed = request.getfixturevalue("seaweed")
    base = f"s3://store/{time.monotonic_ns()}"
    return open_store(base, seaweed.access(), "output.uri")


def test_objects_are_read_as_written(store: ObjectStore, tmp_path: Path) -> None:
    big = tmp_path / "big"
    big.write_bytes(b"0123456789" * 4_000_000)  # several parts
    store.write("a/one", b"1")
    store.upload("a/big", big)
    store.download("a/big", tmp_path / "copy" / "big")

    assert store.read("a/one") == b"1"
    assert store.read("a/none") is None
    assert (tmp_path / "copy" / "big").read_bytes() == big.read_bytes()
    assert [(e.key, e.size) for e in store.entries("a/")] == [("a/big", 40_000_000), ("a/one", 1)]
    with pytest.raises(FileNotFoundError):
        store.download("a/none", tmp_path / "none")

    store.delete(["a/one", "a/big", "a/none"])
    assert store.entries() == []


def test_what_goes_to_s3_is_counted(s3: Any, seaweed: Seaweed, tmp_path: Path) -> None:
    store = open_store(f"s3://store/{time.monotonic_ns()}", seaweed.access(), "output.uri")
    before = uploaded.total()
    file = tmp_path / "file"
    file.write_bytes(b"0123456789" * 100)
    store.upload("a/file", file)
    store.write("a/plain", b"12345")
    assert store.write_once("a/once", b"123")
    assert not store.write_once("a/once", b"other, and refused")
    assert uploaded.total() - before == 1008


def test_one_of_many_writes_once(store: ObjectStore) -> None:
    with ThreadPoolExecutor(8) as pool:
        won = list(pool.map(lambda i: store.write_once("claim", b"%d" % i), range(8)))
    assert won.count(True) == 1
    assert store.read("claim") == b"%d" % won.index(True)
    assert store.write_once("claim", b"%d" % won.index(True))  # the same content is no conflict


def test_replace_needs_the_present_etag(store: ObjectStore) -> None:
    store.write("claim", b"old")
    tagged = store.read_tagged("claim")
    assert tagged
    assert store.replace("claim", b"new", tagged[1])
    assert not store.replace("claim", b"newer", tagged[1])
    assert store.read("claim") == b"new"


@pytest.mark.parametrize(
    ("uri", "environment", "code", "exit_code", "names"),
    [
        ("s3://no-such-bucket/x", {}, "BucketNotFound", ExitCode.NOT_FOUND, "no-such-bucket"),
        (
            "s3://store/x",
            {"AWS_SECRET_ACCESS_KEY": "wrong"},
            "StorageDenied",
            ExitCode.DENIED,
            "storage.secretName",
        ),
        (
            "s3://store/x",
            {"AWS_ACCESS_KEY_ID": "nobody"},
            "StorageDenied",
            ExitCode.DENIED,
            "storage.secretName",
        ),
    ],
)
def test_what_cannot_heal_fails_at_once(
    uri: str,
    environment: dict[str, str],
    code: str,
    exit_code: ExitCode,
    names: str,
    s3: Any,
    seaweed: Seaweed,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    started = time.monotonic()
    with pytest.raises(TrainerError) as caught:
        open_store(uri, seaweed.access(), "model.uri").entries()
    assert (caught.value.error.code, caught.value.exit_code) == (code, exit_code)
    assert caught.value.error.param == "model.uri"
    assert names in caught.value.error.message
    assert time.monotonic() - started < seaweed.access().retry_seconds


def test_without_credentials(seaweed: Seaweed, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent")
    with pytest.raises(TrainerError) as caught:
        open_store("s3://store/x", seaweed.access(), "model.uri").read("key")
    assert caught.value.error.code == "NoCredentials"
    assert caught.value.exit_code == ExitCode.DENIED


def test_unreachable_fails_after_the_allowed_time(s3: Any) -> None:
    access = S3Access(endpoint="http://127.0.0.1:9", retry_seconds=2)
    started = time.monotonic()
    with pytest.raises(TrainerError) as caught:
        open_store("s3://store/x", access, "output.uri").read("key")
    assert caught.value.error.code == "StorageUnavailable"
    assert caught.value.exit_code == ExitCode.STORAGE_UNAVAILABLE
    assert 2 <= time.monotonic() - started < 15


def test_a_store_that_comes_back_is_waited_for(s3: Any, tmp_path: Path) -> None:
    own = Seaweed(tmp_path / "weed")
    back = threading.Timer(3, own.start)
    own.start()
    try:
        create_bucket(client(own.endpoint), "store")
        store = open_store("s3://store/x", own.access(retry_seconds=60), "output.uri")
        own.stop()
        back.start()
        store.write("key", b"value")
        back.join()
        assert store.read("key") == b"value"
    finally:
        back.cancel()
        if back.is_alive():
            back.join(90)
        own.stop()


def test_files_only_below_the_allowed_folders(tmp_path: Path) -> None:
    (tmp_path / "allowed").mkdir()
    allowed = [str(tmp_path / "allowed")]
    open_store(f"file://{tmp_path}/allowed/x", S3Access(), "model.uri", allowed)
    for path in (f"{tmp_path}/other", f"{tmp_path}/allowed/../other"):
        with pytest.raises(TrainerError) as caught:
            open_store(f"file://{path}", S3Access(), "model.uri", allowed)
        assert caught.value.error.code == "FileNotAllowed"
        assert caught.value.exit_code == ExitCode.DENIED
