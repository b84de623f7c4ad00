"""An artifact, fetched from a real S3."""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from unit.trainer.support import Seaweed, client, create_bucket

from luthier_demo import artifacts

FILES = {"model/graph.onnx": b"graph", "report/index.html": b"page", "README.md": b"read"}


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    server = Seaweed(tmp_path_factory.mktemp("seaweed"))
    server.start()
    found = client(server.endpoint)
    create_bucket(found, "artifacts")
    yield found
    server.stop()


def publish(s3: Any, uri: str, files: dict[str, bytes]) -> dict[str, str]:
    """As a run does, beside what it leaves for its own use."""
    listed = {name: {"sha256": hashlib.sha256(data).hexdigest()} for name, data in files.items()}
    manifest = json.dumps({"files": listed}).encode()
    everything = {**files, "manifest.json": manifest, "claim.json": b"{}", "attempts/1.json": b"{}"}
    bucket, _, prefix = uri.removeprefix("s3://").partition("/")
    for name, data in everything.items():
        s3.put_object(Bucket=bucket, Key=f"{prefix}/{name}", Body=data)
    return {"uri": uri, "manifestSha256": hashlib.sha256(manifest).hexdigest()}


def contents(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def test_all_of_it_and_nothing_else(s3: Any, tmp_path: Path) -> None:
    folder = tmp_path / "package"
    artifact = publish(s3, "s3://artifacts/it/r1", {**FILES, "of-r1": b"1"})
    artifacts.download_all(s3, artifact, folder)
    found = contents(folder)
    assert set(found) == {*FILES, "of-r1", "manifest.json"}

    (folder / "mine").write_text("kept")
    artifacts.download_all(s3, artifact, folder)
    assert "mine" in contents(folder), "the same artifact was downloaded twice"

    artifacts.download_all(s3, publish(s3, "s3://artifacts/it/r2", FILES), folder)
    assert set(contents(folder)) == {*FILES, "manifest.json"}


def test_a_damaged_file_is_refused(s3: Any, tmp_path: Path) -> None:
    artifact = publish(s3, "s3://artifacts/damaged", FILES)
    s3.put_object(Bucket="artifacts", Key="damaged/model/graph.onnx", Body=b"other")
    with pytest.raises(artifacts.DamagedError, match=r"graph\.onnx of s3://artifacts/damaged"):
        artifacts.download_all(s3, artifact, tmp_path / "package")
    assert not (tmp_path / "package").exists()


def test_a_report_alone(s3: Any, tmp_path: Path) -> None:
    publish(s3, "s3://artifacts/reported", FILES)
    artifacts.download_report(s3, "s3://artifacts/reported", tmp_path)
    assert set(contents(tmp_path)) == {"report/index.html", "README.md"}
