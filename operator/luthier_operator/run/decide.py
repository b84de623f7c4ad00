"""Observed → Plan: an ordered chain of checks. Pure.

In words: stop what serves an older revision or attempt than the wanted one; then either
the run has ended (tidy), or its Job is there (keep `suspend` in step), or it isn't
(create it, unless something holds that back).
"""

from collections.abc import Callable
from dataclasses import dataclass

from luthier_operator.errors import Refusal
from luthier_operator.resources import Obj
from luthier_operator.run.model import AnyObserved, Job, Revision
from luthier_operator.run.revision import has_ended


@dataclass(frozen=True)
class Plan:
    """What to do. At most one of `create` and `patch` is set."""

    revision: Revision | None = None
    retry_token: str | None = None
    job: Job | None = None  # of this revision and attempt
    ended: bool = False  # the status has its end already
    hold: Refusal | None = None  # why there is no Job, where there is none
    delete: tuple[Job, ...] = ()
    create: tuple[Obj, ...] = ()
    patch: Obj | None = None  # changes of the Job


def unreadable(observed: AnyObserved) -> Plan:
    """For a spec that an older schema let in. Its Job, if there is one, is left alone."""
    message = f"{observed.invalid}. Apply a corrected spec."
    return Plan(hold=Refusal("InvalidSpec", message, terminal=True))


def wait(observed: AnyObserved, hold: Refusal) -> Plan:
    """For a resource whose revision isn't known yet: whatever runs serves an older one."""
    return Plan(retry_token=observed.retry_token, hold=hold, delete=_running(observed, None))


def follow(
    observed: AnyObserved,
    revision: Revision,
    token: str | None,
    *,
    check: Callable[[], Refusal | None],
    build: Callable[[], list[Obj]],
) -> Plan:
    """The plan for the wanted revision. `check`: what the kind has to say before a Job is
    created; `build`: the objects of its run, the Job last."""
    spec = observed.spec
    assert spec is not None
    current = next(
        (
            job
            for job in observed.jobs
            if (job.revision, job.attempt) == (revision.name, revision.attempt)
        ),
        None,
    )
    stop = _running(observed, current)

    def plan(
        *,
        ended: bool = False,
        hold: Refusal | None = None,
        create: tuple[Obj, ...] = (),
        patch: Obj | None = None,
    ) -> Plan:
        return Plan(revision, token, current, ended, hold, stop, create, patch)

    # The end is on record: only now may the Job be taken away.
    if has_ended(observed, revision):
        ttl = spec.limits.ttl_seconds_after_finished
        tidy = current is not None and current.end and not current.deleting and current.ttl != ttl
        return plan(ended=True, patch={"spec": {"ttlSecondsAfterFinished": ttl}} if tidy else None)

    if current is not None:
        # Somebody deleted it; it is created anew when its pods are gone.
        if current.deleting:
            return plan(hold=Refusal("Stopping", "The run's Job is being deleted."))
        # A queued Job's `suspend` belongs to Kueue.
        if current.end is None and current.queue is None and current.suspended != spec.suspend:
            return plan(patch={"spec": {"suspend": spec.suspend}})
        return plan()

    if spec.suspend:
        return plan(hold=Refusal("Suspended", "spec.suspend is true."))
    if refusal := check():
        return plan(hold=refusal)
    # Two pods of one resource never run at once.
    busy = [pod.name for pod in observed.pods if pod.alive]
    older = [job for job in observed.jobs if job.end is None]
    if busy or older:
        names = ", ".join(busy) or ", ".join(job.name for job in older)
        return plan(hold=Refusal("Stopping", f"Waiting for what ran before to stop: {names}."))
    return plan(create=tuple(build()))


def _running(observed: AnyObserved, current: Job | None) -> tuple[Job, ...]:
    """What serves something older; an older Job that has ended stays for its TTL."""
    return tuple(
        job for job in observed.jobs if job is not current and job.end is None and not job.deleting
    )
