"""The errand that keeps storage in order: what it writes, what it deletes, what it leaves alone."""

import json
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from unit.trainer.support import Seaweed, TrainerProcess

from luthier_api.result import ExitCode
from luthier_api.runspec import InUseOrder, KeepOrder, RunIdentity, S3Access
from luthier_trainer.errands.keep import Keep
from luthier_trainer.errands.prune import surplus
from luthier_trainer.errors import Interrupted, TrainerError
from luthier_trainer.storage.filestore import FileStore
from luthier_trainer.storage.objectstore import ObjectStore
from luthier_trainer.storage.open import open_store

SHAPE = "ab" * 32
R1, R2, R3, R4, R5 = (f"r{number}-abababab" for number in range(1, 6))


@pytest.fixture(params=["file", "s3"])
def output(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, S3Access]:
    """The folder of all revisions of FineTuneJob team-a/tone."""
    if request.param == "file":
        return f"file://{tmp_path}/out/team-a/tone", S3Access()
    request.getfixturevalue("s3")
    seaweed: Seaweed = request.getfixturevalue("seaweed")
    return f"s3://store/{tmp_path.name}/team-a/tone", seaweed.access()


@pytest.fixture
def folder(output: tuple[str, S3Access]) -> ObjectStore:
    return open_store(*output, "output.uri")


Order = Callable[..., KeepOrder]


def keep_order(uri: str, access: S3Access | None = None, **fields: Any) -> KeepOrder:
    return KeepOrder(
        role="keep",
        run=RunIdentity(namespace="team-a", name="tone", uid="uid-1", revision=R5, attempt=1),
        shape_hash=SHAPE,
        output=uri,
        storage=access or S3Access(),
        **fields,
    )


@pytest.fixture
def order(output: tuple[str, S3Access]) -> Order:
    return partial(keep_order, *output)


def lay(
    folder: ObjectStore,
    revision: str,
    *,
    finished: bool = True,
    ended: bool = True,
    **claim: str,
) -> None:
    """A revision as a run leaves it."""
    held = {"kind": "FineTuneJob", "namespace": "team-a", "name": "tone", "uid": "uid-1", **claim}
    held |= {"shapeHash": SHAPE, "datasetDigest": "sha256:data"}
    record = {
        "uid": held["uid"],
        "pod": "pod",
        "attempt": 1,
        "ordinal": 1,
        "startedAt": "2026-01-01T00:00:00+00:00",
        "outcome": "Succeeded" if ended else None,
    }
    folder.write(f"{revision}/claim.json", json.dumps(held).encode())
    folder.write(f"{revision}/attempts/pod.json", json.dumps(record).encode())
    folder.write(f"{revision}/checkpoints/step-000001/state.safetensors", b"weights")
    folder.write(f"{revision}/adapter/adapter_model.safetensors", b"weights")
    if finished:
        folder.write(f"{revision}/manifest.json", b"{}")


def left(folder: ObjectStore) -> list[str]:
    names = {entry.key.partition("/")[0] for entry in folder.entries() if "/" in entry.key}
    return sorted(names)


def in_use(uri: str, name: str, **more: Any) -> InUseOrder:
    return InUseOrder(
        revision=name,
        uri=f"{uri}/{name}",
        manifest_sha256="0" * 64,
        since="2026-01-01T00:00:00Z",
        **more,
    )


def test_in_use_json_says_what_is_wanted(folder: ObjectStore, order: Order) -> None:
    wanted = in_use(folder.uri, R1, metrics={"accuracy": 0.5})
    assert Keep(order(in_use=wanted)).execute().in_use == R1
    assert json.loads(folder.read("in-use.json") or b"") == {
        "apiVersion": "luthier.dev/v1alpha1",
        "revision": R1,
        "uri": f"{folder.uri}/{R1}",
        "manifestSha256": "0" * 64,
        "since": "2026-01-01T00:00:00Z",
        "metrics": {"accuracy": 0.5},
    }
    # The same result, whose time somebody else noted: nothing is written.
    before = folder.read("in-use.json")
    later = wanted.model_copy(update={"since": "2026-01-01T00:00:07Z"})
    assert Keep(order(in_use=later)).execute().in_use == R1
    assert folder.read("in-use.json") == before

    Keep(order(in_use=in_use(folder.uri, R2))).execute()
    assert json.loads(folder.read("in-use.json") or b"")["revision"] == R2
    assert Keep(order()).execute().in_use is None
    assert folder.read("in-use.json") is None


def test_what_another_wrote_meanwhile_is_seen_before_it_is_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = FileStore(tmp_path / "out/team-a/tone")
    told = iter([in_use("file:///x", R1), in_use("file:///x", R2)])
    read = FileStore.read_tagged

    def read_and_be_overtaken(self: FileStore, key: str) -> Any:
        found = read(self, key)
        if other := next(told, None):
            self.write(key, json.dumps(other.to_json()).encode())
        return found

    monkeypatch.setattr(FileStore, "read_tagged", read_and_be_overtaken)
    Keep(keep_order(folder.uri, in_use=in_use("file:///x", R3))).execute()
    assert json.loads(folder.read("in-use.json") or b"")["revision"] == R3


def test_the_newest_stay_beside_what_is_in_use_and_what_is_kept() -> None:
    names = {"in_use": in_use("s3://b/a/b", "r2-cd"), "kept": ["r1-cd"]}
    run = RunIdentity(namespace="a", name="b", uid="u", revision="r9-cd", attempt=1)
    order = keep_order("s3://b/a/b", newest=2, **names).model_copy(update={"run": run})
    finished = ["manifest.json", "claim.json"]
    found: dict[str, list[str]] = {f"r{number}-cd": finished for number in range(8, 0, -1)}
    assert surplus(found, order) == ["r3-cd", "r4-cd", "r5-cd", "r6-cd"]
    # Unfinished: one that was superseded goes, however new; the current one never does.
    found |= {"r8-cd": ["claim.json"], "r9-cd": ["claim.json"]}
    assert surplus(found, order) == ["r3-cd", "r4-cd", "r5-cd", "r8-cd"]
    # A result that was found again lies where an earlier revision made it.
    again = order.in_use.model_copy(update={"revision": "r9-cd"}) if order.in_use else None
    assert "r2-cd" not in surplus(found, order.model_copy(update={"in_use": again}))
    assert surplus(found, order.model_copy(update={"newest": None})) == []
    everything = order.model_copy(update={"everything": True})
    assert set(surplus(found, everything)) == set(found)


def test_what_is_older_is_deleted(folder: ObjectStore, order: Order) -> None:
    for name in (R1, R2, R4):
        lay(folder, name)
    lay(folder, R3, finished=False, ended=False)  # killed; a later one has begun since
    lay(folder, R5, finished=False)
    folder.write("notes/mine.txt", b"somebody's")
    result = Keep(order(in_use=in_use(folder.uri, R2), newest=1)).execute()
    assert result.deleted == [R1, R3]
    assert left(folder) == ["notes", R2, R4, R5]
    # Once more: there is nothing left to do.
    assert Keep(order(in_use=in_use(folder.uri, R2), newest=1)).execute().deleted == []


def test_what_another_claims_and_where_a_pod_may_write_is_left_alone(
    folder: ObjectStore, order: Order, capfd: pytest.CaptureFixture[str]
) -> None:
    lay(folder, R1, kind="OptimizeJob")
    lay(folder, R2, name="other")
    lay(folder, R3)
    folder.delete([f"{R3}/claim.json"])
    lay(folder, R4, finished=False, ended=False)
    assert Keep(order(everything=False, newest=1)).execute().deleted == []
    assert left(folder) == [R1, R2, R3, R4]
    assert f"{R4} is left alone: a pod may still write there" in capfd.readouterr().err

    lay(folder, R5, uid="uid-0")  # of one of its name before
    folder.write("in-use.json", b"{}")
    assert Keep(order(everything=True)).execute().deleted == [R4, R5]
    assert left(folder) == [R1, R2, R3]
    assert folder.read("in-use.json") is None
    assert folder.read(f"{R1}/manifest.json")


def test_a_deletion_goes_from_the_manifest_to_the_claim_and_is_taken_up_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = FileStore(tmp_path / "out/team-a/tone")
    for name in (R1, R4):
        lay(folder, name)
    gone: list[str] = []
    stops = [True]
    delete = FileStore.delete

    def until_the_weights(self: FileStore, keys: list[str]) -> None:
        if f"{R1}/adapter/adapter_model.safetensors" in keys and stops:
            raise Interrupted
        delete(self, keys)
        gone.extend(keys)

    monkeypatch.setattr(FileStore, "delete", until_the_weights)
    wanted = keep_order(folder.uri, newest=1)
    with pytest.raises(Interrupted):
        Keep(wanted).execute()
    assert gone[:2] == ["in-use.json", f"{R1}/manifest.json"]
    assert folder.read(f"{R1}/claim.json")
    stops.clear()
    assert Keep(wanted).execute().deleted == [R1]
    assert gone[-2:] == [f"{R1}/attempts/pod.json", f"{R1}/claim.json"]
    assert left(folder) == [R4]


def test_unfinished_uploads_are_ended(s3: Any, seaweed: Seaweed, tmp_path: Path) -> None:
    uri = f"s3://store/{tmp_path.name}-uploads/team-a/tone"
    folder = open_store(uri, seaweed.access(), "output.uri")
    wanted = keep_order(uri, seaweed.access(), newest=1)
    prefix = uri.removeprefix("s3://store/")
    for name in (R1, R4):
        lay(folder, name)
        s3.create_multipart_upload(Bucket="store", Key=f"{prefix}/{name}/checkpoints/big")
    Keep(wanted).execute()
    # Those of what stays may be of a pod that runs, as long as they are young.
    kept = s3.list_multipart_uploads(Bucket="store", Prefix=f"{prefix}/").get("Uploads", [])
    assert [it["Key"] for it in kept] == [f"{prefix}/{R4}/checkpoints/big"]
    assert folder.abort_uploads("", timedelta(0)) == 1


def test_it_fails_in_words_where_storage_is_gone_or_denies(
    s3: Any, seaweed: Seaweed, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = keep_order("s3://store/a/b", seaweed.access(), everything=True)
    with pytest.raises(TrainerError) as caught:
        Keep(wanted.model_copy(update={"output": "s3://no-such-bucket/a/b"})).execute()
    error = caught.value
    assert (error.error.code, error.exit_code) == ("BucketNotFound", ExitCode.NOT_FOUND)
    assert error.error.param == "output.uri"
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    with pytest.raises(TrainerError) as caught:
        Keep(wanted).execute()
    assert caught.value.exit_code == ExitCode.DENIED


def test_a_pod_of_it_tells_what_it_did_without_torch(
    tmp_path: Path, start_trainer: Callable[..., TrainerProcess]
) -> None:
    folder = FileStore(tmp_path / "out/team-a/tone")
    for name in (R1, R2, R4):
        lay(folder, name)
    wanted = keep_order(folder.uri, newest=1, in_use=in_use(folder.uri, R4))
    pod = start_trainer(wanted, PYTHONPROFILEIMPORTTIME="1")
    assert pod.wait() == ExitCode.SUCCEEDED, pod.log.read_text()
    assert pod.result() == {
        "revision": R5,
        "attempt": 1,
        "outcome": "Succeeded",
        "deleted": [R1],
        "inUse": R4,
    }
    imported = pod.log.read_text()
    assert "luthier_trainer.errands.keep" in imported
    assert "| torch" not in imported
    assert "transformers" not in imported
