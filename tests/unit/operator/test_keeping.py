"""Order in storage: who asks for an errand, when, and what comes of it."""

import json
from dataclasses import replace
from typing import Any

from unit.operator.builders import NOW, ended, message, observed, pod_of, reasons
from unit.operator.promotion_support import BETTER, Life

from luthier_api.runspec import KeepOrder, read_order
from luthier_operator.errors import Refusal
from luthier_operator.finetunejob.decide import decide
from luthier_operator.finetunejob.keeping import deletion
from luthier_operator.finetunejob.status import compute
from luthier_operator.resources import label_of
from luthier_operator.run.actions import Delete, Ensure
from luthier_operator.run.decide import Plan
from luthier_operator.run.workload import RUN

IF_BETTER = {"when": "IfBetter", "metric": "accuracy"}


def created(plan: Plan) -> list[dict[str, Any]]:
    return [it.obj for it in plan.beside if isinstance(it, Ensure)]


def gone(plan: Plan) -> list[str]:
    return [it.obj["metadata"]["name"] for it in plan.beside if isinstance(it, Delete)]


def errand(life: Life, **around: Any) -> dict[str, Any]:
    """The one that is to be created now."""
    [job] = created(decide(observed(life.obj, **around)))
    return job


def order_of(job: dict[str, Any]) -> KeepOrder:
    text = job["spec"]["template"]["metadata"]["annotations"]["luthier.dev/runspec"]
    order = read_order(text.encode())
    assert isinstance(order, KeepOrder)
    return order


def over(job: dict[str, Any], told: dict[str, Any] | None = None) -> dict[str, Any]:
    """An errand's Job that has ended, with its pod; `told`: an error of it."""
    kind = "Failed" if told and "error" in told else "Complete"
    end = {
        "type": kind,
        "status": "True",
        "reason": "PodFailurePolicy",
        "message": "",
        "lastTransitionTime": "2026-01-02T03:04:00Z",
    }
    metadata = job["metadata"] | {"uid": f"uid-{job['metadata']['name']}", "resourceVersion": "1"}
    stored = {"metadata": metadata, "spec": {}, "status": {"conditions": [end]}}
    outcome = "Failed" if kind == "Failed" else "Succeeded"
    said = {"revision": "r1-00000001", "attempt": 1, "outcome": outcome, **(told or {})}
    state = ended(0 if kind == "Complete" else 77, json.dumps(said))
    return {"jobs": [stored], "pods": [pod_of(stored, phase="Succeeded", state=state)]}


def test_without_a_word_on_it_there_is_no_errand() -> None:
    life = Life()
    life.run()
    life.train(200)
    plan = decide(observed(life.obj))
    assert not plan.beside
    assert life.look().kept is None
    assert "Kept" not in reasons(life.status)
    # Nor where the newest is in use anyhow: its run says so in in-use.json.
    life.edit(promote={"when": "Always"})
    assert not decide(observed(life.obj)).beside
    life.edit(keepRevisions=2)
    assert not decide(observed(life.obj)).beside


def test_in_use_json_follows_what_is_in_use() -> None:
    life = Life(promote=IF_BETTER)
    first = life.run().revision
    job = errand(life)
    assert label_of(job, "luthier.dev/role") == "keep"
    assert label_of(job, "luthier.dev/role") != RUN
    order = order_of(job)
    assert order.output == "s3://artifacts/models/team/tone"
    assert order.in_use is not None
    assert order.in_use.revision == first
    assert order.in_use.metrics == {"accuracy": 0.9, "loss": 1}
    assert order.newest is None
    assert not order.everything
    # The same as often as it is asked for, until its outcome is on record.
    assert errand(life) == job
    around = over(job)
    assert not created(decide(observed(life.obj, **around)))
    now = life.look(**around)
    assert now.kept is not None
    assert now.kept.in_use == first
    assert reasons(now)["Kept"] == "True InOrder"
    assert gone(decide(observed(life.obj, **around))) == [job["metadata"]["name"]]
    assert not decide(observed(life.obj)).beside
    assert life.look() == now


def test_a_rollback_writes_it_and_its_end_as_well() -> None:
    life = Life()
    first = life.run().revision
    second = life.train(200).revision
    life.edit(promote={"pin": first})
    job = errand(life)
    in_use = order_of(job).in_use
    assert in_use is not None
    assert in_use.revision == first
    life.look(**over(job))
    # What was written once is kept right, also where nobody asks for it any more.
    life.edit(promote=None)
    in_use = order_of(errand(life)).in_use
    assert in_use is not None
    assert in_use.revision == second


def test_two_errands_never_run_at_once() -> None:
    life = Life(promote=IF_BETTER)
    first = life.run().revision
    running = over(errand(life))
    running["jobs"][0]["status"] = {"conditions": []}
    life.train(200, gain=BETTER)
    plan = decide(observed(life.obj, **running))
    assert not created(plan)
    assert gone(plan) == [running["jobs"][0]["metadata"]["name"]]
    in_use = order_of(errand(life)).in_use
    assert in_use is not None
    assert in_use.revision != first


def test_older_results_go_and_what_is_needed_stays() -> None:
    life = Life(keepRevisions=1)
    first = life.run().revision
    assert not decide(observed(life.obj)).beside
    second = life.train(200).revision
    third = life.train(300).revision
    uri = f"s3://artifacts/models/team/tone/{first}"
    others = ["s3://artifacts/models/team/other/r9-00000000", f"{uri}/adapter"]
    order = order_of(errand(life, taken=lambda: others))
    assert order.newest == 1
    assert first is not None
    assert third is not None
    assert order.kept == sorted({first, third})
    # What is gone can't be pinned any more.
    now = life.look(**over(errand(life), {"deleted": [second]}))
    assert {it.revision: it.artifact_uri for it in now.history} == {second: None, first: uri}
    assert not decide(observed(life.obj)).beside
    wrong = life.edit(promote={"pin": second})
    assert reasons(wrong)["Promoted"] == "False PinNotFound"


def test_one_that_fails_is_told_and_tried_again_in_time() -> None:
    life = Life(promote=IF_BETTER)
    first = life.run()
    job = errand(life)
    denied = {"error": {"code": "Denied", "message": "the credentials may not write there"}}
    now = life.look(**over(job, denied))
    assert reasons(now)["Kept"] == "False KeepFailed"
    assert "may not write there" in message(now, "Kept")
    # It takes nothing from the run.
    assert reasons(now)["Ready"] == "True Published"
    assert now.in_use == first.in_use
    plan = decide(observed(life.obj))
    assert not created(plan)
    assert plan.again is not None
    assert 299 <= plan.again <= 300
    later = NOW.replace(minute=59)
    again = errand(life, now=later)
    assert again["metadata"]["name"] != job["metadata"]["name"]
    life.look(**over(again))
    assert reasons(life.status)["Kept"] == "True InOrder"


def test_what_luthier_yaml_denies_is_told() -> None:
    life = Life(promote=IF_BETTER, placement={"pool": "cpu"})
    life.run()
    seen = observed(life.obj)
    lost = seen.platform.model_copy(update={"pools": seen.platform.pools[1:]})
    assert not created(decide(observed(life.obj, platform=lost)))
    now = life.look(platform=lost)
    assert reasons(now)["Kept"] == "False KeepFailed"
    assert "cpu" in message(now, "Kept")


def test_the_errand_that_deletes_everything() -> None:
    life = Life(deletionPolicy="Delete")
    assert deletion(observed(life.obj)) is None
    life.run()
    wanted = deletion(observed(life.obj))
    assert wanted is not None
    assert isinstance(wanted.order, KeepOrder)
    assert wanted.order.everything
    assert wanted.order.output == "s3://artifacts/models/team/tone"


def test_a_run_that_was_told_that_its_result_is_in_use_is_put_right() -> None:
    life = Life()
    first = life.run().revision
    assert first is not None
    life.edit(promote={"pin": first}, training={"maxSteps": 200})
    life.look(**over(errand(life)))
    # Its order was made before the pin: it wrote itself into in-use.json.
    second = life.run().revision
    assert second != first
    in_use = order_of(errand(life)).in_use
    assert in_use is not None
    assert in_use.revision == first


def test_an_errand_that_the_api_server_refuses_is_told_until_it_is_there() -> None:
    life = Life()
    life.run()
    first = life.in_use()
    life.train(200)
    life.edit(promote={"pin": first})
    seen = observed(life.obj)
    plan = decide(seen)
    assert created(plan)
    refusal = Refusal("QuotaExceeded", "jobs is forbidden: exceeded quota: few")
    held = compute(seen, replace(plan, unsent={"keep": refusal}))
    assert reasons(held)["ErrandRefused"] == "True QuotaExceeded"
    assert message(held, "ErrandRefused") == (
        "The Job that keeps storage in order isn't created: jobs is forbidden: exceeded quota: "
        "few. It is tried again."
    )
    assert reasons(held)["Ready"].startswith("True"), "it holds up nothing of the run"
    life.status = held
    again = observed(life.obj)
    assert "ErrandRefused" not in reasons(compute(again, decide(again)))
