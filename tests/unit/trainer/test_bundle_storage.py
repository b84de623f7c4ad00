"""Objects are copied within their store."""

import time
from pathlib import Path

import pytest
from unit.trainer.support import Seaweed

from luthier_api.runspec import S3Access
from luthier_trainer.errors import TrainerError
from luthier_trainer.storage.objectstore import join
from luthier_trainer.storage.open import open_store


@pytest.mark.parametrize("kind", ["file", "s3"])
def test_a_copy_is_the_same_and_its_own(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    access, base = S3Access(), f"file://{tmp_path}/stores"
    if kind == "s3":
        request.getfixturevalue("s3")
        seaweed: Seaweed = request.getfixturevalue("seaweed")
        access, base = seaweed.access(), f"s3://store/{time.monotonic_ns()}"
    old = open_store(f"{base}/old", access, "output.uri")
    new = open_store(f"{base}/new", access, "output.uri")
    big = tmp_path / "big"
    big.write_bytes(b"0123456789" * 4_000_000)  # several parts
    old.upload("a/big file", big)

    new.copy("b/copy", join(old.uri, "a/big file"))
    assert new.read("b/copy") == big.read_bytes()
    old.delete(["a/big file"])
    assert new.read("b/copy") == big.read_bytes()

    with pytest.raises(FileNotFoundError):
        new.copy("b/none", join(old.uri, "a/big file"))
    assert new.read("b/none") is None
    assert [entry.key for entry in new.entries()] == ["b/copy"]


def test_a_copy_to_no_bucket_says_so(s3: object, seaweed: Seaweed) -> None:
    old = open_store("s3://store/x", seaweed.access(), "output.uri")
    old.write("y", b"1")
    missing = open_store("s3://no-such-bucket/x", seaweed.access(), "output.uri")
    with pytest.raises(TrainerError, match=r"no-such-bucket"):
        missing.copy("y", "s3://store/x/y")
