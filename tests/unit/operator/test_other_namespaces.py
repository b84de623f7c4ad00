"""What somebody wrote in another namespace is nobody's business in this one."""

import copy
from typing import Any

import pytest
from unit.operator.builders import NOW, OWNER, SPEC, UID, job_of, observed, pod_of, spec
from unit.operator.test_reports import report, scrape

from luthier_api.revision import revision_name, shape_hash
from luthier_operator.finetunejob.decide import decide
from luthier_operator.finetunejob.status import compute
from luthier_operator.pace import Pace
from luthier_operator.receiver import Receiver
from luthier_operator.reports import Reports
from luthier_operator.resources import FINE_TUNE_JOBS, JOBS, PODS, Obj
from luthier_operator.run.model import Revision
from luthier_operator.store import Store
from luthier_operator.tokens import Caller, Refused

SHAPE = shape_hash(spec(), spec().output.uri)
FIRST = Revision(revision_name(1, SHAPE), 1, SHAPE)


def elsewhere(obj: Obj) -> Obj:
    """The same object, forged in the namespace of somebody else."""
    forged = copy.deepcopy(obj)
    forged["metadata"] |= {"namespace": "attacker", "uid": "forged", "name": "evil"}
    return forged


@pytest.mark.parametrize("end", [None, "Failed", "Complete"])
def test_a_forged_job_neither_ends_nor_replaces_a_run(end: str | None) -> None:
    mine = job_of(FIRST)
    alone = observed(jobs=[mine], pods=[pod_of(mine)])
    forged = elsewhere(job_of(FIRST, end=end))
    among = observed(jobs=[forged, mine], pods=[pod_of(mine)])
    assert among.jobs == alone.jobs
    assert decide(among) == decide(alone)
    assert compute(among, decide(among)) == compute(alone, decide(alone))


def test_a_forged_job_holds_no_run_up() -> None:
    forged = elsewhere(job_of(Revision("r9-00000000", 1, "")))
    assert decide(observed(jobs=[forged])).created


@pytest.mark.parametrize(
    ("label", "value"),
    [
        ("revision", "junk"),
        ("revision", "r1"),
        ("revision", "r0-00000000"),
        ("revision", "r" + "9" * 40 + "-00000000"),
        ("revision", ""),
        ("attempt", "0"),
        ("attempt", "-1"),
        ("attempt", "²"),
        ("attempt", "9" * 40),
    ],
)
def test_a_job_whose_labels_cannot_be_read_is_none_of_ours(label: str, value: str) -> None:
    odd = job_of(FIRST)
    odd["metadata"]["labels"] = odd["metadata"]["labels"] | {f"luthier.dev/{label}": value}
    seen = observed(jobs=[odd])
    assert seen.jobs == ()
    assert decide(seen).created


def test_children_and_owners_are_of_one_namespace() -> None:
    store = Store()
    mine = job_of(FIRST)
    store.put(FINE_TUNE_JOBS, owner())
    for job in (mine, elsewhere(mine)):
        store.put(JOBS, job)
    assert [it["metadata"]["name"] for it in store.children(JOBS, "team", UID)] == [
        mine["metadata"]["name"]
    ]
    assert store.owner(mine)
    assert store.owner(elsewhere(mine)) is None


def test_a_child_that_names_a_child_has_no_owner() -> None:
    store = Store()
    job = job_of(FIRST)
    store.put(JOBS, job)
    pod = pod_of(job)
    pod["metadata"]["labels"] = {"luthier.dev/uid": job["metadata"]["uid"]}
    assert store.owner(pod) is None


class Api:
    """No pod is known but those of the store."""

    async def review_token(self, *_: Any) -> Obj:
        raise AssertionError

    async def list_all(self, *_: Any, **__: Any) -> tuple[list[Obj], int]:
        return [], 0


async def test_a_pod_elsewhere_does_not_speak_for_the_run() -> None:
    store = Store()
    job = job_of(FIRST)
    forged = elsewhere(pod_of(job))
    store.put(FINE_TUNE_JOBS, owner())
    store.put(JOBS, job)
    store.put(PODS, pod_of(job))
    store.put(PODS, forged)
    pace = Pace(lambda: store.running)
    receiver = Receiver(Api(), store, Reports(), pace, ready=lambda: True, look=lambda *_: None)
    good = report(1, pod="pod-1", revision=FIRST.name)
    await receiver._authorise(Caller("team", "pod-1", "uid-pod-1"), good)
    run = good.run.model_copy(update={"namespace": "attacker"})
    with pytest.raises(Refused) as refused:
        await receiver._authorise(
            Caller("attacker", "evil", "forged"),
            good.model_copy(update={"run": run, "pod": "evil"}),
        )
    assert refused.value.code == 403


def test_a_report_about_a_namesake_of_another_uid_is_not_shown() -> None:
    store, reports = Store(), Reports()
    store.put(FINE_TUNE_JOBS, owner(status={"phase": "Running", "revision": "r1-a"}))
    other = report(3).run.model_copy(update={"uid": "another"})
    reports.put(report(3).model_copy(update={"run": other}), NOW)
    lines = scrape(store, reports, NOW)
    assert [it for it in lines if it.startswith("luthier_run_state{")]
    assert not [it for it in lines if it.startswith("luthier_run_step{")]


def owner(status: dict[str, Any] | None = None) -> Obj:
    metadata = {
        "namespace": OWNER.namespace,
        "name": OWNER.name,
        "uid": UID,
        "resourceVersion": "1",
    }
    return {"metadata": metadata, "spec": SPEC, "status": status or {}}
