"""Operator, trainer and CRDs of different versions beside each other (docs/adr/0013)."""

import json
from typing import Any

from unit.operator import optimizejob_support
from unit.operator.builders import (
    OWNER,
    SPEC,
    ended,
    job_of,
    observed,
    order_in,
    platform,
    pod_of,
    reasons,
    resource,
    result,
    spec,
)

from luthier_api.finetunejob import FineTuneJobStatus
from luthier_api.finetuning import FineTuning
from luthier_api.release import release
from luthier_api.result import OptimizeResult
from luthier_api.revision import revision_name, shape_hash
from luthier_api.runspec import RUNSPEC_ANNOTATION, RunSpec, read_order, write_order
from luthier_api.training import Training
from luthier_operator.finetunejob.build import run_spec
from luthier_operator.finetunejob.decide import decide
from luthier_operator.finetunejob.status import compute
from luthier_operator.run.model import Revision
from luthier_operator.run.observe import parse_result, parse_status

SHAPE = shape_hash(spec(), spec().output.uri)
FIRST = Revision(revision_name(1, SHAPE), 1, SHAPE)
OWN = f"s3://artifacts/models/team/tone/{FIRST.name}"
UNKNOWN: dict[str, Any] = {"newKnob": {"deep": [1, {"er": None}]}}


# A newer trainer.


def test_a_newer_trainers_result_is_its_runs_end() -> None:
    artifact = {"uri": OWN, "manifestSha256": "0" * 64} | UNKNOWN
    told = result(FIRST, artifact=artifact, usage={"cpuSeconds": 2} | UNKNOWN, **UNKNOWN)
    job = job_of(FIRST, end="Complete")
    seen = observed(jobs=[job], pods=[pod_of(job, phase="Succeeded", state=ended(0, told))])
    status = compute(seen, decide(seen))
    assert reasons(status)["Ready"] == "True Published"
    assert status.usage is not None
    assert status.usage.cpu_seconds == 2


def test_a_newer_trainers_error_is_told() -> None:
    error = {"code": "NewKnobBroken", "message": "why"} | UNKNOWN
    told = result(FIRST, outcome="Failed", error=error, **UNKNOWN)
    job = job_of(FIRST, end="Failed", reason="PodFailurePolicy")
    seen = observed(jobs=[job], pods=[pod_of(job, phase="Failed", state=ended(65, told))])
    assert reasons(compute(seen, decide(seen)))["Failed"] == "True NewKnobBroken"


def test_what_an_older_trainer_refuses_is_told_with_both_versions() -> None:
    # As it writes it before it knows which run it is.
    error = {"code": "InvalidRunSpec", "message": "this one is of 0.0.9", "param": "training.x"}
    told = json.dumps({"revision": "", "attempt": 0, "outcome": "Failed", "error": error})
    job = job_of(FIRST, end="Failed", reason="PodFailurePolicy")
    seen = observed(jobs=[job], pods=[pod_of(job, phase="Failed", state=ended(64, told))])
    conditions = {it.type: it for it in compute(seen, decide(seen)).conditions}
    assert conditions["Failed"].reason == "InvalidRunSpec"
    words = f"training.x: this one is of 0.0.9 (operator {release()})"
    assert words in conditions["Failed"].message


def test_a_verdict_that_is_new_costs_itself() -> None:
    revision, _ = optimizejob_support.started()
    candidates = [{"precision": "int3", "verdict": "Postponed"}, {"precision": "int8"}]
    told = result(revision, candidates=candidates, artifact=optimizejob_support.published(revision))
    read = parse_result(OptimizeResult, told)
    assert read is not None
    assert [(it.precision, it.verdict) for it in read.candidates] == [
        ("int3", None),
        ("int8", None),
    ]
    assert read.artifact is not None


# Newer CRDs, whose defaults the API server writes into all that is stored; a newer operator
# that was rolled back.


def test_a_newer_default_in_the_spec_changes_nothing() -> None:
    stored = resource(training=SPEC["training"] | UNKNOWN, status=as_running(), **UNKNOWN)
    job = job_of(FIRST)
    seen = observed(stored, jobs=[job], pods=[pod_of(job)])
    plan = decide(seen)
    assert plan.revision == FIRST
    assert plan.job is not None
    assert reasons(compute(seen, plan))["Stalled"] == "False Progressing"


def test_a_choice_that_is_new_is_an_invalid_spec() -> None:
    seen = observed(resource(task="translation"))
    assert reasons(compute(seen, decide(seen)))["Stalled"] == "True InvalidSpec"


def test_a_newer_operators_status_is_read() -> None:
    status = as_running() | UNKNOWN
    status["conditions"][0] |= UNKNOWN
    read = parse_status(FineTuneJobStatus, resource(status=status))
    assert read.revision == FIRST.name
    assert [it.type for it in read.conditions] == ["Ready"]


def as_running() -> dict[str, Any]:
    condition = {
        "type": "Ready",
        "status": "False",
        "reason": "Running",
        "lastTransitionTime": "2026-01-01T00:00:00Z",
    }
    own = {"observedGeneration": 1, "revision": FIRST.name, "attempt": 1}
    return own | {"conditions": [condition]}


# A newer operator, whose pool has an older trainer's image.


class LaterTraining(Training):
    new_knob: int = 7


class LaterTuning(FineTuning):
    training: LaterTraining


class LaterOrder(RunSpec):
    fine_tuning: LaterTuning
    new_list: list[str] = []


def later_order(**training: Any) -> str:
    own = {name: SPEC[name] for name in ("model", "task", "dataset")}
    tuning = LaterTuning.model_validate(own | {"training": SPEC["training"] | training})
    order = run_spec(OWNER, spec(), FIRST, platform())
    return write_order(LaterOrder(**dict(order) | {"fine_tuning": tuning}))


def test_an_order_names_what_is_new_only_where_it_is_used() -> None:
    # As strict as trainers once were.
    assert RunSpec.model_validate_json(later_order()).fine_tuning == order_of().fine_tuning
    assert "newKnob" in later_order(newKnob=8)
    assert read_order(later_order(newKnob=8).encode()) == order_of()


def order_of() -> RunSpec:
    found = order_in(decide(observed()))
    assert isinstance(found, RunSpec)
    return found


def test_an_order_holds_what_differs_from_the_defaults() -> None:
    job = decide(observed()).created[-1]
    document = json.loads(job["spec"]["template"]["metadata"]["annotations"][RUNSPEC_ANNOTATION])
    tuning = {name: SPEC[name] for name in ("model", "task", "dataset", "training")}
    assert document["fineTuning"] == tuning
    assert document["apiVersion"] == "luthier.dev/v1alpha1"
    assert document["run"]["kind"] == "FineTuneJob"
    assert document.keys() == {
        *("apiVersion", "comesIntoUse", "fineTuning", "output", "progress", "run", "shapeHash"),
        "storage",
    }


def test_the_same_order_is_the_same_text() -> None:
    once, again = (decide(observed()).created[-1] for _ in range(2))
    assert once == again
    order = order_of()
    turned = RunSpec(**dict(reversed(list(dict(order).items()))))
    assert write_order(turned) == write_order(order)
