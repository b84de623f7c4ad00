"""Faults that hit the build of a package or of a bundle: what was done is kept, nothing is
published by halves, and what can't heal says why and how, once."""

import hashlib
import json
import os
import signal
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from e2e.places import WEIGHTS, Place, flipped, made, manifests, put, states, train
from e2e.processes import stopped, trainer_of
from e2e.runs import Run, eventually

from luthier_cluster import Cluster
from luthier_demo import content


@pytest.fixture(scope="module")
def place(luthier: Cluster, s3: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """With `brief`, an adapter to be deleted."""
    folder = tmp_path_factory.mktemp("faults")
    with made(luthier, s3, "package-faults", folder) as found:
        content.upload(luthier, folder / "adapters" / "two", "artifacts", f"{found.tag}/brief")
        yield found


@pytest.fixture(scope="module")
def trained(place: Place) -> Run:
    return train(place)


@pytest.fixture(scope="module")
def bundle(place: Place) -> Run:
    """A bundle with a package in use."""
    run = place.bundle("voices")
    run.apply(place.adapters("one"))
    run.wait("Ready", within=300)
    return run


@contextmanager
def read_only(cluster: Cluster) -> Iterator[None]:
    """S3 refuses to write, for whatever key."""
    table = cluster.layout.config / "s3.json"
    before = table.read_text()
    document = json.loads(before)
    for identity in document["identities"]:
        identity["actions"] = ["Read", "List"]
    try:
        restart_s3(cluster, table, json.dumps(document))
        yield
    finally:
        restart_s3(cluster, table, before)


def restart_s3(cluster: Cluster, table: Path, rights: str) -> None:
    """S3 with that table of rights, which it reads when it starts."""
    cluster.stop("s3")
    table.write_text(rights)
    cluster.start("s3")


def stamps(run: Run, uri: str) -> dict[str, tuple[str, str]]:
    """Objects below a folder: key → content and time of the last write."""
    return {
        key: (entry["ETag"], str(entry["LastModified"])) for key, entry in run.objects(uri).items()
    }


def until_replaced(run: Run, before: str, within: float = 180) -> list[str]:
    """Wait for another package in use; the URIs of those that were in use meanwhile."""
    seen = []

    def replaced() -> bool:
        seen.append(run.status["current"]["uri"])
        return bool(seen[-1] != before)

    try:
        eventually(f"{run.name} has another package", replaced, within, every=0.2)
    except AssertionError as error:
        raise AssertionError(f"{error}\n{run.story()}") from None
    return seen


def test_a_killed_run_goes_on_with_the_candidate_that_is_left(place: Place) -> None:
    run = place.optimize("left")
    run.apply({"precisions": ["int8", "fp32"]})
    first = run.wait_for_line("stage: Building fp32")
    os.kill(trainer_of(run, first), signal.SIGKILL)
    shelf = f"{run.output_uri.rpartition('/')[0]}/cache/"
    second = run.wait_for_line("int8: built and measured before", besides=first)
    kept = stamps(run, shelf)
    measured = [key for key in kept if "/measured-" in key]
    assert len(measured) == 2, "the source and int8"

    run.wait("Ready", within=180)
    after = stamps(run, shelf)
    assert {key: after.get(key) for key in kept} == kept, "written once"
    assert len([key for key in after if "/measured-" in key]) == 3
    log = run.log(second)
    assert "stage: Building int8" not in log
    assert "stage: Building fp32" in log
    status = run.status
    verdicts = {it["precision"]: it["verdict"] for it in status["candidates"]}
    assert verdicts == {"int8": "Chosen", "fp32": "Passed"}
    assert status["restarts"] == {"failures": 1, "disruptions": 0, "total": 1}
    spent = [
        json.loads(run.read(f"s3://artifacts/{key}"))["usage"]["cpuSeconds"]
        for key in run.objects(f"{run.output_uri}/attempts/")
    ]
    assert len(spent) == 2
    assert min(spent) > 0
    assert status["usage"]["cpuSeconds"] == pytest.approx(sum(spent), abs=0.11)
    assert len(run.jobs()) == 1


def test_a_killed_build_publishes_one_package(place: Place, bundle: Run) -> None:
    published, before = manifests(bundle), bundle.status["current"]["uri"]
    bundle.apply(place.adapters("one", "two"))
    first = bundle.wait_for_line("stage: Fetching")
    with stopped(bundle, first):
        assert bundle.output_uri != before
        assert manifests(bundle) == published
        assert bundle.status["current"]["uri"] == before
        assert bundle.condition("Ready")["reason"] == "Updating"
        bundle.kubectl("delete", "pod", first, "--grace-period=0", "--force")
    seen = until_replaced(bundle, before)
    assert set(seen) == {before, bundle.output_uri}
    assert manifests(bundle) == published | {bundle.output_uri}
    assert states(bundle) == {"one": "Included", "two": "Included"}
    assert bundle.status["restarts"]["total"] == 1
    revision = bundle.status["revision"]
    jobs = [job["metadata"]["labels"]["luthier.dev/revision"] for job in bundle.jobs()]
    assert jobs.count(revision) == 1


def test_a_spec_edited_in_mid_build_publishes_the_new_one_alone(place: Place, bundle: Run) -> None:
    published, before = manifests(bundle), bundle.status["current"]["uri"]
    bundle.apply(place.adapters("one", "three"))
    given_up = bundle.wait_for_line("stage: Fetching")
    old = bundle.status
    bundle.apply(place.adapters("one", "four"))
    seen = until_replaced(bundle, before)
    status = bundle.status
    assert set(seen) == {before, status["current"]["uri"]}
    assert status["current"]["uri"] == bundle.output_uri
    assert manifests(bundle) == published | {bundle.output_uri}
    assert status["history"][0]["revision"] == old["revision"] != status["revision"]
    assert status["history"][0]["outcome"] == "Superseded"
    assert "artifactUri" not in status["history"][0]
    assert old["jobName"] not in [job["metadata"]["name"] for job in bundle.jobs()]
    assert given_up not in [pod["metadata"]["name"] for pod in bundle.pods()]
    index = json.loads(bundle.read(f"{bundle.output_uri}/index.json"))
    assert [it["name"] for it in index["adapters"]] == ["one", "four"]
    assert states(bundle) == {"one": "Included", "four": "Included"}
    assert status["restarts"]["total"] == 0


def test_storage_and_an_adapter_gone_in_mid_build(place: Place) -> None:
    run = place.bundle("outage")
    run.apply(place.adapters("one", "brief"))
    pod = run.wait_for_line("stage: Building")
    # It was fetched before.
    for key in run.objects(f"{place.adapter('brief')}/"):
        place.s3.delete_object(Bucket="artifacts", Key=key)
    folder = run.output_uri
    manifest = f"{folder.removeprefix('s3://artifacts/')}/manifest.json"
    listing: set[str] = set()

    def published() -> bool:
        listing.clear()
        listing.update(run.objects(f"{folder}/"))
        return manifest in listing

    with ExitStack() as stack:
        with stopped(run, pod):
            place.cluster.stop("s3")
            stack.callback(place.cluster.start, "s3")
        run.wait_for_line("trying again for")
        assert "current" not in run.status
        stack.enter_context(stopped(run, pod))
        place.cluster.start("s3")
        assert not published()
    eventually("the bundle is published", published, within=120, every=0.01)
    files = json.loads(run.read(f"s3://artifacts/{manifest}"))["files"]
    whole = {f"{folder.removeprefix('s3://artifacts/')}/{name}" for name in files}
    assert whole <= listing, "the manifest comes last"
    run.wait("Ready", within=60)
    assert [it["metadata"]["name"] for it in run.pods()] == [pod], "the same pod went on"
    assert states(run) == {"one": "Included", "brief": "Included"}


def test_rights_lost_in_mid_build_are_told_once_and_restored(place: Place) -> None:
    run = place.optimize("denied")
    run.apply()
    pod = run.wait_for_line("stage: Measuring the source")
    with ExitStack() as stack:
        with stopped(run, pod):
            stack.enter_context(read_only(place.cluster))
        failed = run.wait("Failed", within=120)
    assert failed["reason"] == "StorageDenied", run.story()
    folder = run.output_uri.rpartition("/")[0]
    for word in ("output.uri", f"{folder}/cache", "/measured-", "denied", "storage.secretName"):
        assert word.lower() in failed["message"].lower(), failed["message"]
    assert run.condition("Stalled")["reason"] == "StorageDenied"
    assert [it["metadata"]["name"] for it in run.pods()] == [pod], "no restarts"
    assert not manifests(run)
    assert place.cluster.s3_secret_key not in run.story()

    run.retry()
    run.wait("Ready", within=120)
    assert manifests(run) == {run.output_uri}


def test_an_output_that_another_one_writes_is_left_alone(place: Place) -> None:
    """A bundle is deleted without its Job, and made again: both are to write the same folder."""
    run = place.bundle("twin")
    run.apply(place.adapters("two"))
    first = run.wait_for_line("stage: Loading")
    folder, uid = run.output_uri, run.get()["metadata"]["uid"]
    with stopped(run, first):
        run.kubectl("delete", "adapterbundle", "twin", "--cascade=orphan")
        run.apply(place.adapters("two"))
        failed = run.wait("Failed", within=60)
        assert run.output_uri == folder
    assert failed["reason"] == "OutputClaimed"
    owner = f"AdapterBundle {place.namespace}/twin (uid {uid})"
    for word in ("output.uri", folder, owner, "choose another output.uri"):
        assert word in failed["message"], failed["message"]
    assert len(run.pods()) == 2, "one of each"

    # The first one goes on, and publishes what the other one can take.
    eventually("the first is published", lambda: folder in manifests(run), within=120)
    theirs = stamps(run, f"{folder}/")
    digest = hashlib.sha256(run.read(f"{folder}/manifest.json")).hexdigest()
    run.retry()
    run.wait("Ready", within=60)
    assert run.status["current"] == {"uri": folder, "manifestSha256": digest}
    assert stamps(run, f"{folder}/") == theirs, "not a byte of it was written again"


def test_a_source_is_damaged_mended_and_deleted_in_mid_build(place: Place, trained: Run) -> None:
    weights = f"{trained.status['artifact']['uri']}/adapter/{WEIGHTS}"
    whole = trained.read(weights)
    put(place, weights, flipped(whole))
    run = place.optimize("follower")
    run.apply({"source": {"modelUri": None, "fineTuneJobRef": {"name": "trained"}}})
    failed = run.wait("Failed", within=60)
    assert failed["reason"] == "SourceDamaged"
    for word in ("source.fineTuneJobRef", weights, "run the FineTuneJob again"):
        assert word in failed["message"], failed["message"]
    assert len(run.pods()) == 1
    assert not manifests(run)

    put(place, weights, whole)
    run.retry()
    pod = run.wait_for_line("stage: Measuring the source")
    with stopped(run, pod):
        trained.delete()
        eventually(
            "it says that its source is gone",
            lambda: run.condition("SourceReady").get("reason") == "Taken",
            within=30,
        )
    run.wait("Ready", within=120)
    told = run.condition("SourceReady")
    assert told["status"] == "True"
    assert "There is no FineTuneJob trained" in told["message"]
    assert run.status["artifact"]["uri"] == run.output_uri
