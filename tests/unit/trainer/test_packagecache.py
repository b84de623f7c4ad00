"""The cache of packages: what others use stays, what is damaged is made anew."""

from pathlib import Path

import pytest

from luthier_trainer.optimize.packagecache import PackageCache
from luthier_trainer.storage.filestore import FileStore


def put(cache: PackageCache, key: str, folder: Path) -> None:
    (folder / key).mkdir(parents=True, exist_ok=True)
    (folder / key / "model.onnx").write_text(key)
    cache.put(key, folder / key)


def keys(store: FileStore) -> set[str]:
    return {entry.key.partition("/")[0] for entry in store.entries() if "package" in entry.key}


def test_what_another_put_there_or_uses_stays(tmp_path: Path) -> None:
    store = FileStore(tmp_path / "cache")
    mine, theirs = PackageCache(store, "mine"), PackageCache(store, "theirs")
    put(mine, "old", tmp_path / "made")
    put(mine, "shared", tmp_path / "made")
    put(theirs, "other", tmp_path / "made")
    assert theirs.fetch("shared", tmp_path / "fetched")
    store.write("before/package.json", b'{"files": {}}')  # of a version without marks

    mine.keep_only({"new"})
    assert keys(store) == {"shared", "other", "before"}
    theirs.keep_only({"new"})
    assert keys(store) == {"before"}
    assert all("users" not in entry.key for entry in store.entries())


@pytest.mark.parametrize(
    "listing",
    [
        b"[",
        b"[]",
        b"{}",
        b'{"files": ["a"]}',
        b'{"files": {"../up": {"sha256": "0", "bytes": 1}}}',
        b'{"files": {"a": 1}}',
        b"[" * 100_000,
    ],
)
def test_a_damaged_listing(listing: bytes, tmp_path: Path) -> None:
    store = FileStore(tmp_path / "cache")
    store.write("key/package.json", listing)
    store.write("key/measured-x.json", listing)
    cache = PackageCache(store, "uid")
    assert cache.listing("key") is None
    assert not cache.fetch("key", tmp_path / "fetched")
    assert not (tmp_path / "up").exists()
