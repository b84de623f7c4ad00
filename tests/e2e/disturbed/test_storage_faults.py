"""S3 that is gone for a while, or refuses: what writes there waits, or says why it can't.

One outage hits a training and a build of a bundle in the middle, and a run that begins in it.
"""

import json
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from e2e.places import Place, made, manifests, states
from e2e.processes import Held, hold_at, stopped, trainer_of
from e2e.runs import Json, Run, eventually
from e2e.specs import TINY

from luthier_cluster import Cluster
from luthier_demo import content

SECONDS = 30


@pytest.fixture(scope="module")
def place(luthier: Cluster, s3: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """With `brief`, an adapter to be deleted."""
    folder = tmp_path_factory.mktemp("storage")
    with made(luthier, s3, "storage", folder) as found:
        content.upload(luthier, folder / "adapters" / "two", "artifacts", f"{found.tag}/brief")
        yield found


@dataclass(frozen=True)
class Outage:
    """What it hit. The training and the run that began in it have ended since; the bundle is held
    where it was when S3 came back."""

    calm: Run
    training: Run
    pod: str
    begun: Run
    failed: Json
    bundle: Held
    bundle_said: Json


@pytest.fixture(scope="module")
def outage(place: Place) -> Iterator[Outage]:
    """All that it hits stands still until S3 is gone."""

    def fine_tune(name: str) -> Run:
        return Run(place.cluster, place.namespace, name, place.s3, TINY)

    calm, training, begun = map(fine_tune, ("calm", "training", "begun"))
    bundle = place.bundle("bundle")
    with ExitStack() as stack:
        training.apply()
        calm.apply()
        [held] = hold_at({"training": training}, {"training": 100})
        stack.callback(held.release)
        bundle.apply(place.adapters("one", "brief"))
        builder = bundle.wait_for_line("stage: Building")
        building = Held(bundle, builder, trainer_of(bundle, builder))
        stack.callback(building.release)
        building.stop()
        calm.wait("Ready", within=240)
        for key in bundle.objects(f"{place.adapter('brief')}/"):  # it was fetched before
            place.s3.delete_object(Bucket="artifacts", Key=key)

        place.cluster.stop("s3")
        stack.callback(place.cluster.start, "s3")
        until = time.monotonic() + SECONDS
        held.release()
        building.release()
        begun.apply({"placement": {"pool": "impatient"}})
        bundle.wait_for_line("trying again for")
        said = bundle.status
        building.stop()
        failed = begun.wait("Failed", within=120)
        time.sleep(max(0, until - time.monotonic()))
        place.cluster.start("s3")
        assert not manifests(bundle)
        training.wait("Ready", within=240)
        yield Outage(calm, training, held.pod, begun, failed, building, said)


def weights(run: Run) -> bytes:
    return run.read(f"{run.status['artifact']['uri']}/adapter/adapter_model.safetensors")


def test_a_training_waits_and_goes_on(outage: Outage) -> None:
    names = [pod["metadata"]["name"] for pod in outage.training.pods()]
    assert names == [outage.pod], "the same pod went on"
    assert weights(outage.training) == weights(outage.calm)


def test_a_run_ends_after_its_pools_patience(outage: Outage) -> None:
    assert outage.failed["reason"] == "StorageUnavailable"


def test_a_build_goes_on_without_the_adapter_that_it_has_fetched(outage: Outage) -> None:
    assert "current" not in outage.bundle_said
    run = outage.bundle.run
    folder = run.output_uri.removeprefix("s3://artifacts/")
    manifest = f"{folder}/manifest.json"
    listing: set[str] = set()

    def published() -> bool:
        listing.clear()
        listing.update(run.objects(f"s3://artifacts/{folder}/"))
        return manifest in listing

    assert not published()
    outage.bundle.release()
    eventually("the bundle is published", published, within=120, every=0.01)
    files = json.loads(run.read(f"s3://artifacts/{manifest}"))["files"]
    assert {f"{folder}/{name}" for name in files} <= listing, "the manifest comes last"
    run.wait("Ready", within=60)
    assert [it["metadata"]["name"] for it in run.pods()] == [outage.bundle.pod], "the same pod"
    assert states(run) == {"one": "Included", "brief": "Included"}


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
    told = ("output.uri", f"{folder}/cache", "could not write", "denied", "storage.secretName")
    for word in told:
        assert word.lower() in failed["message"].lower(), failed["message"]
    assert run.condition("Stalled")["reason"] == "StorageDenied"
    assert [it["metadata"]["name"] for it in run.pods()] == [pod], "no restarts"
    assert not manifests(run)
    assert place.cluster.s3_secret_key not in run.story()

    run.retry()
    run.wait("Ready", within=120)
    assert manifests(run) == {run.output_uri}
