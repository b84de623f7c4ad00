"""`luthier logs`: what the pods of a run wrote, over restarts and attempts."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from luthier_cli.errors import CliError
from luthier_cli.kube import ApiError, Cluster, Object, UnreachableError
from luthier_cli.state import Resource, cause, outcome, status_of
from luthier_cli.target import Target
from luthier_cli.text import duration

CONTAINER = "trainer"
UID_LABEL = "luthier.dev/uid"
JOB_SET_LABEL = "jobset.sigs.k8s.io/jobset-name"
INDEX_LABEL = "batch.kubernetes.io/job-completion-index"

_POLL_SECONDS = 1.0
_QUIET_SECONDS = 60.0  # a silent stream is opened anew: it may be dead

Write = Callable[[str], None]


@dataclass
class Logs:
    """Logs of one run. `write` takes lines of the log, `note` words about them."""

    cluster: Cluster
    target: Target
    write: Write
    note: Write
    _read: set[str] = field(default_factory=set)

    def show(self, *, follow: bool, all_attempts: bool, tail: int) -> None:
        """The newest pod's log, or all pods'; with `follow` to the run's end. Raises CliError."""
        try:
            resource, pods = self._look(all_attempts)
            if not all_attempts:
                self._read |= {_uid(pod) for pod in pods[:-1]}
            if not follow and not any(_has_log(pod) for pod in pods):
                raise _no_log(self.target, resource, pods)
            while True:
                for pod in pods:
                    if _uid(pod) not in self._read and _has_log(pod):
                        self._read.add(_uid(pod))
                        self._show_pod(pod, follow, tail)
                tail = -1  # of pods that come later nothing is left out
                if not follow or outcome(resource):
                    return
                time.sleep(_POLL_SECONDS)
                resource, pods = self._look(all_attempts)
        except (ApiError, UnreachableError) as error:
            raise self.cluster.explain(error, str(self.target)) from None

    def _look(self, every: bool) -> tuple[Resource, list[Object]]:
        """The resource and its pods, oldest first. `every`: of pods that train together not the
        first alone."""
        namespace = self.cluster.namespace
        resource = self.cluster.request("GET", self.target.path(namespace))
        selector = {"labelSelector": f"{UID_LABEL}={resource['metadata']['uid']}"}
        pods = self.cluster.request("GET", f"/api/v1/namespaces/{namespace}/pods", selector)
        shown = [pod for pod in pods["items"] if every or _speaks_for_all(pod)]
        return resource, sorted(shown, key=lambda pod: str(pod["metadata"]["creationTimestamp"]))

    def _show_pod(self, pod: Object, follow: bool, tail: int) -> None:
        name = pod["metadata"]["name"]
        labels = pod["metadata"].get("labels", {})
        attempt = labels.get("luthier.dev/attempt", "1")
        self.note(f"{name}, attempt {attempt} of {labels.get('luthier.dev/revision', 'the run')}")
        last = resumed_at = ""
        query = {"container": CONTAINER, "timestamps": "true", "follow": str(follow).lower()}
        if tail >= 0:
            query["tailLines"] = str(tail)
        path = f"/api/v1/namespaces/{self.cluster.namespace}/pods/{name}/log"
        while True:
            try:
                for line in self.cluster.lines(path, query, _QUIET_SECONDS):
                    # The stamp lets a broken stream go on where it stopped.
                    stamp, _, text = line.decode("utf-8", "replace").partition(" ")
                    if stamp > resumed_at:
                        last = stamp
                        self.write(text)
                return
            except ApiError as error:
                if error.code in (400, 404):
                    self.note(f"{name} is gone: {error}")
                    return
                raise
            except UnreachableError:
                if not follow:
                    raise
                query.pop("tailLines", None)
                if last:
                    query["sinceTime"] = resumed_at = last
                time.sleep(_POLL_SECONDS)


def _uid(pod: Object) -> str:
    return str(pod["metadata"]["uid"])


def _speaks_for_all(pod: Object) -> bool:
    """Whether it isn't one of the others of several that train together."""
    labels = pod["metadata"].get("labels", {})
    return JOB_SET_LABEL not in labels or labels.get(INDEX_LABEL) == "0"


def _has_log(pod: Object) -> bool:
    """Whether the trainer's container has started."""
    for status in pod.get("status", {}).get("containerStatuses", []):
        if status["name"] == CONTAINER:
            return not status.get("state", {}).get("waiting")
    return False


def _no_log(target: Target, resource: Resource, pods: list[Object]) -> CliError:
    name = target.name
    if pods:
        return CliError(
            f"the pod {pods[-1]['metadata']['name']} of {name} hasn't started",
            f"wait for it with --follow, or see why: luthier watch {target.argument}",
        )
    reason, message = cause(resource)
    phase = status_of(resource).get("phase") or "not yet seen by the operator"
    why = f": {reason}: {message}" if reason else ""
    return CliError(
        f"{name} has no pod ({phase}{why})",
        _why_no_pod(resource) if outcome(resource) else "wait for one with --follow",
    )


def _why_no_pod(resource: Resource) -> str:
    """Of a run that has ended: what became of its pods."""
    if not status_of(resource).get("startTime"):
        return "none was started: mend that first"
    if cause(resource)[0] == "DeadlineExceeded":
        return (
            "Kubernetes removes the pods of a run at its deadline at once: to read along, use "
            "--follow, or raise limits.activeDeadlineSeconds"
        )
    seconds = ((resource.get("spec") or {}).get("limits") or {}).get("ttlSecondsAfterFinished")
    when = "some time" if seconds is None else duration(seconds)
    return (
        f"the run has ended, and its pods are removed {when} later "
        "(limits.ttlSecondsAfterFinished), or with their node; to read along, use --follow"
    )
