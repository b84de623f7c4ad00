"""What a decision rests on: the resource, its Jobs and pods, the trainer's last report."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Generic, TypeVar

from luthier_api import reasons
from luthier_api.platform import Platform
from luthier_api.progress import ProgressReport
from luthier_api.result import TERMINAL_EXIT_CODES, ExitCode
from luthier_api.runsettings import RunSettings
from luthier_api.runstatus import RunStatus
from luthier_operator.resources import Obj, Resource
from luthier_operator.run.kueue import Admission


@dataclass(frozen=True)
class Owner:
    """The resource that a run belongs to."""

    resource: Resource
    namespace: str
    name: str
    uid: str


@dataclass(frozen=True)
class Revision:
    """What is to run."""

    name: str
    attempt: int
    shape_hash: str


@dataclass(frozen=True)
class JobEnd:
    """How a Job ended."""

    complete: bool
    reason: str
    message: str
    time: str
    failures: int | None = None  # how often it failed, where pods of it are gone


@dataclass(frozen=True)
class Job:
    """A run's Job, or whatever else carries it out (workload.py)."""

    resource: Resource
    obj: Obj
    name: str
    uid: str
    revision: str
    attempt: int
    created: str
    suspended: bool
    suspended_by_us: bool
    deleting: bool
    queue: str | None
    pool: str | None
    settings: Mapping[str, str]  # what it was made of (drift.py)
    ttl: int | None
    deadline: int | None
    max_restarts: int | None
    end: JobEnd | None
    ending: bool = False  # it has been told to fail
    parts: int = 1  # pods that work beside each other
    together: bool = False  # none of these can do without the others
    inner: Obj | None = None  # the Job that makes its pods, if it isn't itself
    pod_owners: frozenset[str] = frozenset()  # uids of what makes its pods
    uncounted: int = 0  # restarts that maxRestarts doesn't count, where it says so itself


@dataclass(frozen=True)
class Errand:
    """A small Job beside the runs (errands.py)."""

    obj: Obj
    name: str
    uid: str
    role: str
    about: str
    created: str
    deleting: bool
    end: JobEnd | None


@dataclass(frozen=True)
class Pod:
    """A pod of a run."""

    name: str
    uid: str
    job_uid: str | None
    phase: str
    created: str
    deleting: bool
    gone_by: str | None  # when its grace ends, of one that is being deleted
    disrupted: bool  # evicted, preempted, drained
    node: str | None
    unschedulable: str | None  # the scheduler's words
    waiting: tuple[str, str] | None  # reason and message of a container that doesn't start
    started: str | None  # when the container started
    running: bool
    exit_code: int | None
    out_of_memory: bool
    finished: str | None  # when the container ended, by its node's clock
    message: str  # the termination message
    index: int = 0  # which part of the run it is

    @property
    def alive(self) -> bool:
        """Whether a container of it may still run."""
        return self.phase not in ("Succeeded", "Failed")

    @property
    def ends_the_run(self) -> bool:
        """Whether its trainer ended well, or in a way that trying again can't heal."""
        return self.exit_code in (ExitCode.SUCCEEDED, *TERMINAL_EXIT_CODES)


@dataclass(frozen=True)
class Around:
    """What the store and the enquiry know about a resource, as JSON."""

    jobs: list[Obj]
    pods: list[Obj]
    namesakes: list[Obj]  # pods for a resource of the same kind and name, of whatever uid
    report: ProgressReport | None
    notes: tuple[str, ...]  # Warning events about the Job or pod that doesn't come up
    admission: Admission | None  # Kueue's
    kueue: bool | None  # whether it is installed; None: not known yet
    platform: Platform
    now: datetime
    look_up: Callable[[str], Obj | None]  # a FineTuneJob of the namespace, by name
    jobset: bool | None = False  # as kueue; None, too, until all of the namespace are known
    job_sets: list[Obj] = field(default_factory=list)
    taken: Callable[[], list[str]] = list  # URIs that others of the namespace have taken


SpecT = TypeVar("SpecT", bound=RunSettings, covariant=True)
StatusT = TypeVar("StatusT", bound=RunStatus, covariant=True)
SourcesT = TypeVar("SourcesT", covariant=True)


@dataclass(frozen=True)
class Observed(Generic[SpecT, StatusT, SourcesT]):
    """Everything that a decision rests on. `sources`: what the kind follows beside its spec."""

    owner: Owner
    generation: int
    retry_token: str | None
    spec: SpecT | None  # None where the stored one can't be read
    invalid: str  # why
    previous: StatusT
    sources: SourcesT
    jobs: tuple[Job, ...]
    pods: tuple[Pod, ...]  # oldest first
    namesakes: tuple[Pod, ...]  # pods of a resource that had this name before, and still run
    report: ProgressReport | None
    notes: tuple[str, ...]
    admission: Admission | None
    kueue: bool | None
    platform: Platform
    now: datetime
    rerun_token: str | None = None
    retrain_token: str | None = None
    errands: tuple[Errand, ...] = ()
    errand_pods: tuple[Pod, ...] = ()  # oldest first
    taken: Callable[[], list[str]] = list
    jobset: bool | None = False
    invalid_reason: str = reasons.INVALID_SPEC

    def pods_of(self, job: Job | None) -> list[Pod]:
        """The Job's pods, oldest first."""
        return [pod for pod in self.pods if job is not None and pod.job_uid in job.pod_owners]


def newest_of_each(pods: Sequence[Pod]) -> list[Pod]:
    """Of each part of a run the newest pod. `pods`: oldest first."""
    return list({pod.index: pod for pod in pods}.values())


def have_ended(pods: Sequence[Pod], parts: int = 1) -> bool:
    """Whether a Job's pods have ended it, and it will say so in a moment: one in a way that trying
    again can't heal, or that of each part well. `pods`: oldest first."""
    newest = newest_of_each(pods)
    over = [pod for pod in newest if pod.ends_the_run]
    fatal = any(pod.exit_code != ExitCode.SUCCEEDED for pod in over)
    return fatal or len(over) >= max(parts, len(newest), 1)


AnyObserved = Observed[RunSettings, RunStatus, object]
