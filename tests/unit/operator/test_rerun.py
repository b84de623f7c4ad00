"""Revisions of the same shape: asked for, or because their place is taken."""

import pytest
from unit.operator.builders import (
    ended,
    job_of,
    observed,
    order_in,
    pod_of,
    reasons,
    result,
)
from unit.operator.promotion_support import Life, artifact, renumbered

from luthier_api.runspec import RunSpec
from luthier_operator.finetunejob.decide import decide
from luthier_operator.run.model import Revision


def anew(life: Life) -> bool:
    order = order_in(decide(observed(life.obj)))
    assert isinstance(order, RunSpec)
    return order.anew


def test_a_rerun_opens_a_revision_of_the_same_shape_once() -> None:
    life = Life()
    first = life.run()
    life.annotations = {"luthier.dev/rerun": "a"}
    again = life.revision()
    assert again == renumbered(again, 2)
    assert again.name.partition("-")[2] == (first.revision or "").partition("-")[2]
    assert anew(life)
    now = life.look()
    assert (now.revision, now.rerun_token) == (again.name, "a")
    assert now.in_use == first.in_use
    # It is served: nothing more comes of it, and its Job says the same as before.
    assert life.revision() == again
    assert anew(life)
    done = life.run()
    assert reasons(done)["Ready"] == "True Published"
    assert life.revision().name == again.name
    assert decide(observed(life.obj)).ended
    life.annotations = {"luthier.dev/rerun": "b"}
    assert life.revision().name.startswith("r3-")


def test_a_token_that_was_there_from_the_beginning_asks_for_nothing_more() -> None:
    life = Life()
    life.annotations = {"luthier.dev/rerun": "a"}
    first = life.run()
    assert (first.revision or "").startswith("r1-")
    assert first.rerun_token == "a"
    assert decide(observed(life.obj)).ended


def test_a_failed_run_is_run_anew_as_well() -> None:
    life = Life()
    revision = life.revision()
    job = job_of(revision, end="Failed", reason="PodFailurePolicy")
    told = result(revision, outcome="Failed", error={"code": "NoData", "message": "no rows"})
    pod = pod_of(job, phase="Failed", state=ended(65, told))
    assert reasons(life.look(jobs=[job], pods=[pod]))["Failed"] == "True NoData"
    life.annotations = {"luthier.dev/rerun": "a"}
    assert life.revision().name.startswith("r2-")
    assert life.revision().attempt == 1
    assert not anew(life)


def test_going_back_to_an_older_shape_finds_its_result_again() -> None:
    life = Life()
    life.run()
    life.train(200)
    life.edit(training={"maxSteps": 100})
    assert not anew(life)
    back = life.revision()
    life.run(artifact=artifact(renumbered(back, 1)))
    # Asked for once more on purpose, it is trained.
    life.annotations = {"luthier.dev/rerun": "a"}
    assert anew(life)


def taken_by_a_namesake(revision: Revision, newest: object) -> dict[str, list[dict[str, object]]]:
    job = job_of(revision, end="Failed", reason="PodFailurePolicy")
    told = result(
        revision,
        outcome="Failed",
        error={"code": "RevisionTaken", "message": "taken"},
        newestRevision=newest,
    )
    return {"jobs": [job], "pods": [pod_of(job, phase="Failed", state=ended(79, told))]}


def test_a_resource_created_again_goes_on_behind_what_lies_there() -> None:
    life = Life()
    first = life.revision()
    life.look(jobs=[job_of(first)])
    around = taken_by_a_namesake(first, 4)
    plan = decide(observed(life.obj, **around))
    assert plan.revision is not None
    assert plan.revision == renumbered(first, 5)
    assert plan.created
    now = life.look(**around)
    assert now.revision == plan.revision.name
    assert "Failed" not in reasons(now)
    # Its Job may go: the number is on record.
    assert life.revision() == plan.revision
    assert life.revision() == decide(observed(life.obj, **around)).revision
    assert not anew(life)
    assert reasons(life.run())["Ready"] == "True Published"


@pytest.mark.parametrize("newest", [None, 999_999_999, "many"])
def test_a_number_that_names_nothing_fails_the_run(newest: object) -> None:
    life = Life()
    around = taken_by_a_namesake(life.revision(), newest)
    assert reasons(life.look(**around))["Failed"] == "True RevisionTaken"
