"""What Kueue's Workload says, told apart."""

from typing import Any

import pytest
from unit.operator.builders import job_of, message, observed, reasons, resource, spec

from luthier_api.finetunejob import FineTuneJobStatus
from luthier_api.revision import revision_name, shape_hash
from luthier_operator.finetunejob.decide import decide
from luthier_operator.finetunejob.status import compute
from luthier_operator.resources import QUEUE_LABEL, SUSPENDED_ANNOTATION, WORKLOADS, Obj
from luthier_operator.run.kueue import Admission, activate, parse_admission
from luthier_operator.run.model import Revision

SHAPE = shape_hash(spec(), spec().output.uri)
FIRST = Revision(revision_name(1, SHAPE), 1, SHAPE)


def workload(*conditions: Obj, active: bool = True, ours: bool = False) -> Admission:
    metadata: Obj = {"namespace": "team", "name": "job-tone", "uid": "w"}
    if ours:
        metadata["annotations"] = {SUSPENDED_ANNOTATION: "true"}
    obj = {"metadata": metadata, "spec": {"active": active}}
    return parse_admission(WORKLOADS, obj | {"status": {"conditions": list(conditions)}})


def held(
    admission: Admission | None, *, suspend: bool = False, **changes: Any
) -> FineTuneJobStatus:
    job = job_of(FIRST, suspend=True)
    job["metadata"]["labels"] = job["metadata"]["labels"] | {QUEUE_LABEL: "gpus"}
    seen = observed(resource(suspend=suspend), jobs=[job], admission=admission, **changes)
    return compute(seen, decide(seen))


def condition(kind: str, status: str, reason: str, words: str = "") -> Obj:
    return {"type": kind, "status": status, "reason": reason, "message": words}


PREEMPTED = (
    "Preempted to accommodate a workload (UID: 1, JobUID: 2) due to prioritization in the "
    "ClusterQueue"
)
NO_QUOTA = (
    "couldn't assign flavors to pod set main: insufficient unused quota for nvidia.com/gpu in "
    "flavor h200, 1 more needed"
)
TOO_SMALL = (
    "couldn't assign flavors to pod set main: insufficient quota for nvidia.com/gpu in flavor "
    "h200, previously considered podsets requests (0) + current podset request (4) > maximum "
    "capacity (2)"
)


@pytest.mark.parametrize(
    ("conditions", "reason", "words"),
    [
        ([], "Queued", "hasn't looked at it yet"),
        ([condition("QuotaReserved", "False", "Pending", NO_QUOTA)], "WaitingForQuota", "1 more"),
        (
            [condition("QuotaReserved", "False", "Pending", TOO_SMALL)],
            "QuotaTooSmall",
            "maximum capacity (2)",
        ),
        (
            [
                condition("Evicted", "True", "Preempted", PREEMPTED),
                condition("QuotaReserved", "False", "Pending", NO_QUOTA),
            ],
            "Preempted",
            "JobUID: 2",
        ),
        # Once it has its place again the preemption is no news.
        (
            [
                condition("Evicted", "False", "QuotaReserved", "Previously: Preempted"),
                condition("QuotaReserved", "True", "QuotaReserved"),
                condition("Admitted", "False", "NoChecks", "provisioning"),
            ],
            "WaitingForAdmissionChecks",
            "provisioning",
        ),
        (
            [condition("QuotaReserved", "False", "Inadmissible", "LocalQueue gpus doesn't exist")],
            "QueueNotFound",
            "Create the LocalQueue",
        ),
        (
            [condition("QuotaReserved", "False", "Inadmissible", "ClusterQueue a doesn't exist")],
            "QueueNotReady",
            "Ask the platform team",
        ),
        (
            [condition("QuotaReserved", "False", "Inadmissible", "LocalQueue gpus is stopped")],
            "QueueStopped",
            "Ask the platform team",
        ),
        (
            [condition("QuotaReserved", "False", "Inadmissible", "the pods ask for nothing")],
            "Inadmissible",
            "ask for nothing",
        ),
    ],
)
def test_what_holds_a_run_back(conditions: list[Obj], reason: str, words: str) -> None:
    told = held(workload(*conditions))
    assert told.phase == "Queued"
    assert reasons(told)["Scheduled"] == f"False {reason}"
    assert words in message(told, "Scheduled")
    assert "gpus" in message(told, "Scheduled")


def test_before_kueue_has_seen_it_and_without_kueue() -> None:
    assert reasons(held(None))["Scheduled"] == "False Queued"
    told = held(None, kueue=False)
    assert reasons(told)["Scheduled"] == "False KueueNotInstalled"
    assert "ask the platform team to install Kueue" in message(told, "Scheduled")


def test_who_deactivated_it_is_told_apart() -> None:
    assert reasons(held(workload(active=False)))["Scheduled"] == "False Deactivated"
    by_us = held(workload(active=False, ours=True), suspend=True)
    assert reasons(by_us)["Suspended"] == "True Suspended"
    assert by_us.phase == "Suspended"


@pytest.mark.parametrize("junk", [{}, {"conditions": None}, {"conditions": [{}]}])
def test_a_workload_without_words(junk: Obj) -> None:
    obj = {"metadata": {"namespace": "team", "name": "w", "uid": "w"}, "status": junk}
    assert reasons(held(parse_admission(WORKLOADS, obj)))["Scheduled"] == "False Queued"


def test_activating_twice_changes_nothing() -> None:
    assert activate(workload(), active=True) == {}
    change = activate(workload(), active=False)
    assert change["spec"] == {"active": False}
    assert change["metadata"]["annotations"] == {SUSPENDED_ANNOTATION: "true"}
    assert activate(workload(active=False, ours=True), active=False) == {}
    back = activate(workload(active=False, ours=True), active=True)
    assert back["metadata"]["annotations"] == {SUSPENDED_ANNOTATION: None}
