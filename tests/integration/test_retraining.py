"""A FineTuneJob whose data changes: looks at it, and what comes of them."""

from typing import Any

import pytest
from integration.kube import Obj, eventually
from integration.kubelet import Kubelet
from integration.operatorprocess import OperatorProcess
from integration.user import User, order_of, published, train

DIGEST, OTHER = ("sha256:" + digit * 64 for digit in "12")


def of_role(user: User, role: str) -> list[Obj]:
    return [it for it in user.jobs() if it["metadata"]["labels"]["luthier.dev/role"] == role]


def look_of(user: User, seconds: float = 30.0) -> Obj:
    """The Job of the look that goes on."""

    def check() -> Obj:
        (job,) = of_role(user, "probe")
        assert "deletionTimestamp" not in job["metadata"]
        return job

    found: Obj = eventually(_unpacked(check), seconds)
    return found


def _unpacked(check: Any) -> Any:
    def one() -> Obj:
        try:
            found: Obj = check()
        except ValueError as error:
            raise AssertionError(f"not one look: {error}") from error
        return found

    return one


def end_look(kubelet: Kubelet, job: Obj, code: int = 0, **found: Any) -> None:
    """Its pod says what it found."""
    run = order_of(job)["run"]
    told = {"revision": run["revision"], "attempt": run["attempt"]}
    told["outcome"] = "Failed" if code else "Succeeded"
    kubelet.end(kubelet.run(job["metadata"]["name"]), code, told | found)


def looked(user: User, outcome: str, revision: str, token: str | None = None) -> Obj:
    """Wait until a look's outcome is on record, and its Job gone."""

    def check() -> Obj:
        status = user.status()
        record: Obj = status["retrain"]
        assert (record.get("outcome"), record.get("against")) == (outcome, revision), record
        assert token is None or record.get("token") == token, record
        assert not of_role(user, "probe")
        return record

    found: Obj = eventually(check, 40)
    return found


@pytest.fixture
def first(operator: OperatorProcess, user: User, kubelet: Kubelet) -> str:
    """The revision that is published."""
    user.create()
    train(user, kubelet)
    return str(user.status()["revision"])


def test_at_its_time_the_data_is_looked_at_and_other_data_is_trained_on(
    operator: OperatorProcess, user: User, kubelet: Kubelet
) -> None:
    user.create(retrain={"schedule": "* * * * *"})
    train(user, kubelet)
    first = user.status()["revision"]
    job = look_of(user, seconds=100)
    order = order_of(job)
    assert (order["role"], order["output"]) == ("probe", user.status()["artifact"]["uri"])
    user.change(retrain={"schedule": "0 0 1 1 *"})
    rows = {"total": 120, "new": 20, "gone": 3}
    end_look(kubelet, job, changed=True, datasetDigest=OTHER, rows=rows)
    record = looked(user, "Changed", first)
    assert record["rows"] == rows
    assert record["nextProbe"].split("-")[1:] > ["01"]
    second = user.status()
    assert second["revision"] == first.replace("r1-", "r2-")
    assert second["inUse"]["revision"] == first
    train(user, kubelet)
    done = user.status()
    assert done["inUse"]["revision"] == second["revision"]
    assert [it["revision"] for it in done["history"]] == [first]


def test_unchanged_data_changes_nothing(first: str, user: User, kubelet: Kubelet) -> None:
    before = user.status()
    user.annotate(retrain="monday")
    end_look(kubelet, look_of(user), datasetDigest=DIGEST, rows={"total": 100})
    record = looked(user, "Unchanged", first, "monday")
    after = user.status()
    assert {**after, "retrain": None} == {**before, "retrain": None}
    assert record["rows"]["total"] == 100
    assert len(of_role(user, "run")) == 1


def test_a_look_that_fails_is_told_and_disturbs_nothing(
    first: str, user: User, kubelet: Kubelet
) -> None:
    user.annotate(retrain="now")
    error = {"code": "MalformedRow", "message": "a.jsonl:7: not JSON", "param": "dataset.uri"}
    end_look(kubelet, look_of(user), 65, error=error)
    record = looked(user, "Failed", first, "now")
    assert record["message"] == "MalformedRow: dataset.uri: a.jsonl:7: not JSON"
    assert user.condition("Ready")["reason"] == "Published"
    assert user.status()["phase"] == "Complete"


def test_an_operator_that_starts_anew_takes_up_what_a_look_found(
    first: str, operator: OperatorProcess, user: User, kubelet: Kubelet
) -> None:
    user.annotate(retrain="now")
    job = look_of(user)
    operator.kill()
    end_look(kubelet, job, changed=True, datasetDigest=OTHER)
    name = job["metadata"]["name"]
    eventually(lambda: user.kube.get("jobs", user.namespace, name)["status"].get("succeeded"))
    operator.start()
    looked(user, "Changed", first, "now")
    second = user.job(besides=of_role(user, "run")[0]["metadata"]["name"])
    assert second["metadata"]["labels"]["luthier.dev/revision"].startswith("r2-")
    operator.kill()
    operator.start()
    kubelet.end(kubelet.run(second["metadata"]["name"]), 0, published(user.phase("Running"), user))
    user.phase("Complete")
    assert [it["metadata"]["labels"]["luthier.dev/revision"][:2] for it in user.jobs()] == [
        "r1",
        "r2",
    ]


def test_asked_for_while_a_run_goes_on_it_waits(first: str, user: User, kubelet: Kubelet) -> None:
    user.change(training={"maxSteps": 200})
    name = of_role(user, "run")[0]["metadata"]["name"]
    second = user.job(besides=name)["metadata"]["name"]
    pod = kubelet.run(second)
    status = user.phase("Running")
    user.annotate(retrain="now")
    assert user.sees("Running", "True")
    assert not of_role(user, "probe")
    kubelet.end(pod, 0, published(status, user))
    job = look_of(user)
    assert order_of(job)["run"]["revision"] == status["revision"]


def test_a_schedule_that_never_comes_is_told(
    operator: OperatorProcess, user: User, kubelet: Kubelet
) -> None:
    user.create(retrain={"schedule": "0 0 31 2 *"})
    stalled = user.sees("Stalled", "True", "InvalidSchedule")
    assert "spec.retrain.schedule" in stalled["message"]
    assert not user.jobs()
    user.change(retrain={"schedule": "0 3 * * *", "timeZone": "Europe/Wien"})
    eventually(lambda: "Europe/Wien" in user.condition("Stalled")["message"])
    user.change(retrain={"timeZone": "Europe/Vienna"})
    train(user, kubelet)
    assert user.status()["retrain"]["schedule"] == "0 3 * * * Europe/Vienna"
