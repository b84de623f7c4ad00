"""Which revision and attempt is wanted, and whether it has ended. Pure."""

from luthier_api import reasons
from luthier_api.result import RunResult
from luthier_api.revision import attempt_hash, revision_name, revision_number
from luthier_api.runsettings import RunSettings
from luthier_api.runstatus import RunStatus
from luthier_operator.conditions import find, tell_an_end
from luthier_operator.run.memo import PARSED, Once
from luthier_operator.run.model import AnyObserved, Job, Revision
from luthier_operator.run.observe import parse_result

# The code of the error of a run whose folder a namesake, deleted since, has filled from other data.
REVISION_TAKEN = "RevisionTaken"
# As many as a name has digits for (luthier_api/revision.py).
MOST_REVISIONS = 999_999_999

_ATTEMPTS: Once[str] = Once(PARSED)


def wanted(
    observed: AnyObserved, shape: str, *, followed: bool = False, moved_on: bool = False
) -> tuple[Revision, str | None]:
    """The revision and attempt that is asked for, and the retry token that it serves.

    `shape` is the hash of what shapes the result. A revision opens when that differs, and
    the generation moved or what the resource follows did (`followed`). One of the same shape
    opens when it is asked for (`luthier rerun`), or what it is made from has changed
    (`moved_on`), or its place is taken; the next attempt when the last failed, and the token
    changed or what it ran with.
    """
    previous, token = observed.previous, observed.retry_token
    known = _known(observed)
    if known is None:
        return Revision(revision_name(_newest(observed) + 1, shape), 1, shape), token
    name, attempt = known
    stalled = find(previous.conditions, "Stalled")
    unread = stalled is not None and stalled.reason in reasons.UNREADABLE
    moved = followed or unread or previous.observed_generation != observed.generation
    if moved and not name.endswith(f"-{shape[:8]}"):
        return Revision(revision_name(revision_number(name) + 1, shape), 1, shape), token
    rerun = observed.rerun_token is not None and observed.rerun_token != previous.rerun_token
    taken = _newest_of_a_namesake(observed, name, attempt)
    if moved_on or (rerun and previous.revision is not None) or taken is not None:
        number = max(revision_number(name), taken or 0) + 1
        return Revision(revision_name(number, shape), 1, shape), token

    failed = find(previous.conditions, "Failed")
    if failed is not None and failed.status == "True":
        asked = token is not None and token != previous.retry_token
        if asked or _is_edited(observed, failed.observed_generation):
            return Revision(name, attempt + 1, shape), token or previous.retry_token
    return Revision(name, attempt, shape), token or previous.retry_token


def is_anew(previous: RunStatus, revision: Revision) -> bool:
    """Whether the revision before it has a result of the same shape: it was opened to make
    another one, not to find that one again."""
    before: str | None = None
    if previous.revision != revision.name:
        before = previous.revision if previous.published else None
    elif previous.history:
        before = previous.history[0].revision if previous.history[0].artifact_uri else None
    return before is not None and before.partition("-")[2] == revision.name.partition("-")[2]


def _newest_of_a_namesake(observed: AnyObserved, name: str, attempt: int) -> int | None:
    """The number of the newest revision that a deleted resource of the same name has left in the
    output, as told by a run that found its own folder taken by one of them."""
    job = next((it for it in observed.jobs if (it.revision, it.attempt) == (name, attempt)), None)
    if job is None or job.end is None or job.end.complete:
        return None
    pods = [pod for pod in observed.pods_of(job) if pod.message]
    end = parse_result(RunResult, pods[-1].message) if pods else None
    if end is None or end.error is None or end.error.code != REVISION_TAKEN:
        return None
    newest = end.newest_revision
    return newest if newest is not None and newest < MOST_REVISIONS else None


def _is_edited(observed: AnyObserved, failed_generation: int) -> bool:
    """Whether the spec asks for something else than what the failed attempt ran with."""
    ran_with = observed.previous.attempt_hash
    if observed.spec is None or ran_with is None:  # a status of before it was noted
        return observed.generation != failed_generation
    return _attempt_of(observed.spec) != ran_with


def runs_with(
    observed: AnyObserved, job: Job | None, later: tuple[str, ...], *, same_attempt: bool
) -> str | None:
    """What goes in the status as the digest of what the attempt runs with. `later`: the settings
    that were changed since, and don't reach its Job any more (drift.py)."""
    previous = observed.previous
    unreached = job is not None and same_attempt and (later or not job.settings)
    if observed.spec is None or (unreached and previous.attempt_hash is not None):
        return previous.attempt_hash
    return _attempt_of(observed.spec)


def _attempt_of(spec: RunSettings) -> str:
    return _ATTEMPTS.of(spec, make=lambda: attempt_hash(spec))


def has_ended(observed: AnyObserved, revision: Revision) -> bool:
    """Whether the status records the end of this revision's attempt."""
    previous = observed.previous
    same = (previous.revision, previous.attempt) == (revision.name, revision.attempt)
    return same and tell_an_end(previous.conditions)


def _known(observed: AnyObserved) -> tuple[str, int] | None:
    """The newest revision and attempt on record, or on a Job where there is no status."""
    previous = observed.previous
    if previous.revision:
        return previous.revision, previous.attempt or 1
    past = {record.revision for record in previous.history}
    named = [
        (job.revision, job.attempt)
        for job in observed.jobs
        if job.revision and job.revision not in past
    ]
    return max(named, key=lambda it: (revision_number(it[0]), it[1]), default=None)


def _newest(observed: AnyObserved) -> int:
    """The number of the newest revision in the history; 0 without one."""
    numbers = (revision_number(record.revision) for record in observed.previous.history)
    return max(numbers, default=0)
