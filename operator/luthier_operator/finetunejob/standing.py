"""Which result of a FineTuneJob is in use: what `promote` says of those that there are. Pure.

It is decided anew at each look, from the results on record; so a pin that goes brings back what
was in use without it.
"""

from luthier_api import reasons
from luthier_api.finetunejob import EvaluationResult, FineTuneJobStatus
from luthier_api.promotion import Promote
from luthier_api.revision import revision_number
from luthier_api.runstatus import ArtifactRef, InUse, RevisionRecord
from luthier_api.verdict import Verdict, judge
from luthier_operator.conditions import Conditions, find, timestamp
from luthier_operator.errors import Refusal
from luthier_operator.finetunejob.evidence import Evidence
from luthier_operator.finetunejob.observe import Observed
from luthier_operator.run.standing import Known, Standing, made

PROMOTED = "Promoted"
# Reasons of a verdict by which a result came into use.
_CAME = (None, reasons.BETTER, reasons.FIRST, reasons.NEWEST, reasons.IN_USE)


def stand(observed: Observed, conditions: Conditions, known: Known, evidence: Evidence) -> Standing:
    """What is in use; adds the condition `Promoted` where the spec has a word on it."""
    assert observed.spec is not None
    promote = observed.spec.promote
    measured = evidence.evaluation
    own = known.published
    if own is not None and measured is not None:
        own = own.model_copy(update={"metrics": measured.tuned})
    verdict = _verdict(promote or Promote(), measured, own, known) if own else None
    if promote is not None and promote.pin is not None:
        standing = _pinned(promote.pin, own, known)
    else:
        standing = _promoted(promote or Promote(), own, known, verdict)
    if promote is not None:
        _tell(conditions, standing, own, verdict)
    return _since(standing, known.before, timestamp(observed.now))


def recorded(previous: FineTuneJobStatus) -> dict[str, object]:
    """What the history says of a revision whose result is published."""
    promoted = find(previous.conditions, PROMOTED)
    return {
        "metrics": previous.evaluation.tuned if previous.evaluation else {},
        "dataset_digest": previous.dataset_digest,
        "promoted": promoted.reason[:64] if promoted else None,
    }


def _verdict(
    promote: Promote, measured: EvaluationResult | None, own: InUse, known: Known
) -> Verdict:
    """Of the revision's own result, against what was in use when it was measured."""
    before = known.before
    rival = before.revision if before and before.uri != own.uri else None
    found_again = own.revision != known.revision
    if measured is not None and rival is None:
        rival = measured.compared_with
    elif measured is not None and found_again and measured.compared_with != rival:
        # It was measured beside another one, when it was made.
        measured = measured.model_copy(update={"compared_with": None, "gain": {}})
    return judge(promote, measured, in_use=rival)


def _promoted(
    promote: Promote, own: InUse | None, known: Known, verdict: Verdict | None
) -> Standing:
    before = known.before
    if own is None or verdict is None:
        return Standing(_of_history(promote, known) or before)
    if verdict.promoted or (before is not None and before.uri == own.uri):
        return Standing(own)
    in_use = _of_history(promote, known) or before
    return Standing(in_use, Refusal(verdict.reason, verdict.sentence, terminal=in_use is None))


def _of_history(promote: Promote, known: Known) -> InUse | None:
    """The newest that came into use, if it is newer than what is: a pin held it back."""
    before = known.before
    for record in known.history:
        result = _result_of(record)
        if result is None or not _came(promote, record):
            continue
        older = before is not None and (
            result.uri == before.uri
            or revision_number(record.revision) <= revision_number(before.revision)
        )
        return None if older else result
    return None


def _came(promote: Promote, record: RevisionRecord) -> bool:
    if promote.when == "IfBetter":
        return record.promoted in _CAME
    return judge(promote, EvaluationResult(tuned=record.metrics), in_use=None).promoted


def _pinned(pin: str, own: InUse | None, known: Known) -> Standing:
    results = {record.revision: _result_of(record) for record in known.history}
    if own is not None and known.revision is not None:
        results[known.revision] = own
    there = {name: it for name, it in results.items() if it is not None}
    # By the revision that made it, too: later ones may have found it again.
    made_by = {it.revision: it for it in (known.before, *there.values()) if it is not None}
    found = there.get(pin) or made_by.get(pin)
    if found is None:
        names = ", ".join(dict.fromkeys([*made_by, *there])) or "none yet"
        waits = pin == known.revision and own is None
        message = (
            f"promote.pin names {pin}, whose result isn't published yet; until then what is in use "
            "stays."
            if waits
            else f"promote.pin names {pin}, and there is no result of that name on record: pin one "
            f"of {names} (`luthier history`), or remove the pin."
        )
        out = Refusal(reasons.PIN_NOT_FOUND, message, terminal=not waits)
        return Standing(known.before, out, reasons.PIN_NOT_FOUND)
    if own is None or found.uri == own.uri:
        return Standing(found)
    out = Refusal(reasons.PINNED, f"promote.pin names {pin}.")
    return Standing(found, out, reasons.PINNED)


def _result_of(record: RevisionRecord) -> InUse | None:
    """A revision's result; None where it has none, or none whose digest is known."""
    if record.artifact_uri is None or record.manifest_sha256 is None:
        return None
    artifact = ArtifactRef(uri=record.artifact_uri, manifest_sha256=record.manifest_sha256)
    return made(artifact, record.revision).model_copy(update={"metrics": record.metrics})


def _tell(
    conditions: Conditions, standing: Standing, own: InUse | None, verdict: Verdict | None
) -> None:
    out = standing.kept_out
    if out is not None:
        conditions.set(PROMOTED, False, out.reason, out.message)
    elif own is None or verdict is None:
        conditions.unknown(PROMOTED, reasons.NOT_MEASURED, "There is no result of this spec yet.")
    elif verdict.promoted:
        conditions.set(PROMOTED, True, verdict.reason, verdict.sentence)
    else:
        conditions.set(PROMOTED, True, reasons.IN_USE, f"It is in use. {verdict.sentence}")


def _since(standing: Standing, before: InUse | None, now: str) -> Standing:
    """With the time since when it is in use."""
    in_use = standing.in_use
    if in_use is not None and before is not None and before.uri == in_use.uri:
        in_use = before
    elif in_use is not None:
        in_use = in_use.model_copy(update={"since": now})
    return Standing(in_use, standing.kept_out, standing.older)
