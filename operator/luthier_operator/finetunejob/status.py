"""What a FineTuneJob's status says beside what every kind's does. Pure."""

from typing import Any

from luthier_api import outcome, reasons, sources
from luthier_api.finetunejob import FineTuneJobSpec, FineTuneJobStatus, KeptStatus, Progress
from luthier_api.result import ExitCode, RunResult
from luthier_api.search import SearchStatus
from luthier_api.tracking import told_of
from luthier_operator.conditions import Conditions, reason_or
from luthier_operator.errors import Refusal
from luthier_operator.finetunejob import keeping
from luthier_operator.finetunejob.evidence import (
    OVERFITTING,
    RESUME_EXACT,
    Evidence,
    gather,
)
from luthier_operator.finetunejob.keeping import KEPT
from luthier_operator.finetunejob.observe import Observed
from luthier_operator.finetunejob.standing import PROMOTED, recorded, stand
from luthier_operator.run import lifecycle, status
from luthier_operator.run.decide import Plan
from luthier_operator.run.lifecycle import Run
from luthier_operator.run.model import Pod
from luthier_operator.run.progress import without_end
from luthier_operator.run.sentences import Sentences
from luthier_operator.run.sources import SOURCE_READY, Awaited, Taken, tell
from luthier_operator.run.status import Rules, results_first

TRACKED = "Tracked"
SENTENCES = Sentences(
    more_memory="Lower training.perDeviceBatchSize or training.maxLength, or choose a pool with "
    "more memory (placement.pool).",
    goes_on="The next attempt goes on from its checkpoint.",
    suspending="The pod ends, and saves a checkpoint if it has trained.",
    found_again="Run `luthier retry`: the finished artifact is found again, without training.",
)


def compute(observed: Observed, plan: Plan, refused: Refusal | None = None) -> FineTuneJobStatus:
    """The status of this moment. `refused`: the API server didn't take what the plan creates."""
    return status.compute(RULES, observed, plan, refused)


def _own(conditions: Conditions, run: Run[Observed], evidence: Evidence) -> dict[str, Any]:
    _conditions(conditions, run, evidence)
    going = run.end is None and any(pod.alive for pod in run.pods)
    return {
        "progress": _progress(evidence.progress, evidence.search, going=going),
        "search": evidence.search,
        "tracking": list(evidence.tracking),
        "checkpoints": list(evidence.checkpoints),
        "dataset_digest": evidence.dataset_digest,
        "dataset": evidence.dataset,
        "estimate": evidence.estimate,
        "resolved": evidence.resolved,
        "evaluation": evidence.evaluation,
        "result": outcome.of_model(evidence.evaluation, _first_metrics(run.observed.spec)),
        "artifact": evidence.artifact,
        **_source(run.observed, conditions),
        "custom_code": _has_custom_code(run.observed, evidence) or None,
        "usage": evidence.usage,
        "restarts": evidence.restarts,
    }


def _source(observed: Observed, conditions: Conditions) -> dict[str, Any]:
    """What it goes on from, where that is another's result."""
    source = observed.sources
    if source is None:
        return {"source": None}
    tell(conditions, source)
    return {"source": source.ref if isinstance(source, Taken) else None}


def _on_record(observed: Observed, conditions: Conditions) -> dict[str, Any]:
    if observed.sources is not None:
        tell(conditions, observed.sources)
    return {}


def _awaited(run: Run[Observed]) -> Refusal | None:
    source = run.observed.sources
    return source.why if isinstance(source, Awaited) else None


def _has_custom_code(observed: Observed, evidence: Evidence) -> bool:
    """By the spec, whatever the run says: what it says is that code's word, too."""
    spec = observed.spec
    return evidence.custom_code or (spec is not None and any(sources.code(spec)))


def _conditions(conditions: Conditions, run: Run[Observed], evidence: Evidence) -> None:
    _noticed(conditions, evidence)
    if run.end is None:
        last = next((pod for pod in reversed(run.pods) if not pod.alive), None)
        _dataset(conditions, evidence, last=None if run.running else last)
    elif run.pods:
        _dataset(conditions, evidence, last=run.pods[-1])
    else:
        conditions.keep("DatasetValid")


def _noticed(conditions: Conditions, evidence: Evidence) -> None:
    if evidence.checkpoints:
        last = evidence.checkpoints[-1]
        conditions.set("CheckpointSaved", True, reasons.SAVED, f"Step {last.step}: {last.uri}")
    if evidence.evaluation is not None and evidence.evaluation.tuned:
        split = evidence.evaluation.split or "eval"
        conditions.set("Evaluated", True, reasons.EVALUATED, f"Base and tuned model on {split}.")
    if evidence.overfitting:
        conditions.set(OVERFITTING, True, reasons.LEARNS_BY_HEART, evidence.overfitting)
    if evidence.inexact_resume:
        conditions.set(RESUME_EXACT, False, reasons.NOT_REPRODUCIBLE, evidence.inexact_resume)
    if evidence.tracking:
        problem, told = told_of(evidence.tracking)
        reason = reasons.NOT_TRACKED if problem else reasons.TRACKED
        conditions.set(TRACKED, not problem, reason, told)


def _dataset(conditions: Conditions, evidence: Evidence, last: Pod | None) -> None:
    """`last`: the pod that has ended, where its error is the state of things."""
    error = evidence.error if last is not None else None
    invalid = evidence.dataset_valid is False or (last and last.exit_code == ExitCode.DATA)
    if invalid:
        message = error.message if error else evidence.dataset_summary or ""
        if error and error.param:
            message = f"{error.param}: {message}"
        reason = reason_or(error.code, reasons.INVALID) if error else "Invalid"
        conditions.set("DatasetValid", False, reason, message)
    elif evidence.dataset_valid:
        conditions.set("DatasetValid", True, reasons.VALID, evidence.dataset_summary or "")
    else:
        conditions.keep("DatasetValid")


def _first_metrics(spec: FineTuneJobSpec | None) -> list[str]:
    """What decides, and then what is asked for."""
    if spec is None:
        return []
    decides = [spec.promote.metric] if spec.promote and spec.promote.metric else []
    return [*decides, *spec.evaluation.metrics]


def _progress(
    progress: Progress | None, search: SearchStatus | None, *, going: bool
) -> Progress | None:
    if progress is None:
        return None
    # Columns show them to people; /metrics has every digit.
    changes: dict[str, str | float | None] = {
        name: round(value, 4)
        for name in ("loss", "eval_loss", "epoch")
        if (value := getattr(progress, name)) is not None
    }
    if progress.total_steps:
        changes["percent"] = f"{min(100, 100 * progress.step // progress.total_steps)}%"
    if search is not None and search.trials:
        ended = search.complete + search.pruned + search.failed
        changes["percent"] = f"{min(100, 100 * ended // search.trials)}%"
    told = progress.model_copy(update=changes)
    return told if going else without_end(told)


def _note(conditions: Conditions, plan: Plan) -> None:
    kept = plan.noted.get("kept")
    keeping.tell(conditions, kept if isinstance(kept, KeptStatus) else None)


def _has_trials(evidence: Evidence) -> bool:
    """Whether trials have ended that another attempt needn't make."""
    search = evidence.search
    return search is not None and bool(search.complete or search.pruned)


RULES: Rules[Observed, FineTuneJobStatus, Evidence] = Rules(
    status=FineTuneJobStatus,
    result=RunResult,
    sentences=SENTENCES,
    order=(
        *lifecycle.SHARED,
        SOURCE_READY,
        "DatasetValid",
        "Running",
        "CheckpointSaved",
        "Evaluated",
        PROMOTED,
        OVERFITTING,
        RESUME_EXACT,
        TRACKED,
        KEPT,
    ),
    gather=gather,
    nothing=Evidence(),
    published=lambda evidence: evidence.artifact,
    saved=lambda evidence: bool(evidence.checkpoints) or _has_trials(evidence),
    own=_own,
    stand=stand,
    note=_note,
    recorded=recorded,
    kept=results_first,
    awaited=_awaited,
    on_record=_on_record,
)
