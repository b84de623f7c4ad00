"""The checks of a run, in their order: each looks at the situation, and either decides or passes.

In words: a run whose end is on record is over; else its Job is there and kept as it should be; else
it is created, unless something holds that back. Pure; each is tested alone.
"""

from collections.abc import Callable
from dataclasses import dataclass

from luthier_api import reasons, terms
from luthier_api.runsettings import RunSettings
from luthier_operator.conditions import is_true
from luthier_operator.errors import Refusal
from luthier_operator.resources import JOB_SETS, Obj
from luthier_operator.run import drift, interruptions, kueue
from luthier_operator.run.actions import Action, Delete, Ensure, Patch
from luthier_operator.run.carriers import workload_of
from luthier_operator.run.model import AnyObserved, Job, Revision
from luthier_operator.run.revision import has_ended
from luthier_operator.run.workload import Change

NAMESAKE_SECONDS = 2.0


@dataclass(frozen=True)
class Situation:
    """What a check looks at."""

    observed: AnyObserved
    spec: RunSettings
    revision: Revision
    job: Job | None  # of this revision and attempt
    refuse: Callable[[], Refusal | None]
    build: Callable[[], list[Obj]]
    settings: Callable[[], dict[str, str]]


@dataclass(frozen=True)
class Step:
    """What a check decides. Empty: all is as it should be."""

    hold: Refusal | None = None
    actions: tuple[Action, ...] = ()
    ended: bool = False
    starts: bool = False  # pods may come of it that would not come without it
    later: tuple[str, ...] = ()
    again: float | None = None


def stay_ended(it: Situation) -> Step | None:
    """The end is on record: nothing runs any more, and only now may the Job be taken away."""
    if not has_ended(it.observed, it.revision):
        return None
    return Step(ended=True, actions=tidied(it, it.job) if it.job is not None else ())


def await_deletion(it: Situation) -> Step | None:
    """Somebody deleted the Job: it is created anew when it and its pods are gone."""
    if it.job is None or not it.job.deleting:
        return None
    kind = it.job.resource.kind
    return Step(hold=Refusal(reasons.STOPPING, f"The run's {kind} is being deleted."))


def record_end(it: Situation) -> Step | None:
    """The Job has ended: nothing is changed of it until the status says so."""
    if it.job is None or it.job.end is None:
        return None
    return Step(later=_unapplied(it, it.job))


def stop_endless_interruptions(it: Situation) -> Step | None:
    """A trainer that calls each of its ends an interruption runs for ever."""
    job = it.job
    if job is None or not interruptions.too_many(job, it.observed.pods_of(job), it.spec.limits):
        return None
    end = None if job.ending else workload_of(job).end(job)
    return Step(actions=(_apply(end, "endless interruptions"),) if end else ())


def suspend_in_queue(it: Situation) -> Step | None:
    """`suspend` of a Job that Kueue manages is Kueue's: the user's goes to its Workload."""
    job, admission = it.job, it.observed.admission
    if job is None or (job.queue is None and admission is None):
        return None
    if admission is not None and (change := kueue.activate(admission, not it.spec.suspend)):
        why = "spec.suspend" if it.spec.suspend else "resumed"
        return Step(actions=(Patch(admission.resource, admission.obj, change, why),))
    return None


def suspend(it: Situation) -> Step | None:
    """`suspend` is kept in step; what somebody else suspended is left to them."""
    job, wanted = it.job, it.spec.suspend
    if job is None or job.queue is not None or it.observed.admission is not None:
        return None
    if wanted and not job.suspended:
        return Step(actions=(_patch(job, workload_of(job).suspend(True), "spec.suspend"),))
    if not wanted and job.suspended and was_suspended_by_us(it.observed, job):
        return Step(actions=(_patch(job, workload_of(job).suspend(False), "resumed"),), starts=True)
    return None


def apply_changed_settings(it: Situation) -> Step | None:
    """A Job is made of its settings once: one that never started gives way to a new one, to one
    that did they come with the next attempt."""
    job = it.job
    if job is None or not (parts := _unapplied(it, job)):
        return None
    started = any(pod.started for pod in it.observed.pods_of(job))
    if started or it.refuse() is not None:
        return Step(actions=_in_step(it, job), later=parts)
    why = f"{', '.join(parts)} changed before it started"
    hold = Refusal(reasons.REPLACING, f"A new {job.resource.kind} takes its place: {why}.")
    return Step(hold=hold, actions=(Delete(job.resource, job.obj, why),))


def keep_limits(it: Situation) -> Step | None:
    """The Job is there: what may change of it is kept in step, the rest is left alone."""
    return Step(actions=_in_step(it, it.job)) if it.job is not None else None


def stay_suspended(it: Situation) -> Step | None:
    """Nothing is created for a suspended resource."""
    return (
        Step(hold=Refusal(reasons.SUSPENDED, "spec.suspend is true.")) if it.spec.suspend else None
    )


def obey_platform(it: Situation) -> Step | None:
    """Nothing is created that luthier.yaml or the kind refuses."""
    refusal = it.refuse()
    return Step(hold=refusal) if refusal is not None else None


def await_predecessors(it: Situation) -> Step | None:
    """Two pods of one resource never run at once."""
    names = [pod.name for pod in it.observed.pods if pod.alive] or [
        job.name for job in it.observed.jobs if job.end is None
    ]
    if not names:
        return None
    message = f"Waiting for what ran before to stop: {', '.join(names)}."
    return Step(hold=Refusal(reasons.STOPPING, message))


def await_namesakes(it: Situation) -> Step | None:
    """The pod of a resource that was deleted may still write where this one's would: both have
    the same output."""
    pods = [f"{pod.name} on node {pod.node or '(none)'}" for pod in it.observed.namesakes]
    if not pods:
        return None
    message = (
        f"Waiting for the pod of a deleted namesake to stop: {', '.join(pods)}. Where that node is "
        "gone for good, delete the Node, or give this resource another name."
    )
    # Their end wakes nobody: their owner is gone.
    return Step(hold=Refusal(reasons.STOPPING, message), again=NAMESAKE_SECONDS)


def await_jobset(it: Situation) -> Step | None:
    """Pods that train together are a JobSet's. It comes into the store, and wakes its run, when
    JobSet is installed."""
    nodes = it.spec.placement.nodes
    if nodes == 1 or it.observed.jobset is not False:
        return None
    message = (
        f"spec.placement.nodes is {nodes}, and this cluster has no JobSet "
        f"({JOB_SETS.group}/{JOB_SETS.version}): ask the platform team to install it, or set nodes "
        "to 1."
    )
    return Step(hold=Refusal(reasons.JOB_SET_NOT_INSTALLED, message))


def create(it: Situation) -> Step | None:
    """Nothing speaks against it."""
    return Step(actions=tuple(Ensure(obj) for obj in it.build()), starts=True)


CHECKS: tuple[Callable[[Situation], Step | None], ...] = (
    stay_ended,
    await_deletion,
    record_end,
    stop_endless_interruptions,
    suspend_in_queue,
    suspend,
    apply_changed_settings,
    keep_limits,
    stay_suspended,
    obey_platform,
    await_predecessors,
    await_namesakes,
    await_jobset,
    create,
)


def was_suspended_by_us(observed: AnyObserved, job: Job) -> bool:
    """By the mark that we leave; Jobs of older operators have none, but a status that says so."""
    return job.suspended_by_us or is_true(observed.previous.conditions, "Suspended")


def tidied(it: Situation, job: Job) -> tuple[Action, ...]:
    """A Job whose end is on record is taken away in time."""
    ttl = terms.ttl_of(it.spec, it.observed.platform, it.observed.owner.namespace)
    if job.end is None or job.deleting or job.ttl == ttl:
        return ()
    return (_patch(job, workload_of(job).ttl(ttl), "its time to live"),)


def _unapplied(it: Situation, job: Job) -> tuple[str, ...]:
    """The settings that a Job was made without; none where it isn't known what it was made of."""
    if not job.settings:
        return ()
    try:
        return drift.changed(job.settings, it.settings())
    except LookupError:  # luthier.yaml has lost its pool: it goes on as it began
        return ()


def _in_step(it: Situation, job: Job | None) -> tuple[Action, ...]:
    if job is None:
        return ()
    actions: list[Action] = []
    namespace, platform = it.observed.owner.namespace, it.observed.platform
    if change := workload_of(job).limit(job, terms.limits_of(it.spec, namespace, platform)):
        actions.append(_apply(change, "limits"))
    queue = terms.queue_of(it.spec, namespace, platform)
    if job.suspended and job.queue and queue and queue != job.queue:
        actions.append(_patch(job, workload_of(job).queue(queue), "placement.queueName"))
    return tuple(actions)


def _patch(job: Job, changes: Obj, why: str) -> Patch:
    return Patch(job.resource, job.obj, changes, why)


def _apply(change: Change, why: str) -> Patch:
    return Patch(change.resource, change.obj, change.changes, why)
