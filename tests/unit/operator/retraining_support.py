"""A FineTuneJob that is retrained, with a clock, and with Jobs whose ends the tests tell."""

import json
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from unit.operator.builders import around, ended, pod_of, resource

from luthier_api.finetunejob import FineTuneJobStatus
from luthier_api.retraining import RetrainStatus
from luthier_api.runspec import RUNSPEC_ANNOTATION, AnyOrder, read_order
from luthier_operator.finetunejob.decide import decide
from luthier_operator.finetunejob.observe import observe
from luthier_operator.finetunejob.status import compute
from luthier_operator.resources import ROLE_LABEL, Obj
from luthier_operator.run.actions import Delete, Ensure
from luthier_operator.run.decide import Plan

DIGEST = "sha256:" + "1" * 64
OTHER = "sha256:" + "2" * 64
RETRAIN: dict[str, Any] = {"schedule": "0 3 * * *", "timeZone": "Europe/Vienna"}


def at(text: str) -> datetime:
    """A time, in UTC."""
    return datetime.fromisoformat(f"{text}+00:00")


class World:
    """What the store has of one resource, and the time. `step` is a reconciliation."""

    def __init__(self, now: str = "2026-01-10T12:00:00", **retrain: Any) -> None:
        self.now = at(now)
        self.spec: dict[str, Any] = {"retrain": retrain or RETRAIN}
        self.generation = 1
        self.annotations: dict[str, str] = {}
        self.status = FineTuneJobStatus()
        self.jobs: dict[str, Obj] = {}
        self.pods: list[Obj] = []
        self.created: list[str] = []  # Jobs, by name
        self.large: dict[str, str] = {}
        self.writes = 0
        self.platform = around().platform

    def obj(self) -> Obj:
        found = resource(generation=self.generation, status=self.status.to_json(), **self.spec)
        found["metadata"]["annotations"] = dict(self.annotations)
        return found

    def plan(self) -> Plan:
        return decide(self._observed())

    def _observed(self) -> Any:
        seen = replace(
            around(jobs=list(self.jobs.values()), pods=self.pods),
            now=self.now,
            platform=self.platform,
        )
        return observe(self.obj(), seen)

    def step(self, *, written: bool = True) -> Plan:
        """Decide, act, write the status; without the last, as an operator that dies before."""
        observed = self._observed()
        plan = decide(observed)
        for action in (*plan.actions, *plan.beside):
            if isinstance(action, Delete):
                self.jobs.pop(action.obj["metadata"]["name"], None)
            elif isinstance(action, Ensure):
                self._create(action.obj)
        if plan.created:
            observed = self._observed()
            plan = replace(decide(observed), actions=plan.actions, beside=plan.beside)
        status = compute(observed, plan)
        if written and status.to_json() != self.status.to_json():
            self.status = FineTuneJobStatus.read(status.to_json())
            self.writes += 1
        return plan

    def _create(self, built: Obj) -> None:
        name = built["metadata"]["name"]
        if built["kind"] == "ConfigMap":  # of a large order
            (self.large[name],) = built["data"].values()
            return
        if name in self.jobs:
            return
        self.created.append(name)
        created = self.now.strftime("%Y-%m-%dT%H:%M:%SZ")
        metadata = {
            **built["metadata"],
            "uid": f"uid-{name}-{len(self.created)}",
            "resourceVersion": "1",
            "creationTimestamp": created,
        }
        annotations = built["spec"]["template"]["metadata"]["annotations"]
        order = annotations.get(RUNSPEC_ANNOTATION) or self.large[name]
        spec = {"backoffLimit": built["spec"]["backoffLimit"]}
        self.jobs[name] = {
            "metadata": metadata,
            "spec": spec,
            "status": {"conditions": []},
            "order": order,
        }

    def steps(self, times: int = 4) -> None:
        for _ in range(times):
            self.step()

    def wait(self, **delta: float) -> None:
        """Time passes, and it is reconciled."""
        self.now += timedelta(**delta)
        self.steps()

    def go_to(self, text: str) -> None:
        self.now = at(text)
        self.steps()

    def of_role(self, role: str) -> list[Obj]:
        return [job for job in self.jobs.values() if job["metadata"]["labels"][ROLE_LABEL] == role]

    @property
    def looks(self) -> list[Obj]:
        return self.of_role("probe")

    @property
    def runs(self) -> list[Obj]:
        """Those that go on."""
        return [job for job in self.of_role("run") if not job["status"]["conditions"]]

    @property
    def retrain(self) -> RetrainStatus:
        assert self.status.retrain is not None
        return self.status.retrain

    def order_of(self, job: Obj) -> AnyOrder:
        return read_order(job["order"].encode())

    def end(self, job: Obj, code: int, message: str = "") -> None:
        """Its pod, and it, end now."""
        name = job["metadata"]["name"]
        phase = "Failed" if code else "Succeeded"
        self.pods.append(pod_of(job, f"{name}-pod", phase=phase, state=ended(code, message)))
        job["status"]["conditions"] = [
            {
                "type": "Failed" if code else "Complete",
                "status": "True",
                "reason": "PodFailurePolicy" if code else "",
                "message": "",
                "lastTransitionTime": self.now.strftime("%Y-%m-%dT%H:%M:%SZ"),
            }
        ]

    def end_run(self, code: int = 0, digest: str | None = DIGEST, **fields: Any) -> None:
        """The run that goes on publishes, or fails."""
        (job,) = self.runs
        order = self.order_of(job)
        told: dict[str, Any] = {
            "revision": order.run.revision,
            "attempt": order.run.attempt,
            "outcome": "Failed" if code else "Succeeded",
            "datasetDigest": digest,
        }
        if not code:
            told["artifact"] = {"uri": order.output, "manifestSha256": "a" * 64}
        self.end(job, code, json.dumps(told | fields))
        self.steps()

    def end_look(self, code: int = 0, **fields: Any) -> None:
        """The look that goes on tells what it found."""
        (job,) = self.looks
        told = {
            "revision": "r1",
            "attempt": 1,
            "outcome": "Failed" if code else "Succeeded",
            "datasetDigest": DIGEST,
        }
        self.end(job, code, json.dumps(told | fields))
        self.steps()

    def found_other(self, total: int = 100, new: int = 5, gone: int = 2) -> None:
        rows = {"total": total, "new": new, "gone": gone}
        self.end_look(changed=True, datasetDigest=OTHER, rows=rows)

    def publish(self) -> None:
        """Its first run, from beginning to end."""
        self.steps()
        self.end_run()
        assert self.status.phase == "Complete"

    def edit(self, **fields: Any) -> None:
        self.spec |= fields
        self.generation += 1
        self.steps()
