"""Faults that hit the build of a package or of a bundle: what was done is kept, nothing is
published by halves, and what can't heal says why and how, once."""

import hashlib
import json
import os
import signal
from collections.abc import Iterator
from typing import Any

import pytest
from e2e.places import WEIGHTS, Place, flipped, made, manifests, put, start_training, states
from e2e.processes import stopped, trainer_of
from e2e.runs import Run, eventually

from luthier_cluster import Cluster


@pytest.fixture(scope="module")
def place(luthier: Cluster, s3: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with made(luthier, s3, "package-faults", tmp_path_factory.mktemp("faults")) as found:
        yield found


@pytest.fixture(scope="module", autouse=True)
def begun(place: Place) -> tuple[Run, Run]:
    """What later tests stand on, applied first: a FineTuneJob and a bundle."""
    bundle = place.bundle("voices")
    bundle.apply(place.adapters("one"))
    return start_training(place), bundle


@pytest.fixture(scope="module")
def trained(begun: tuple[Run, Run]) -> Run:
    """A FineTuneJob with a result, of another base."""
    begun[0].wait("Ready", within=300)
    return begun[0]


@pytest.fixture(scope="module")
def bundle(begun: tuple[Run, Run]) -> Run:
    """A bundle with a package in use."""
    begun[1].wait("Ready", within=300)
    return begun[1]


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
    # Each pod marks what it uses.
    kept = {key: stamp for key, stamp in stamps(run, shelf).items() if "/users/" not in key}
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


def test_a_namesake_waits_for_the_pod_that_writes_and_takes_its_package(place: Place) -> None:
    """A bundle is deleted without its Job, and made again: both are to write the same folder."""
    run = place.bundle("twin")
    run.apply(place.adapters("two"))
    first = run.wait_for_line("stage: Loading")
    folder = run.output_uri
    with stopped(run, first):
        run.kubectl("delete", "adapterbundle", "twin", "--cascade=orphan")
        run.apply(place.adapters("two"))
        held = eventually(
            "the namesake waits",
            lambda: run.status.get("phase") and run.condition("Scheduled"),
            within=60,
        )
        assert (held["status"], held["reason"]) == ("False", "Stopping")
        assert first in held["message"]
        assert run.output_uri == folder
        assert [pod["metadata"]["name"] for pod in run.pods()] == [first]

    # The first one goes on, and publishes what the other one takes.
    eventually("the first is published", lambda: folder in manifests(run), within=120)
    theirs = stamps(run, f"{folder}/")
    digest = hashlib.sha256(run.read(f"{folder}/manifest.json")).hexdigest()
    run.wait("Ready", within=60)
    assert len(run.pods()) == 2, "one of each"
    assert run.status["current"] == {"uri": folder, "manifestSha256": digest}
    after = stamps(run, f"{folder}/")
    assert {key: after.get(key) for key in theirs} == theirs, "none of it was written again"


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
