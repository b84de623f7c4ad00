"""A better result comes into use, a pin takes it back, and all of it goes with its resource."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from e2e.runs import Run, eventually
from e2e.specs import TINY
from e2e.tenants import namespace_for

from luthier_cluster import Cluster

PROMOTE = {"when": "IfBetter", "metric": "loss"}


@pytest.fixture(scope="module")
def namespace(luthier: Cluster) -> Iterator[str]:
    with namespace_for(luthier, "promotion") as name:
        yield name


@pytest.fixture(scope="module")
def run(luthier: Cluster, namespace: str, s3: Any) -> Run:
    """A FineTuneJob with two results: the first has learnt next to nothing, the second has."""
    one = Run(luthier, namespace, "tone", s3, {**TINY, "promote": PROMOTE})
    one.apply({"training": {"maxSteps": 2}, "deletionPolicy": "Delete"})
    one.wait("Complete")
    assert one.condition("Promoted")["reason"] == "First"
    one.apply({"training": {"maxSteps": 120}, "deletionPolicy": "Delete"})
    eventually("a second revision", lambda: one.status["revision"].startswith("r2-"), 30)
    one.wait("Complete")
    return one


def folder(run: Run) -> str:
    return f"{TINY['output']['uri']}/{run.namespace}/{run.name}"


def in_use_json(run: Run) -> str:
    document = json.loads(run.read(f"{folder(run)}/in-use.json"))
    return str(document["revision"])


def settled(run: Run, revision: str) -> None:
    """Until status and in-use.json name that revision."""
    eventually(f"{revision} in use", lambda: run.status["inUse"]["revision"] == revision, 30)

    def kept() -> bool:
        return (run.status.get("kept") or {}).get("inUse") == revision

    eventually(f"in-use.json of {revision}", kept, 120)
    assert in_use_json(run) == revision


def test_a_better_one_is_promoted(run: Run) -> None:
    promoted = run.condition("Promoted")
    assert (promoted["status"], promoted["reason"]) == ("True", "Better"), run.story()
    evaluation = run.status["evaluation"]
    assert evaluation["comparedWith"] == run.status["history"][0]["revision"]
    assert evaluation["gain"]["loss"]["high"] < 0
    settled(run, run.status["revision"])


def test_a_pin_takes_it_back(run: Run) -> None:
    first = run.status["history"][0]["revision"]
    pin = json.dumps({"spec": {"promote": {"pin": first}}})
    run.kubectl("patch", "ftj", run.name, "--type=merge", "-p", pin)
    settled(run, first)
    assert run.condition("Ready")["reason"] == "Pinned"
    assert run.status["inUse"]["uri"] == f"{folder(run)}/{first}"


def test_its_deletion_leaves_nothing(run: Run) -> None:
    assert run.objects(folder(run))
    run.kubectl("delete", "ftj", run.name, "--timeout=240s", within=300)
    assert run.objects(f"{folder(run)}/") == {}
