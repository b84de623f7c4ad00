"""A search: one Job with several pods at a time, and one result."""

import json
from typing import Any

from integration.kube import Kube, eventually
from integration.kubelet import Kubelet
from integration.operatorprocess import OperatorProcess
from integration.test_progress import post, report, token
from integration.user import User, published, result

SEARCH: dict[str, Any] = {
    "objective": {"metric": "eval_loss", "direction": "minimize"},
    "space": {"lora.rank": {"type": "int", "low": 8, "high": 64, "step": 8}},
    "trials": 3,
    "parallelism": 2,
}


def trial(number: int, state: str, **fields: Any) -> dict[str, Any]:
    return {"number": number, "state": state, "settings": {"lora.rank": "8"}, **fields}


def test_a_search_goes_on_over_a_dead_pod_and_ends_with_the_best(
    operator: OperatorProcess, user: User, kubelet: Kubelet, kube: Kube
) -> None:
    user.create(search=SEARCH)
    job = user.job()
    name = job["metadata"]["name"]
    assert job["spec"]["completionMode"] == "Indexed"
    assert (job["spec"]["completions"], job["spec"]["parallelism"]) == (2, 2)
    first, second = kubelet.run(name, 0), kubelet.run(name, 1)
    order = json.loads(first["metadata"]["annotations"]["luthier.dev/runspec"])
    assert order["fineTuning"]["search"]["trials"] == 3
    user.phase("Running")

    table = [trial(0, "Complete", value=0.5), trial(1, "Running")]
    told = {"trials": 3, "running": 1, "complete": 1, "table": table, "best": table[0]}
    assert post(operator, token(kube, first), report(user, first, search=told)) == 204
    search = eventually(lambda: user.status().get("search"))
    assert search["best"]["value"] == 0.5
    assert user.status()["progress"]["percent"] == "33%"

    # The first has nothing left to do; the second dies, and its successor tells of all trials.
    kubelet.end(first, 0, result(user.status()))
    kubelet.end(second, 137, reason="Error")
    third = kubelet.run(name, 1)
    user.phase("Running")
    told |= {"running": 1, "complete": 2}
    assert post(operator, token(kube, third), report(user, third, search=told)) == 204
    eventually(lambda: user.status()["search"]["complete"] == 2 or None)

    done = published(user.status(), user) | {"search": {"trials": 3, "complete": 3}}
    kubelet.end(third, 0, done)
    user.sees("Complete", "True", "Completed")
    status = user.status()
    assert status["artifact"]["uri"].endswith(status["revision"])
    assert status["search"]["complete"] == 3
    assert status["search"]["best"]["settings"] == {"lora.rank": "8"}
    labels = f'kind="FineTuneJob",name="tone",namespace="{user.namespace}",pool="cpu"'
    metrics = operator.metrics()
    assert metrics[f"luthier_run_trials_complete{{{labels}}}"] == 3
    assert metrics[f"luthier_run_trials_best{{{labels}}}"] == 0.5


def test_a_suspended_search_goes_on_with_the_pods_that_have_not_ended(
    operator: OperatorProcess, user: User, kubelet: Kubelet
) -> None:
    user.create(search=SEARCH)
    name = user.job()["metadata"]["name"]
    first = kubelet.run(name, 0)
    kubelet.run(name, 1)
    status = user.phase("Running")
    kubelet.end(first, 0, result(status))
    user.change(suspend=True)
    eventually(lambda: any("deletionTimestamp" in it["metadata"] for it in kubelet.pods(name)))
    kubelet.finish_deletions(name)
    user.phase("Suspended")
    user.change(suspend=False)
    again = kubelet.run(name, 1)
    status = user.phase("Running")
    kubelet.end(again, 0, published(status, user))
    user.phase("Complete")


def test_an_impossible_space_is_terminal_and_makes_no_job(
    operator: OperatorProcess, user: User
) -> None:
    space = {"lora.rank": {"type": "int", "low": 8, "high": 4096}}
    user.create(search=SEARCH | {"space": space})
    stalled = user.sees("Stalled", "True", "InvalidSearch")
    assert "spec.search.space[lora.rank]" in stalled["message"]
    assert user.jobs() == []
    user.change(search=SEARCH)
    assert user.job()
