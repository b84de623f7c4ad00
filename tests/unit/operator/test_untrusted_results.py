"""Results are the word of whatever ran in the pod; so is an exit code, and a name."""

import copy
from typing import Any

import pytest
from unit.operator import adapterbundle_support, optimizejob_support
from unit.operator.builders import (
    CODE,
    OWNER,
    changes_in,
    ended,
    fine_tune_job,
    job_of,
    message,
    observed,
    platform,
    pod_of,
    reasons,
    resource,
    result,
    spec,
)

from luthier_api.finetunejob import FineTuneJobStatus
from luthier_api.revision import revision_name, shape_hash
from luthier_operator.finetunejob.build import build
from luthier_operator.finetunejob.decide import decide
from luthier_operator.finetunejob.observe import Observed
from luthier_operator.finetunejob.status import compute
from luthier_operator.resources import INDEX_LABEL, Obj
from luthier_operator.run import adoption
from luthier_operator.run.interruptions import BORNE
from luthier_operator.run.model import Revision
from luthier_operator.run.workload import AT_ONCE

SHAPE = shape_hash(spec(), spec().output.uri)
FIRST = Revision(revision_name(1, SHAPE), 1, SHAPE)
LATER = "2026-01-02T03:04:09Z"
OWN = f"s3://artifacts/models/team/tone/{FIRST.name}"


def artifact(uri: str) -> dict[str, str]:
    return {"uri": uri, "manifestSha256": "0" * 64}


def complete(told: str, **fields: Any) -> FineTuneJobStatus:
    job = job_of(FIRST, end="Complete")
    pod = pod_of(job, phase="Succeeded", state=ended(0, told))
    return status(observed(resource(**fields), jobs=[job], pods=[pod]))


@pytest.mark.parametrize("index", ["1", "63", "64", "x", ""])
def test_of_several_parts_the_first_speaks_for_the_run(index: str) -> None:
    job = job_of(FIRST, end="Complete")
    own = result(FIRST, artifact=artifact(OWN), usage={"cpuSeconds": 2})
    other = result(FIRST, outcome="Failed", artifact=artifact(OWN), usage={"cpuSeconds": 9})
    first = pod_of(job, phase="Succeeded", state=ended(0, own))
    part = pod_of(job, "part", phase="Failed", state=ended(65, other), created=LATER)
    part["metadata"]["labels"] = part["metadata"]["labels"] | {INDEX_LABEL: index}
    told = status(observed(resource(), jobs=[job], pods=[first, part]))
    assert told.usage is not None
    assert told.usage.cpu_seconds == 2
    assert reasons(told)["Complete"] == "True Completed"


def status(seen: Observed) -> FineTuneJobStatus:
    return compute(seen, decide(seen))


@pytest.mark.parametrize(
    "uri",
    [
        "s3://attacker/models",
        f"{OWN}/../r2-00000000",
        OWN.replace("/tone/", "/other/"),
        OWN.replace("/team/", "/rich/"),
        OWN + "x",
        OWN.upper(),
        OWN.replace(FIRST.name, "r7-00000000"),  # of another shape
    ],
)
def test_an_artifact_elsewhere_is_refused(uri: str) -> None:
    told = complete(result(FIRST, artifact=artifact(uri)))
    assert told.artifact is None
    assert reasons(told)["Failed"] == "True ArtifactElsewhere"
    assert uri not in str(told.to_json())


@pytest.mark.parametrize("uri", [OWN, OWN + "/", OWN.replace("/r1-", "/r7-")])
def test_the_runs_own_artifact_is_taken_and_one_of_the_same_shape(uri: str) -> None:
    assert complete(result(FIRST, artifact=artifact(uri))).phase == "Complete"


@pytest.mark.parametrize(
    ("told", "reason"),
    [
        ("[" * 4000, "ResultUnreadable"),
        ("no JSON", "ResultUnreadable"),
        ("", "ResultUnreadable"),
        (result(FIRST, attempt=10**30), "ResultUnreadable"),
        (result(FIRST), "ResultIncomplete"),
    ],
)
def test_a_result_that_cannot_be_used_is_a_clear_end(told: str, reason: str) -> None:
    end = complete(told)
    assert reasons(end)["Failed"] == f"True {reason}"
    assert reasons(end)["Stalled"] == f"True {reason}"
    assert len(message(end, "Failed")) < 400


@pytest.mark.parametrize("exit_code", [1, 65, 80])
@pytest.mark.parametrize("code", ["Bad\n", "\n", "", "No Such", "Bad_", "Ünreal", "x" * 64])
def test_an_end_is_recorded_whatever_its_code(code: str, exit_code: int) -> None:
    told = result(FIRST, outcome="Failed", error={"code": code, "message": "x"})
    job = job_of(FIRST, end="Failed", reason="PodFailurePolicy")
    pod = pod_of(job, phase="Failed", state=ended(exit_code, told))
    end = status(observed(jobs=[job], pods=[pod]))
    assert end.phase == "Failed"
    FineTuneJobStatus.model_validate(end.to_json())


def test_the_other_kinds_refuse_it_as_well() -> None:
    optimized = optimizejob_support.completed(uri="s3://attacker/models")
    assert optimized.artifact is None
    sources = (fine_tune_job("tone", published=1), fine_tune_job("mood", published=1))
    bundled = adapterbundle_support.built(
        adapterbundle_support.resource(), *sources, artifact=artifact("s3://attacker/models")
    )
    assert bundled.current is None
    for told in (optimized, bundled):
        assert reasons(told)["Failed"] == "True ArtifactElsewhere"


def test_a_result_of_custom_code_is_marked_whatever_it_says() -> None:
    plain = complete(result(FIRST, artifact=artifact(OWN)))
    assert plain.custom_code is None
    assert complete(result(FIRST, artifact=artifact(OWN), customCode=True)).custom_code
    for place in ({"training": {"maxSteps": 100, "loss": CODE}}, {"evaluation": {"script": CODE}}):
        seen = observed(resource(**place))
        revision = decide(seen).revision
        assert revision is not None
        assert status(seen).custom_code is True


# Of exit codes.


def interrupted(count: int, **pod: Any) -> Observed:
    job = job_of(FIRST)
    pods = []
    for number in range(count):
        one = pod_of(job, f"pod-{number}", phase="Failed", state=ended(75))
        one["metadata"] |= pod.get("metadata", {})
        one["status"] |= pod.get("status", {})
        pods.append(one)
    return observed(jobs=[job], pods=pods)


DISRUPTED = {"conditions": [{"type": "DisruptionTarget", "status": "True"}]}


def test_an_interruption_that_nobody_made_is_borne_a_few_times() -> None:
    assert not changes_in(decide(interrupted(BORNE)))
    assert changes_in(decide(interrupted(BORNE + 1))) == [
        {"spec": {"activeDeadlineSeconds": AT_ONCE}}
    ]


@pytest.mark.parametrize(
    "mark", [{"status": DISRUPTED}, {"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}}]
)
def test_interruptions_with_a_cause_are_never_too_many(mark: Obj) -> None:
    assert not changes_in(decide(interrupted(500, **mark)))


def test_a_run_that_ended_for_it_says_so_and_is_not_ended_twice() -> None:
    seen = interrupted(BORNE + 1)
    obj = copy.deepcopy(seen.jobs[0].obj)
    obj["spec"]["activeDeadlineSeconds"] = 1
    pods = [pod_of(obj, f"pod-{n}", phase="Failed", state=ended(75)) for n in range(BORNE + 1)]
    assert not changes_in(decide(observed(jobs=[obj], pods=pods)))
    failed = job_of(FIRST, end="Failed", reason="DeadlineExceeded")
    told = status(observed(jobs=[failed], pods=pods))
    assert reasons(told)["Failed"] == "True TooManyInterruptions"
    assert "exit code 75" in message(told, "Failed")


# Of names that can be worked out before the operator uses them.


def built(**fields: Any) -> Obj:
    return build(OWNER, spec(**fields), FIRST, platform())[-1]


def test_only_the_object_that_was_to_be_created_is_adopted() -> None:
    owner = resource()
    wanted = built()
    assert adoption.obstacle(owner, wanted, copy.deepcopy(wanted)) == ""
    other = built(limits={"maxRestarts": 9})
    unmarked = copy.deepcopy(wanted)
    unmarked["metadata"]["annotations"] = {}
    stranger = copy.deepcopy(wanted)
    stranger["metadata"]["ownerReferences"][0]["uid"] = "another"
    for found in (other, unmarked, stranger):
        assert wanted["metadata"]["name"] in adoption.obstacle(owner, wanted, found)


def test_a_config_map_is_compared_by_its_content() -> None:
    wanted = adoption.marked({**built(), "kind": "ConfigMap", "data": {"runspec.json": "{…}"}})
    found = copy.deepcopy(wanted)
    assert adoption.obstacle(resource(), wanted, found) == ""
    found["data"] = {"runspec.json": "{}"}
    assert "other content" in adoption.obstacle(resource(), wanted, found)
