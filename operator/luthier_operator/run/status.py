"""Observed and Plan → Status, in the same way for every kind. Pure; computed anew every time.

Read back from the status so far are only the times of transitions, the end of an attempt (its
children may be gone), the result in use, and what the trainer told before.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from luthier_api.progress import ProgressReport
from luthier_api.result import RunEnd
from luthier_api.runstatus import ArtifactRef, InUse, RevisionRecord, RunStatus
from luthier_operator.conditions import Conditions, find, is_true, timestamp
from luthier_operator.errors import Refusal
from luthier_operator.run import errands, lifecycle
from luthier_operator.run.decide import Plan
from luthier_operator.run.lifecycle import AnyRun, Run
from luthier_operator.run.model import AnyObserved, Pod, Revision
from luthier_operator.run.sentences import Sentences
from luthier_operator.run.standing import Known, Standing, made, newest

HISTORY = 10

ObservedT = TypeVar("ObservedT", bound=AnyObserved)
StatusT = TypeVar("StatusT", bound=RunStatus)
EvidenceT = TypeVar("EvidenceT")


def _nothing(_run: object) -> None:
    return None


def _no_fields(_observed: object, _conditions: object) -> dict[str, Any]:
    return {}


def _newest_in_use(
    _observed: object, _conditions: object, known: Known, _evidence: object
) -> Standing:
    return newest(known)


def _no_note(_conditions: object, _plan: object) -> None:
    return None


def _nothing_more(_status: object) -> dict[str, Any]:
    return {}


def _newest(records: list[RevisionRecord]) -> list[RevisionRecord]:
    return records[:HISTORY]


def results_first(records: list[RevisionRecord]) -> list[RevisionRecord]:
    """Those without a result go first: the others are needed to know which results there are."""
    while len(records) > HISTORY:
        idle = [it for it in records if it.artifact_uri is None]
        last = idle[-1] if idle else records[-1]
        records = [it for it in records if it is not last]
    return records


@dataclass(frozen=True)
class Rules(Generic[ObservedT, StatusT, EvidenceT]):
    """What a kind adds to the status of its runs."""

    status: type[StatusT]
    result: type[RunEnd]
    sentences: Sentences
    order: Sequence[str]  # all condition types, in the order in which they are shown
    # What is known of the run's inside, from (previous status, revision, report, pods, output);
    # and what is known where there is no revision yet.
    gather: Callable[[StatusT, Revision, ProgressReport | None, list[Pod], str], EvidenceT]
    nothing: EvidenceT
    # The result that the run has published, and whether there is what another attempt goes on from.
    published: Callable[[EvidenceT], ArtifactRef | None]
    saved: Callable[[EvidenceT], bool]
    # Adds the conditions of its own, and returns its fields.
    own: Callable[[Conditions, Run[ObservedT], EvidenceT], dict[str, Any]]
    # What the resource follows and isn't there yet.
    awaited: Callable[[Run[ObservedT]], Refusal | None] = _nothing
    # What moves on although the run's end is on record.
    on_record: Callable[[ObservedT, Conditions], dict[str, Any]] = _no_fields
    # Which result is in use; adds the condition that says why.
    stand: Callable[[ObservedT, Conditions, Known, EvidenceT], Standing] = _newest_in_use
    # Adds the conditions about what the plan notes.
    note: Callable[[Conditions, Plan], None] = _no_note
    # What goes in the history of a revision that gives way, beside what every kind's says.
    recorded: Callable[[StatusT], dict[str, Any]] = _nothing_more
    # Which of the earlier revisions are kept, newest first.
    kept: Callable[[list[RevisionRecord]], list[RevisionRecord]] = _newest


def compute(
    rules: Rules[ObservedT, StatusT, Any],
    observed: ObservedT,
    plan: Plan,
    refused: Refusal | None = None,
) -> StatusT:
    """The status of this moment. `refused`: the API server didn't take what the plan creates."""
    previous = observed.previous
    assert isinstance(previous, rules.status)
    conditions = Conditions(previous.conditions, observed.generation, observed.now)
    errands.tell(conditions, plan.unsent)
    if observed.spec is None:
        before = in_use_of(previous)
        changes = lifecycle.unreadable(observed, plan, conditions, before) | {"in_use": before}
    elif plan.ended:
        standing = _on_record(rules, observed, plan, conditions)
        changes = lifecycle.on_record(observed, plan, conditions, standing)
        changes |= rules.on_record(observed, conditions) | {"in_use": standing.in_use}
        rules.note(conditions, plan)
        changes |= plan.noted
    else:
        return _going_on(rules, Run(observed, plan, refused), conditions)
    changes["conditions"] = lifecycle.ordered(conditions, rules.order)
    return previous.model_copy(update=changes)


def _going_on(
    rules: Rules[ObservedT, StatusT, Any], run: Run[ObservedT], conditions: Conditions
) -> StatusT:
    observed, end, revision = run.observed, run.end, run.plan.revision
    previous = observed.previous
    assert isinstance(previous, rules.status)
    evidence = (
        rules.gather(previous, revision, observed.report, run.pods, run.output)
        if revision is not None
        else rules.nothing
    )
    published = rules.published(evidence) if run.complete else None
    history = rules.kept(_history(rules, run, previous))
    name = revision.name if revision else None
    result = made(published, name) if published and name else None
    standing = rules.stand(
        observed, conditions, Known(name, result, in_use_of(previous), history), evidence
    )
    if end is None:
        phase = lifecycle.going_on(
            conditions,
            run,
            sentences=rules.sentences,
            in_use=standing.uri,
            awaited=rules.awaited(run),
        )
    else:
        phase = lifecycle.ended(
            conditions,
            run,
            end,
            published=published.uri if published else None,
            saved=rules.saved(evidence),
            result=rules.result,
            sentences=rules.sentences,
            standing=standing,
        )
    own = rules.own(conditions, run, evidence)
    rules.note(conditions, run.plan)
    fields: dict[str, Any] = {
        **lifecycle.fields(run),
        "history": history,
        "phase": phase,
        "in_use": standing.in_use,
        "conditions": lifecycle.ordered(conditions, rules.order),
        **own,
        **run.plan.noted,
    }
    return rules.status(**fields)


def in_use_of(previous: RunStatus) -> InUse | None:
    """The last published result, which stays in use until there is a newer one.

    A status of before `inUse` tells it by its artifact.
    """
    if previous.in_use is not None:
        return previous.in_use
    artifact = previous.published
    if artifact is None or previous.revision is None:
        return None
    if not is_true(previous.conditions, "Complete"):
        return None
    if find(previous.conditions, "Promoted") is not None:
        return None  # it didn't come into use
    return made(artifact, previous.revision)


def _on_record(
    rules: Rules[ObservedT, StatusT, Any], observed: ObservedT, plan: Plan, conditions: Conditions
) -> Standing:
    """Which result is in use, where the end of the run is on record already."""
    previous, revision = observed.previous, plan.revision
    assert isinstance(previous, rules.status)
    assert revision is not None
    artifact = previous.published if is_true(previous.conditions, "Complete") else None
    result = made(artifact, revision.name) if artifact else None
    known = Known(revision.name, result, in_use_of(previous), previous.history)
    return rules.stand(observed, conditions, known, rules.gather(previous, revision, None, [], ""))


def _history(
    rules: Rules[ObservedT, StatusT, Any], run: AnyRun, previous: StatusT
) -> list[RevisionRecord]:
    """Earlier revisions, newest first, with the last one if another takes its place."""
    revision = run.plan.revision
    same = previous.revision == (revision.name if revision else None)
    if same or previous.revision is None:
        return previous.history
    complete = is_true(previous.conditions, "Complete")
    failed = is_true(previous.conditions, "Failed")
    artifact = previous.published if complete else None
    record = RevisionRecord(
        revision=previous.revision,
        attempt=previous.attempt or 1,
        outcome="Complete" if complete else "Failed" if failed else "Superseded",
        finished=previous.completion_time or timestamp(run.observed.now),
        artifact_uri=artifact.uri if artifact else None,
        manifest_sha256=artifact.manifest_sha256 if artifact else None,
        **(rules.recorded(previous) if complete else {}),
    )
    return [record, *previous.history]
