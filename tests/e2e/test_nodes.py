"""Runs of several nodes: pods of a real JobSet, which find each other, begin anew together, stop
together, and go with their resource.

The pods of these tests train nothing (meeting.py), but those of the last one.
"""

import json
import os
import signal
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest
from e2e import meeting
from e2e.processes import trainer_of
from e2e.runs import Json, Run, eventually
from e2e.specs import TINY
from e2e.tenants import namespace_for
from unit.cli import command

from luthier_cluster import Cluster, jobset

INDEX = "batch.kubernetes.io/job-completion-index"
MEET: Json = {**TINY, "placement": {"pool": "meeting", "nodes": 2}}


class Nodes(Run):
    """A run of several nodes."""

    def job_set(self) -> Json | None:
        found = self._items("jobsets")
        return found[0] if found else None

    def together(self, *besides: Json) -> list[Json]:
        """Its two pods, by index, once both run and have met; other ones than `besides`."""
        others = {pod["metadata"]["uid"] for pod in besides}

        def probe() -> list[Json] | None:
            pods = [pod for pod in self.pods() if pod["metadata"]["uid"] not in others]
            pods.sort(key=lambda pod: str(pod["metadata"]["labels"].get(INDEX)))
            names = [str(pod["metadata"]["name"]) for pod in pods]
            met = all("has met all 2" in self.log(name) for name in names)
            return pods if len(pods) == 2 and met else None

        try:
            return eventually(f"the pods of {self.name} meet", probe, within=90)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.story()}") from None

    def send(self, pod: Json, number: signal.Signals) -> None:
        os.kill(trainer_of(self, pod["metadata"]["name"]), number)

    def restarts(self) -> tuple[int, int]:
        """How often JobSet began anew, and how many of these count."""
        status = (self.job_set() or {}).get("status", {})
        return status.get("restarts", 0), status.get("restartsCountTowardsMax", 0)


@pytest.fixture(scope="module")
def runs(luthier: Cluster, s3: Any) -> Iterator[dict[str, Nodes]]:
    """JobSet comes where the operator runs already. All are applied together: their pods start side
    by side."""
    jobset.start(luthier)
    with namespace_for(luthier, "nodes") as namespace:
        specs: dict[str, Json] = {
            "well": MEET,
            "disturbed": MEET,
            "paused": MEET,
            "late": {**MEET, "limits": {"activeDeadlineSeconds": 45}},
        }
        found = {name: Nodes(luthier, namespace, name, s3, spec) for name, spec in specs.items()}
        for run in found.values():
            run.apply()
        yield found
        # While JobSet can still see them off.
        luthier.kubectl("-n", namespace, "delete", "ftj", "--all", "--timeout=90s", within=120)


def test_two_pods_meet_by_name_and_their_run_ends_well(runs: dict[str, Nodes]) -> None:
    run = runs["well"]
    pods = run.together()
    assert [pod["metadata"]["labels"][INDEX] for pod in pods] == ["0", "1"]
    run.wait("Running", within=60)
    assert run.condition("Scheduled")["status"] == "True"
    job_set = run.job_set()
    assert job_set is not None
    name = job_set["metadata"]["name"]
    assert run.status["jobName"] == name
    assert f"looks for {name}-node-0-0.{name}" in run.log(pods[1]["metadata"]["name"])
    assert logs(run).count("has met all 2") == 1
    assert logs(run, "--all-attempts").count("has met all 2") == 2

    for pod in reversed(pods):
        run.send(pod, meeting.WELL)
    run.wait("Complete", within=90)
    assert run.status["artifact"]["uri"] == run.output_uri
    assert run.restarts() == (0, 0)

    def left() -> list[Json]:
        services = run.api.list("services", run.namespace)
        mine = [it for it in services if it["metadata"]["name"] == name]
        return [*filter(None, [run.job_set()]), *run.jobs(), *run.pods(), *mine]

    assert len(left()) == 5
    run.delete()
    eventually("nothing of it is left", lambda: not left(), within=90)


def test_one_that_ends_takes_the_other_along_and_both_begin_anew(runs: dict[str, Nodes]) -> None:
    run = runs["disturbed"]
    first = run.together()
    run.send(first[1], meeting.CRASH)
    second = run.together(*first)
    assert run.restarts() == (1, 1)
    assert run.status["phase"] in ("Running", "Pending", "Restarting")

    evict(run, second[0])
    third = run.together(*first, *second)
    assert run.restarts() == (2, 1), "a disruption doesn't count"

    run.kubectl("delete", "pod", third[1]["metadata"]["name"], "--wait=false")
    fourth = run.together(*first, *second, *third)
    assert run.restarts() == (3, 1), "nor does an end by SIGTERM"

    run.send(fourth[0], meeting.HOPELESS)
    failed = run.wait("Failed", within=90)
    assert (failed["reason"], failed["message"]) == ("NoRows", "There is nothing to learn from.")
    assert run.restarts() == (3, 1), "it isn't tried again"


def test_a_suspended_one_stops_as_a_whole_and_goes_on(runs: dict[str, Nodes]) -> None:
    run = runs["paused"]
    pods = run.together()
    run.apply({"suspend": True})
    run.wait("Suspended", within=90)
    eventually("its pods are gone", lambda: not run.pods(), within=90)
    assert run.status["phase"] == "Suspended"
    run.apply({"suspend": False})
    again = run.together(*pods)
    assert run.restarts()[1] == 0
    for pod in again:
        run.send(pod, meeting.WELL)
    run.wait("Complete", within=90)


def test_a_deadline_is_kept(runs: dict[str, Nodes]) -> None:
    failed = runs["late"].wait("Failed", within=150)
    assert failed["reason"] == "DeadlineExceeded"
    assert "(45)" in failed["message"]
    eventually("its pods have ended", partial(_all_over, runs["late"]), within=90)


def test_two_pods_train_and_one_that_is_killed_costs_no_result(
    runs: dict[str, Nodes], luthier: Cluster, s3: Any
) -> None:
    spec = {**TINY, "placement": {"pool": "tiny", "nodes": 2}}
    run = Nodes(luthier, runs["well"].namespace, "trained", s3, spec)
    run.apply()
    run.wait_for_step(40, within=300)
    [peer] = [pod for pod in run.pods() if pod["metadata"]["labels"].get(INDEX) == "1"]
    run.send(peer, signal.SIGKILL)
    run.wait("Ready", within=400)
    assert run.status["progress"]["step"] == TINY["training"]["maxSteps"]
    # The first pod saved what they had: its own end is an interruption.
    assert run.status["restarts"]["total"] == 1
    # Whether it counts, which of the two ends the Job controller sees first decides.
    assert run.restarts()[0] == 1


def logs(run: Run, *options: str) -> str:
    """What `luthier logs` prints of a run."""
    words = ("logs", run.name, "-n", run.namespace, *options)
    done = command.luthier(*words, kubeconfig=run.cluster.kubeconfig)
    assert done.returncode == 0, done.stderr
    return str(done.stdout)


def evict(run: Run, pod: Json) -> None:
    name = pod["metadata"]["name"]
    eviction = {
        "apiVersion": "policy/v1",
        "kind": "Eviction",
        "metadata": {"name": name, "namespace": run.namespace},
    }
    path = f"/api/v1/namespaces/{run.namespace}/pods/{name}/eviction"
    run.kubectl("create", "--raw", path, "-f", "-", input=json.dumps(eviction))


def _all_over(run: Run) -> bool:
    return all(pod["status"]["phase"] in ("Failed", "Succeeded") for pod in run.pods())
