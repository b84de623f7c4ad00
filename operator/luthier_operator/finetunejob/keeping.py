"""Order in storage: in-use.json says what is in use, and older results go. Pure.

An errand (run/errands.py) does it with the tenant's credentials. What there is to do is worked out
from status and spec; its digest is what the errand is about, and what status records of the last
one. So it is done once for each change, and never where nobody asked for either (docs/adr/0021).
"""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from luthier_api import reasons, terms
from luthier_api.finetunejob import FineTuneJobSpec, FineTuneJobStatus, KeptStatus
from luthier_api.promotion import is_newest_in_use
from luthier_api.result import KeepResult
from luthier_api.revision import maker_of, revision_number
from luthier_api.runspec import InUseOrder, KeepOrder
from luthier_api.runstatus import RevisionRecord
from luthier_operator.conditions import Conditions, is_true, shortened, timestamp
from luthier_operator.finetunejob.observe import Observed
from luthier_operator.run import errands, policy
from luthier_operator.run.actions import Action
from luthier_operator.run.errands import NOTHING, Wanted
from luthier_operator.run.model import Errand, JobEnd, Owner, Revision
from luthier_operator.run.workload import KEEP

KEPT = "Kept"
# One that failed is tried again after these times.
_AGAIN_SECONDS = 300.0
_AGAIN_MOST_SECONDS = 6 * 3600.0
# So soon status is about the spec.
_RECORDED_SECONDS = 1.0
_MESSAGE = 1024


@dataclass(frozen=True)
class Kept:
    """What is done about order in storage, and what status says of it."""

    status: KeptStatus | None = None
    history: list[RevisionRecord] | None = None  # where results of it are gone
    actions: tuple[Action, ...] = ()
    again: float | None = None


@dataclass(frozen=True)
class _Duty:
    """What there is to do."""

    in_use: str | None = None  # the revision that in-use.json is to name
    pruned_for: str | None = None  # the newest result: each one makes another the oldest
    newest: int | None = None
    # A newer result that isn't in use: its run may have been told otherwise, and have said so in
    # in-use.json, before somebody pinned another.
    passed_over: str | None = None

    @property
    def digest(self) -> str:
        asked = (self.in_use, self.pruned_for, self.newest, self.passed_over)
        text = json.dumps([it for it in asked if it is not None])
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def keep(observed: Observed, revision: Revision) -> Kept:
    """What is to be done now. `revision`: the one that is wanted."""
    assert observed.spec is not None
    before = observed.previous.kept
    found = [it for it in observed.errands if it.role == KEEP]
    duty = _duty(observed.spec, observed.previous)
    if duty != _Duty() and observed.previous.observed_generation != observed.generation:
        return Kept(before, again=_RECORDED_SECONDS)  # what is in use may be another one by now
    if duty == _Duty():
        return Kept(before, actions=_ended(found, "nobody asks for it any more"))
    if observed.previous.observed_generation != observed.generation:
        return Kept(before, again=_RECORDED_SECONDS)  # what is in use may be another one by now
    if before is not None and before.about == duty.digest and before.error is None:
        return Kept(before, actions=_ended(found, "its outcome is on record"))
    about, wait = duty.digest, 0.0
    if before is not None and before.about == duty.digest:
        about = f"{duty.digest}-{before.failures}"
        wait = _until_again(before, observed.now)
    mine = next((it for it in found if it.about == about), None)
    if mine is not None and mine.end is not None and not mine.deleting:
        return _concluded(observed, duty, mine, mine.end)
    others = [it for it in found if it is not mine]
    if mine is not None or others:
        # Two at once could write in-use.json in either order.
        return Kept(before, actions=_ended(others, "something else is to be done by now"))
    if wait > 0:
        return Kept(before, again=wait)
    if (refused := _refused(observed)) is not None:
        in_use = before.in_use if before else None
        return Kept(KeptStatus(about="", in_use=in_use, error=shortened(refused, _MESSAGE)))
    wanted = _wanted(observed, revision, duty, about)
    return Kept(before, actions=(errands.ensure(observed, wanted),))


def order(owner: Owner, observed: Observed, revision: Revision, **asked: object) -> KeepOrder:
    """What the errand is told. Raises LookupError without a pool for it."""
    assert observed.spec is not None
    common = errands.order_fields(owner, observed.spec, revision, observed.platform, KEEP)
    folder = common["output"].rpartition("/")[0]
    return KeepOrder.model_validate(common | {"output": folder} | asked)


def is_to_delete(observed: Observed) -> bool:
    """Whether the artifacts go with the resource."""
    return observed.spec is not None and observed.spec.deletion_policy == "Delete"


def deletion(observed: Observed) -> Wanted | None:
    """The errand that deletes all of them; None where no run has made any. Raises LookupError
    without a pool for it."""
    previous = observed.previous
    if previous.revision is None:
        return None
    revision = Revision(previous.revision, previous.attempt or 1, "")
    asked = order(observed.owner, observed, revision, everything=True)
    return Wanted(KEEP, "everything", asked, NOTHING)


def tell(conditions: Conditions, kept: KeptStatus | None) -> None:
    """The condition `Kept`, where there was anything to do."""
    if kept is None:
        return
    if kept.error is None:
        conditions.set(KEPT, True, reasons.IN_ORDER)
    else:
        conditions.set(KEPT, False, reasons.KEEP_FAILED, f"{kept.error} It is tried again.")


def _duty(spec: FineTuneJobSpec, previous: FineTuneJobStatus) -> _Duty:
    # What is published is in use: the run itself says so in in-use.json (RunSpec.comes_into_use).
    written = previous.kept is not None and previous.kept.in_use is not None
    in_use = previous.in_use
    named = None
    if in_use is not None and (written or not is_newest_in_use(spec.promote)):
        named = in_use.revision
    newest = _newest_result(previous)
    passed_over = newest if named not in (None, newest) else None
    most = spec.keep_revisions
    if most is None or newest is None or revision_number(newest) <= most:
        return _Duty(named, passed_over=passed_over)
    return _Duty(named, newest, most, passed_over)


def _newest_result(previous: FineTuneJobStatus) -> str | None:
    if previous.artifact is not None and is_true(previous.conditions, "Complete"):
        return previous.revision
    return next((it.revision for it in previous.history if it.outcome == "Complete"), None)


def _until_again(kept: KeptStatus, now: datetime) -> float:
    if kept.time is None:
        return 0.0
    pause = min(_AGAIN_SECONDS * 4.0 ** min(kept.failures - 1, 8), _AGAIN_MOST_SECONDS)
    return pause - (now - datetime.fromisoformat(kept.time)).total_seconds()


def _refused(observed: Observed) -> str | None:
    """What speaks against the errand."""
    spec, namespace, platform = observed.spec, observed.owner.namespace, observed.platform
    assert spec is not None
    if denied := policy.check(spec, NOTHING, namespace, platform):
        return f"{denied.reason}: {denied.message}"
    if terms.errand_pool(spec.placement, namespace, platform) is None:
        return "luthier.yaml has no pool for errands: set errands.pool to one of its pools."
    return None


def _wanted(observed: Observed, revision: Revision, duty: _Duty, about: str) -> Wanted:
    in_use, spec = observed.previous.in_use, observed.spec
    assert spec is not None
    pin = spec.promote.pin if spec.promote else None
    artifact = observed.previous.artifact
    found = maker_of(artifact.uri) if artifact else None  # an earlier one's, found again
    kept = {
        revision.name,
        *([in_use.revision] if in_use else []),
        *([pin] if pin else []),
        *([found] if found else []),
        *_taken(observed),
    }
    asked = order(
        observed.owner,
        observed,
        revision,
        in_use=(
            InUseOrder(
                revision=in_use.revision,
                uri=in_use.uri,
                manifest_sha256=in_use.manifest_sha256,
                since=in_use.since or observed.previous.completion_time or "",
                metrics=in_use.metrics,
            )
            if in_use is not None
            else None
        ),
        kept=sorted(kept),
        newest=duty.newest,
    )
    return Wanted(KEEP, about, asked, NOTHING)


def _taken(observed: Observed) -> Iterable[str]:
    """The revisions that an OptimizeJob or AdapterBundle of the namespace has taken."""
    folder = f"/{observed.owner.namespace}/{observed.owner.name}/"
    for uri in observed.taken():
        # An adapter by URI is named with a folder below the revision's.
        _, found, below = uri.partition(folder)
        if found and (name := maker_of(below.partition("/")[0])):
            yield name


def _ended(found: Iterable[Errand], why: str) -> tuple[Action, ...]:
    return tuple(errands.done(it, why) for it in found if not it.deleting)


def _concluded(observed: Observed, duty: _Duty, errand: Errand, end: JobEnd) -> Kept:
    """What an errand that has ended came to. Its Job goes once that is on record."""
    before = observed.previous.kept
    told = errands.result_of(observed, errand, KeepResult)
    if told is None and errands.has_no_word_yet(observed, end):
        return Kept(before, again=errands.WORD_SECONDS)
    if end.complete:
        gone = set(told.deleted) if told else set()
        kept = KeptStatus(about=duty.digest, in_use=duty.in_use, time=end.time)
        return Kept(kept, _without(observed.previous.history, gone) if gone else None)
    error = told.error if told else None
    words = error.message if error else f"{end.reason}: {end.message}"
    failures = before.failures if before and before.about == duty.digest else 0
    return Kept(
        KeptStatus(
            about=duty.digest,
            in_use=before.in_use if before else None,
            time=timestamp(observed.now),
            failures=failures + 1,
            error=shortened(words, _MESSAGE),
        )
    )


def _without(history: list[RevisionRecord], gone: set[str]) -> list[RevisionRecord]:
    """The history, where deleted results are no more."""
    return [
        it.model_copy(update={"artifact_uri": None, "manifest_sha256": None})
        if it.artifact_uri and maker_of(it.artifact_uri) in gone
        else it
        for it in history
    ]
