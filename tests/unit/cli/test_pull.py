"""`luthier pull` and `luthier upload`: files of a real store, and what lies in their way."""

import hashlib
import json
import os
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import pytest
from unit.cli.command import fine_tune_job, luthier
from unit.cli.statuses import complete
from unit.cli.test_watch import set_status

from luthier_cluster import Cluster

FILES = {
    "README.md": b"how to use it\n",
    "adapter/adapter_model.safetensors": bytes(range(256)) * 9_000,
    "report/größe 1.html": b"<html></html>",
}


def manifest_of(files: dict[str, bytes]) -> bytes:
    listed = {
        path: {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
        for path, content in files.items()
    }
    return json.dumps({"files": listed}).encode()


def publish(folder: Path, files: dict[str, bytes] = FILES) -> Path:
    for path, content in [*files.items(), ("manifest.json", manifest_of(files))]:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content)
    return folder


def content_of(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.fixture
def artifact(tmp_path: Path) -> Path:
    return publish(tmp_path / "published")


def pulled(artifact: Path, to: Path, *options: str) -> Any:
    return luthier("pull", artifact.as_uri(), "--to", str(to), *options)


def test_all_files_come_and_are_not_brought_twice(artifact: Path, tmp_path: Path) -> None:
    to = tmp_path / "here"
    done = pulled(artifact, to)
    assert done.returncode == 0, done.stderr
    assert f"{len(FILES)} files, 2.2 MiB, {len(FILES)} of them new" in done.stdout
    assert str(to / "README.md") in done.stdout
    assert content_of(to) == content_of(artifact)
    (to / "README.md").write_bytes(b"edited!!!!!!!\n")  # of the same size
    again = json.loads(pulled(artifact, to, "-o", "json").stdout)
    assert (again["new"], again["uri"]) == (1, artifact.as_uri())
    assert content_of(to) == content_of(artifact)


def test_a_part_by_patterns(artifact: Path, tmp_path: Path) -> None:
    to = tmp_path / "here"
    assert pulled(artifact, to, "--include", "adapter/*").returncode == 0
    assert content_of(to).keys() == {"adapter/adapter_model.safetensors", "manifest.json"}
    none = pulled(artifact, tmp_path / "none", "--include", "model/*")
    assert none.returncode == 2
    assert "no file matches model/*" in none.stderr
    assert "README.md, adapter, report" in none.stderr
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("changed", [b"how to use it?", b"how to use it!\n\n", b"how"])
def test_a_file_that_was_changed_is_not_kept(
    artifact: Path, tmp_path: Path, changed: bytes
) -> None:
    (artifact / "README.md").write_bytes(changed)
    to = tmp_path / "here"
    done = pulled(artifact, to)
    assert done.returncode == 2
    assert "README.md isn't as its manifest says" in done.stderr
    assert content_of(to) == {}


def test_another_result_is_not_mixed_in(artifact: Path, tmp_path: Path) -> None:
    to = tmp_path / "here"
    assert pulled(artifact, to).returncode == 0
    other = publish(tmp_path / "other", {"README.md": b"another one"})
    done = pulled(other, to)
    assert done.returncode == 2
    assert "holds another result" in done.stderr
    assert content_of(to) == content_of(artifact)


@pytest.mark.parametrize("path", ["../out", "/tmp/out", "a/../../out", "", "a\\..\\out"])
def test_a_manifest_that_leads_out_of_the_folder(tmp_path: Path, path: str) -> None:
    listed = {path: {"sha256": "0" * 64, "bytes": 1}}
    (tmp_path / "published").mkdir()
    (tmp_path / "published" / "manifest.json").write_text(json.dumps({"files": listed}))
    done = pulled(tmp_path / "published", tmp_path / "here")
    assert done.returncode == 2
    assert "leads out of the artifact" in done.stderr
    assert os.listdir(tmp_path) == ["published"]


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"files": 3}', '{"files": {"a": 1}}'])
def test_what_is_no_manifest(tmp_path: Path, content: str) -> None:
    (tmp_path / "manifest.json").write_text(content)
    done = pulled(tmp_path, tmp_path / "here")
    assert done.returncode == 2
    assert "the manifest lists no files" in done.stderr


@dataclass(frozen=True)
class Store:
    """A bucket, and the credentials of whoever runs a command."""

    s3: Any
    bucket: str
    environment: dict[str, str]

    def names(self) -> set[str]:
        listed = self.s3.list_objects_v2(Bucket=self.bucket).get("Contents", [])
        return {item["Key"] for item in listed}


@pytest.fixture
def store(control_plane: Cluster) -> Store:
    keys = {
        "AWS_ACCESS_KEY_ID": control_plane.s3_access_key,
        "AWS_SECRET_ACCESS_KEY": control_plane.s3_secret_key,
    }
    s3 = boto3.client(
        "s3",
        endpoint_url=control_plane.s3_endpoint,
        region_name="us-east-1",
        aws_access_key_id=keys["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=keys["AWS_SECRET_ACCESS_KEY"],
    )
    bucket = f"pull-{uuid.uuid4().hex[:8]}"
    s3.create_bucket(Bucket=bucket)
    endpoint = {"AWS_ENDPOINT_URL": control_plane.s3_endpoint, "AWS_DEFAULT_REGION": "us-east-1"}
    return Store(s3, bucket, keys | endpoint)


def published_as(uri: str, digest: str) -> dict[str, Any]:
    """What a finished run has in its status."""
    body = complete()
    artifact = {"uri": uri, "manifestSha256": digest}
    return body | {"status": body["status"] | {"artifact": artifact}}


def test_what_is_uploaded_can_be_pulled_by_name(
    control_plane: Cluster, namespace: str, store: Store, artifact: Path, tmp_path: Path
) -> None:
    """As a user would: a folder into the bucket, and what a resource has in use out of it."""
    there = f"s3://{store.bucket}/team a"
    done = luthier("upload", str(artifact), there, **store.environment)
    assert done.returncode == 0, done.stderr
    uri = f"s3://{store.bucket}/team%20a/published"
    assert done.stdout.startswith(f"{uri}: 4 files, 2.2 MiB, 4 of them new")
    assert store.names() == {f"team a/published/{name}" for name in content_of(artifact)}
    again = luthier("upload", str(artifact), there, "-o", "json", **store.environment)
    assert json.loads(again.stdout)["new"] == 0

    job = json.dumps(fine_tune_job("tone", namespace))
    control_plane.kubectl("apply", "-f", "-", input=job)
    digest = hashlib.sha256(manifest_of(FILES)).hexdigest()
    status = published_as(uri, digest)
    set_status(control_plane, namespace, status)
    to = tmp_path / "here"
    command = ["pull", "tone", "-n", namespace, "--to", str(to)]
    done = luthier(*command, kubeconfig=control_plane.kubeconfig, **store.environment)
    assert done.returncode == 0, done.stderr
    assert content_of(to) == content_of(artifact)

    status = published_as(uri, "0" * 64)
    set_status(control_plane, namespace, status)
    done = luthier(*command, kubeconfig=control_plane.kubeconfig, **store.environment)
    assert done.returncode == 2
    assert "isn't the one that the run has published" in done.stderr


def test_a_result_that_is_not_there_yet(control_plane: Cluster, namespace: str) -> None:
    job = json.dumps(fine_tune_job("tone", namespace))
    control_plane.kubectl("apply", "-f", "-", input=job)
    done = luthier("pull", "tone", "-n", namespace, kubeconfig=control_plane.kubeconfig)
    assert done.returncode == 2
    assert "FineTuneJob tone has no result yet" in done.stderr
    assert "luthier watch tone" in done.stderr


def test_the_store_refuses(store: Store, artifact: Path, tmp_path: Path) -> None:
    wrong = store.environment | {"AWS_SECRET_ACCESS_KEY": "another"}
    uri = f"s3://{store.bucket}/x"
    for command in (
        ["upload", str(artifact / "README.md"), uri],
        ["pull", uri, "--to", str(tmp_path / "here")],
    ):
        done = luthier(*command, **wrong)
        assert done.returncode == 2
        assert f"s3://{store.bucket}/x" in done.stderr
        assert "AWS_ACCESS_KEY_ID" in done.stderr
        assert "another" not in done.stderr.replace("another store", "")


def test_one_file_and_none(store: Store, artifact: Path, tmp_path: Path) -> None:
    done = luthier(
        "upload", str(artifact / "README.md"), f"s3://{store.bucket}", **store.environment
    )
    assert done.stdout.startswith(f"s3://{store.bucket}/README.md: 1 file, 14 B, 1 of them new")
    for path, word in ((tmp_path / "gone", "isn't there"), (tmp_path / "empty", "is empty")):
        if word == "is empty":
            path.mkdir()
        done = luthier("upload", str(path), f"s3://{store.bucket}", **store.environment)
        assert done.returncode == 2
        assert word in done.stderr
    done = luthier("upload", str(artifact), "gs://bucket", **store.environment)
    assert "gs://bucket is no place for files" in done.stderr
