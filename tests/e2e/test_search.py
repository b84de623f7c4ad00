"""A search as a user has it: applied, disturbed, and ended with the best trial's artifact."""

import json
import os
import signal
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest
from e2e.processes import trainer_of
from e2e.runs import Json, Run, eventually
from e2e.specs import TINY
from e2e.tenants import namespace_for

from luthier_cluster import Cluster

SEARCH: Json = {
    "dataset": {"eval": "train[1200:1260]"},
    "training": {"maxSteps": 30, "saveEverySteps": 5},
    "search": {
        "objective": {"metric": "accuracy"},
        "space": {
            "learningRate": {"type": "float", "low": 1e-5, "high": 1e-2, "log": True},
            "lora.rank": {"type": "choice", "values": [2, 4]},
        },
        "trials": 4,
        "parallelism": 2,
        "seed": 7,
    },
}
INDEX = "batch.kubernetes.io/job-completion-index"


@pytest.fixture(scope="module")
def run(luthier: Cluster, s3: Any) -> Iterator[Run]:
    with namespace_for(luthier, "search") as namespace:
        found = Run(luthier, namespace, "rates", s3, TINY)
        found.apply(SEARCH)
        yield found


@pytest.fixture(scope="module")
def done(run: Run) -> Json:
    """Its status at the end, one of its two pods having been killed in the middle of a trial."""
    eventually("a trial of the second pod", lambda: held_by(run, 1), within=180)

    def pod() -> str | None:
        of_second = (
            str(it["metadata"]["name"])
            for it in run.pods()
            if it["metadata"]["labels"].get(INDEX) == "1" and it["status"]["phase"] == "Running"
        )
        return next(of_second, None)

    os.kill(trainer_of(run, eventually("the second pod", pod, within=60)), signal.SIGKILL)
    run.wait("Complete", within=300)
    return run.status


def trials(run: Run) -> list[Json]:
    """The records that its pods share."""
    bucket, _, prefix = run.output_uri.removeprefix("s3://").partition("/")
    listed = run.s3.list_objects_v2(Bucket=bucket, Prefix=f"{prefix}/trials/")
    keys = (it["Key"] for it in listed.get("Contents", ()))
    return [
        json.loads(run.read(f"s3://{bucket}/{key}")) for key in keys if key.endswith("/trial.json")
    ]


def held_by(run: Run, worker: int) -> list[Json]:
    with suppress(KeyError):  # no revision yet
        return [it for it in trials(run) if it["heldBy"]["worker"] == worker]
    return []


def test_the_search_ends_with_the_best_trials_artifact(run: Run, done: Json) -> None:
    known = trials(run)
    assert [it["state"] for it in known] == ["Complete"] * 4
    best = max(known, key=lambda it: (it["value"], -it["number"]))
    assert done["search"]["best"]["number"] == best["number"]
    assert (done["search"]["complete"], done["search"]["trials"]) == (4, 4)
    assert done["progress"]["percent"] == "100%"
    manifest = json.loads(run.read(f"{done['artifact']['uri']}/manifest.json"))
    settings = best["settings"]
    assert manifest["spec"]["training"]["learningRate"] == settings["learningRate"]
    assert manifest["spec"]["method"]["lora"]["rank"] == settings["lora.rank"]
    assert done["evaluation"]["split"] == "test"
    page = run.read(f"{done['artifact']['uri']}/report/search.html").decode()
    assert page.count("<polyline") == 5


def test_the_pod_that_was_killed_is_followed_by_one_that_goes_on_with_its_trial(
    run: Run, done: Json
) -> None:
    pods = {pod for it in trials(run) for take in it["takes"] if (pod := take["pod"])}
    assert len(pods) == 3
    assert any(len(it["takes"]) == 2 for it in trials(run))
    assert done["restarts"]["failures"] == 1


def test_only_the_best_trial_keeps_its_checkpoints(run: Run, done: Json) -> None:
    bucket, _, prefix = done["artifact"]["uri"].removeprefix("s3://").partition("/")
    listed = run.s3.list_objects_v2(Bucket=bucket, Prefix=f"{prefix}/trials/")
    kept = {it["Key"].split("/trials/")[1].split("/")[0] for it in listed["Contents"]
            if "/checkpoints/" in it["Key"]}  # fmt: skip
    assert kept == {f"{done['search']['best']['number']:04d}"}
