"""Observed → Plan: an ordered chain of checks. Pure.

In words: find out which revision and attempt the spec asks for; stop what serves an
older one; then either the run has ended (tidy), or its Job is there (keep `suspend`
in step), or it isn't (create it, unless something holds that back).
"""

from dataclasses import dataclass

from luthier_api.revision import revision_name, revision_number, shape_hash
from luthier_operator.conditions import find, is_true
from luthier_operator.errors import Refusal
from luthier_operator.finetunejob import policy
from luthier_operator.finetunejob.build import Owner, Revision, build
from luthier_operator.finetunejob.observe import Job, Observed
from luthier_operator.resources import Obj


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


def decide(observed: Observed) -> Plan:
    """The plan for what was observed."""
    spec = observed.spec
    # A spec that an older schema let in. Its Job, if there is one, is left alone.
    if spec is None:
        message = f"{observed.invalid}. Apply a corrected spec."
        return Plan(hold=Refusal("InvalidSpec", message, terminal=True))

    revision, token = wanted(observed)
    current = next(
        (
            job
            for job in observed.jobs
            if (job.revision, job.attempt) == (revision.name, revision.attempt)
        ),
        None,
    )
    older = [job for job in observed.jobs if job is not current]
    # What serves an older spec is stopped; an older Job that has ended stays for its TTL.
    stop = tuple(job for job in older if job.end is None and not job.deleting)

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
    if refusal := policy.check(spec, observed.namespace, observed.platform):
        return plan(hold=refusal)
    # Two pods of one resource never run at once.
    busy = [pod.name for pod in observed.pods if pod.alive]
    if busy or any(job.end is None for job in older):
        names = ", ".join(busy) or ", ".join(job.name for job in older if job.end is None)
        return plan(hold=Refusal("Stopping", f"Waiting for what ran before to stop: {names}."))
    owner = Owner(observed.namespace, observed.name, observed.uid)
    return plan(create=tuple(build(owner, spec, revision, observed.platform)))


def wanted(observed: Observed) -> tuple[Revision, str | None]:
    """The revision and attempt that the spec asks for, and the retry token that it serves.

    A revision opens when the generation moved and the hash of what shapes the result
    did; the next attempt when the last failed, and the spec or the token changed.
    """
    spec, previous, token = observed.spec, observed.previous, observed.retry_token
    assert spec is not None
    shape = shape_hash(spec, spec.output.uri)
    known = _known(observed)
    if known is None:
        return Revision(revision_name(1, shape), 1, shape), token
    name, attempt = known
    stalled = find(previous.conditions, "Stalled")
    unread = stalled is not None and stalled.reason == "InvalidSpec"
    moved = unread or previous.observed_generation != observed.generation
    if moved and not name.endswith(f"-{shape[:8]}"):
        return Revision(revision_name(revision_number(name) + 1, shape), 1, shape), token

    failed = find(previous.conditions, "Failed")
    if failed is not None and failed.status == "True":
        asked = token is not None and token != previous.retry_token
        if asked or failed.observed_generation != observed.generation:
            return Revision(name, attempt + 1, shape), token or previous.retry_token
    return Revision(name, attempt, shape), token or previous.retry_token


def _known(observed: Observed) -> tuple[str, int] | None:
    """The newest revision and attempt on record, or on a Job where there is no status."""
    previous = observed.previous
    if previous.revision:
        return previous.revision, previous.attempt or 1
    named = [(job.revision, job.attempt) for job in observed.jobs if job.revision]
    return max(named, key=lambda it: (revision_number(it[0]), it[1]), default=None)


def has_ended(observed: Observed, revision: Revision) -> bool:
    """Whether the status records the end of this revision's attempt."""
    previous = observed.previous
    same = (previous.revision, previous.attempt) == (revision.name, revision.attempt)
    return same and (
        is_true(previous.conditions, "Complete") or is_true(previous.conditions, "Failed")
    )
