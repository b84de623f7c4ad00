"""Kueue, as it is installed in clusters: who is admitted, who waits and why, who has to give way.

GPUs are those of simulated nodes, whose pods end when they are told; the pods of a queue for the
CPU are real. Each test has a queue with a quota of its own.
"""

import json
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest
from e2e.pods import apply
from e2e.processes import hold_at
from e2e.queues import (
    URGENT,
    Team,
    end,
    has_pod,
    priority_class,
    wait_for_pods,
    waits,
    workload,
)
from e2e.runs import Json, Run, eventually
from e2e.specs import TINY
from e2e.tenants import namespace_for

from luthier_cluster import Cluster, jobset, kueue, kwok

MIDDLE = 100


@pytest.fixture(scope="module")
def team(luthier: Cluster, s3: Any) -> Iterator[Team]:
    """Kueue comes where the operator runs already, as in most clusters."""
    kueue.install(luthier)
    kwok.start(luthier, nodes=2, gpus=8, seconds=None)
    try:
        apply(luthier, priority_class(URGENT, 1000))
        with namespace_for(luthier, "queued") as namespace:
            label = f"{kueue.MANAGED_LABEL}=managed"
            luthier.kubectl("label", "namespace", namespace, label)
            yield Team(luthier, namespace, s3)
            # While kwok can still let its pods go.
            luthier.kubectl("-n", namespace, "delete", "ftj", "--all", "--timeout=60s", within=90)
    finally:
        kwok.stop(luthier)


def on_gpu(queue: str, **placement: Any) -> Json:
    wanted = {"pool": "simulated", "gpus": 1, "queueName": queue, **placement}
    return {**TINY, "placement": wanted}


def queued(team: Team, queue: str, *names: str) -> list[Run]:
    """Runs of one GPU each, applied in this order."""
    runs = [team.run(f"{queue}-{name}", on_gpu(queue)) for name in names]
    for run in runs:
        run.apply()
        # Kueue takes those of one second in any order.
        eventually(f"Kueue knows {run.name}", partial(workload, run), within=60)
    return runs


def test_what_exceeds_the_quota_waits_and_comes_in_turn(team: Team) -> None:
    first, second, third = queued(team, team.gpu_queue("quota"), "one", "two", "three")
    wait_for_pods(first, second)
    waits(third, "quota", "insufficient unused quota", "nvidia.com/gpu")
    assert third.status["phase"] == "Queued"
    assert not third.pods()

    end(first)
    first.wait("Ready", within=60)
    wait_for_pods(third)
    assert third.condition("Scheduled")["status"] == "True"
    for run in (second, third):
        end(run)
        run.wait("Ready", within=60)


def test_a_higher_priority_takes_the_place_and_gives_it_back(team: Team) -> None:
    queue = team.gpu_queue("ranked", gpus=1)
    [low] = queued(team, queue, "low")
    wait_for_pods(low)
    high = team.run("ranked-high", on_gpu(queue, priority=URGENT))
    high.apply()
    wait_for_pods(high)
    waits(low, "preempted", "ranked")
    assert low.status["phase"] == "Queued"

    end(high)
    high.wait("Ready", within=60)
    wait_for_pods(low)
    assert len(low.jobs()) == 1, "the same attempt goes on"
    end(low)
    low.wait("Ready", within=60)


def test_a_preempted_trainer_saves_its_checkpoint_and_goes_on_from_it(team: Team) -> None:
    # For one pod of the pool `tiny`, which asks for 80m.
    queue = team.queue("cpu", {"cpu": "100m", "memory": "100Gi"})
    low = team.run("cpu-low", {**TINY, "placement": {"pool": "tiny", "queueName": queue}})
    low.apply()
    [held] = hold_at({"low": low}, {"low": MIDDLE})
    placement = {"pool": "tiny", "queueName": queue, "priority": URGENT}
    high = team.run("cpu-high", {**TINY, "placement": placement})
    try:
        high.apply({"training": {"maxSteps": 20}})
        waits(low, "preempted")
    finally:
        held.release()

    high.wait("Ready", within=240)
    pod = low.wait_for_line("going on from the checkpoint of step", within=240, besides=held.pod)
    step = int(low.log(pod).partition("the checkpoint of step ")[2].split()[0])
    assert step >= MIDDLE
    low.wait("Ready", within=240)
    lines = low.read(f"{low.status['artifact']['uri']}/report/metrics.jsonl").splitlines()
    steps = [entry["step"] for entry in map(json.loads, lines) if "loss" in entry]
    assert steps == [1, *range(20, 301, 20)], "no step was learnt from twice"
    assert len(low.jobs()) == 1
    restarts = low.status["restarts"]
    assert (restarts["failures"], restarts["disruptions"]) == (0, 1)


def test_a_run_that_its_user_suspends_isnt_admitted_until_it_is_resumed(team: Team) -> None:
    first, second = queued(team, team.gpu_queue("paused", gpus=1), "one", "two")
    wait_for_pods(first)
    waits(second, "quota")
    second.apply({"suspend": True})
    second.wait("Suspended", within=60)
    assert (workload(second) or {})["spec"]["active"] is False

    end(first)
    first.wait("Ready", within=60)
    [third] = queued(team, "paused", "three")
    wait_for_pods(third)  # the place was free, and the suspended one is passed over
    assert not second.pods()

    second.apply({"suspend": False})
    waits(second, "quota")
    end(third)
    wait_for_pods(second)
    end(second)
    second.wait("Ready", within=60)


def test_a_run_that_is_suspended_while_it_runs_gives_its_place_to_the_next(team: Team) -> None:
    first, second = queued(team, team.gpu_queue("given", gpus=1), "one", "two")
    wait_for_pods(first)
    waits(second, "quota")
    first.apply({"suspend": True})
    first.wait("Suspended", within=60)
    wait_for_pods(second)
    assert not has_pod(first)

    first.apply({"suspend": False})
    end(second)
    second.wait("Ready", within=60)
    wait_for_pods(first)
    end(first)
    first.wait("Ready", within=60)


def test_a_run_that_is_deleted_while_it_waits_leaves_nothing(team: Team) -> None:
    first, second = queued(team, team.gpu_queue("deleted", gpus=1), "one", "two")
    wait_for_pods(first)
    waits(second, "quota")
    theirs = workload(second)
    assert theirs is not None
    second.delete()

    def left() -> list[str]:
        names = team.run("", {}).kubectl("get", "workloads.kueue.x-k8s.io", "-o", "name").split()
        own = [name for name in names if name.endswith(f"/{theirs['metadata']['name']}")]
        return own + [job["metadata"]["name"] for job in (*second.jobs(), *second.pods())]

    eventually("nothing of it is left", lambda: not left(), within=60)
    end(first)
    first.wait("Ready", within=60)


def test_a_queue_that_isnt_there_is_named(team: Team) -> None:
    run = team.run("astray", on_gpu("nowhere"))
    run.apply()
    waits(run, "nowhere", "exist")
    assert not run.pods()
    team.gpu_queue("nowhere")
    wait_for_pods(run)
    end(run)
    run.wait("Ready", within=60)


def test_a_run_of_several_nodes_is_admitted_as_a_whole(team: Team) -> None:
    jobset.start(team.cluster)
    queue = team.gpu_queue("whole", gpus=3)
    first, second = (team.run(f"whole-{name}", on_gpu(queue, nodes=2)) for name in ("one", "two"))
    first.apply()
    both_run(first)
    second.apply()
    waits(second, "quota", "nvidia.com/gpu")  # there is a GPU for one of its pods
    assert second.status["phase"] == "Queued"
    assert not second.pods()
    second.apply({"suspend": True})
    second.wait("Suspended", within=60)
    for pod in first.pods():
        first.kubectl("annotate", "pod", pod["metadata"]["name"], f"{kwok.END}=")
    first.wait("Ready", within=60)
    assert not second.pods(), "the place was free, and it isn't admitted"
    second.apply({"suspend": False})
    both_run(second)


def both_run(run: Run) -> None:
    def running() -> bool:
        return [pod["status"].get("phase") for pod in run.pods()] == ["Running"] * 2

    eventually(f"two pods of {run.name} run", running, within=60)
