"""An operator that starts where thousands of finished resources lie, each with its Job and pod."""

import hashlib
import json
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.figures import Rows
from bench.scale.burst import made_job, ours
from bench.scale.client import THREADS
from bench.scale.fleet import FINE_TUNE_JOBS, JOBS, NAME_LABEL, PODS, Fleet
from luthier_cluster import kwok

Json = dict[str, Any]
SETTLES = 20.0
# With kwok, those who would tidy what is made.
IDLE = ("kube-controller-manager", "kube-scheduler")


@dataclass(frozen=True)
class Start:
    """`seconds` and what stands beside it is until Ready, `settled_*` is SETTLES later."""

    count: int
    seconds: float
    cpu_seconds: float
    peak_mib: float
    settled_cpu_seconds: float
    settled_mib: float
    settled_peak_mib: float
    writes: float
    scrape_seconds: float

    def rows(self) -> Rows:
        title = f"start at {self.count:,} resources, Jobs and pods"
        return [
            (f"{title}: until Ready", f"{self.seconds:.1f} s ({self.cpu_seconds:.1f} s of CPU)"),
            (f"{title}: peak memory until Ready", f"{self.peak_mib:.0f} MiB"),
            (
                f"{title}: {SETTLES:g} s later",
                f"{self.settled_mib:.0f} MiB (peak {self.settled_peak_mib:.0f}), "
                f"{self.settled_cpu_seconds:.1f} s of CPU, {self.writes:.0f} API writes",
            ),
            (f"{title}: a scrape", f"{self.scrape_seconds:.1f} s"),
        ]


@dataclass(frozen=True)
class Finished:
    """A resource that has run, with its Job and pod: what copies are made of."""

    resource: Json
    job: Json
    pod: Json


def measure(fleet: Fleet, count: int = 10_000, profile: Path | None = None) -> Start:
    """The objects are copies of those of a run. The fleet is of no use afterwards: its controllers
    stand still."""
    with fleet.operator() as operator:
        ours(fleet, operator, 1, "pattern")
    pattern = Finished(
        fleet.client.get(f"{FINE_TUNE_JOBS}/pattern-0000"),
        made_job(fleet),
        fleet.client.get(f"{PODS}?labelSelector={NAME_LABEL}")["items"][0],
    )
    kwok.stop(fleet.cluster)
    for component in IDLE:
        fleet.cluster.stop(component)
    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(lambda number: copy(fleet, pattern, f"old-{number:05}"), range(count)))
    return _started(fleet, count, profile)


def _started(fleet: Fleet, count: int, profile: Path | None) -> Start:
    operator = fleet.operator("operator-start", profile)
    operator.start()
    try:
        seconds = operator.wait_ready(within=600)
        cpu, peak = operator.cpu_seconds(), operator.peak_mib()
        time.sleep(SETTLES)
        settled = operator.cpu_seconds()
        resident, highest = operator.resident_mib(), operator.peak_mib()
        began = time.monotonic()
        writes = operator.writes()
        scrape = time.monotonic() - began
        return Start(count, seconds, cpu, peak, settled, resident, highest, writes, scrape)
    finally:
        operator.end()


def copy(fleet: Fleet, pattern: Finished, name: str) -> None:
    """One more like it. Its status is written as a second request, as everywhere."""
    client, status = fleet.client, pattern.resource["status"]
    fresh = _anew(pattern.resource, name)
    uid = client.create(FINE_TUNE_JOBS, fresh)["metadata"]["uid"]
    seed = f"{uid}/{status['revision']}/{status['attempt']}"
    job_name = f"{name}-{hashlib.sha256(seed.encode()).hexdigest()[:8]}"
    changed = json.loads(json.dumps(status).replace(status["jobName"], job_name))
    client.patch(f"{FINE_TUNE_JOBS}/{name}/status", {"status": changed})

    words = {"luthier.dev/name": name, "luthier.dev/uid": uid}
    job = _anew(pattern.job, job_name, uid, words)
    job["spec"].pop("selector", None)
    _labels(job["spec"]["template"], words)
    job_uid = client.create(JOBS, job)["metadata"]["uid"]
    client.patch(f"{JOBS}/{job_name}/status", {"status": pattern.job["status"]})

    own = {"job-name": job_name, "controller-uid": job_uid}
    own |= {f"batch.kubernetes.io/{key}": value for key, value in own.items()}
    pod = _anew(pattern.pod, f"{job_name}-x", job_uid, words | own)
    pod["metadata"].pop("generateName", None)
    pod["metadata"].pop("finalizers", None)
    pod["spec"]["volumes"] = [
        volume for volume in pod["spec"]["volumes"] if not volume["name"].startswith("kube-api")
    ]
    client.create(PODS, pod)
    client.patch(f"{PODS}/{job_name}-x/status", {"status": pattern.pod["status"]})


def _anew(obj: Json, name: str, owner: str = "", labels: dict[str, str] | None = None) -> Json:
    """A copy to be created under another name. Pure."""
    made: Json = json.loads(json.dumps(obj))
    made.pop("status", None)
    kept = ("annotations", "namespace", "labels", "ownerReferences")
    made["metadata"] = {key: value for key, value in made["metadata"].items() if key in kept}
    made["metadata"]["name"] = name
    for reference in made["metadata"].get("ownerReferences", []):
        reference["uid"] = owner
    if labels:
        _labels(made, labels)
    return made


def _labels(obj: Json, labels: dict[str, str]) -> None:
    """Those of a Job's controller, which the API server makes, are left out."""
    metadata = obj["metadata"]
    metadata.pop("creationTimestamp", None)
    others = {
        key: value
        for key, value in metadata.get("labels", {}).items()
        if "controller-uid" not in key and "job-name" not in key
    }
    metadata["labels"] = others | labels
