"""Observed and Plan → Status. Pure; computed anew every time.

Read back from the status so far are only the times of transitions, the end of an
attempt (its children may be gone), and what the trainer told before.
"""

from luthier_api.finetunejob import FineTuneJobStatus, Progress
from luthier_api.result import ExitCode, RunResult
from luthier_operator.conditions import Conditions, reason_or
from luthier_operator.errors import Refusal
from luthier_operator.finetunejob.evidence import (
    OVERFITTING,
    RESUME_EXACT,
    Evidence,
    gather,
)
from luthier_operator.finetunejob.observe import Observed
from luthier_operator.run import lifecycle
from luthier_operator.run.decide import Plan
from luthier_operator.run.model import Pod
from luthier_operator.run.words import Words

WORDS = Words(
    memory="lower training.perDeviceBatchSize or training.maxLength, or choose a pool with more "
    "memory (placement.pool)",
    deadline="goes on from its checkpoint",
    suspending="saves a checkpoint and ends",
    found_again="without training",
)
_ORDER = (
    *lifecycle.SHARED,
    "DatasetValid",
    "Running",
    "CheckpointSaved",
    "Evaluated",
    OVERFITTING,
    RESUME_EXACT,
)


def compute(observed: Observed, plan: Plan, refused: Refusal | None = None) -> FineTuneJobStatus:
    """The status of this moment. `refused`: the API server didn't take what the plan creates."""
    previous = observed.previous
    conditions = Conditions(previous.conditions, observed.generation, observed.now)
    if plan.revision is None:
        changes = lifecycle.unreadable(observed, plan, conditions)
    elif plan.ended:
        changes = lifecycle.on_record(observed, plan, conditions)
    else:
        moment = lifecycle.begin(observed, plan, refused)
        evidence = gather(previous, plan.revision, observed.report, moment.pods)
        phase = _conditions(conditions, moment, evidence)
        going = moment.end is None and any(pod.alive for pod in moment.pods)
        before = previous.artifact.uri if previous.artifact else None
        return FineTuneJobStatus(
            **lifecycle.fields(moment, lifecycle.history(moment, before)[: lifecycle.HISTORY]),
            phase=phase,
            conditions=lifecycle.ordered(conditions, _ORDER),
            progress=_progress(evidence.progress, going=going),
            checkpoints=list(evidence.checkpoints),
            dataset_digest=evidence.dataset_digest,
            dataset=evidence.dataset,
            estimate=evidence.estimate,
            resolved=evidence.resolved,
            evaluation=evidence.evaluation,
            artifact=evidence.artifact,
            usage=evidence.usage,
            restarts=evidence.restarts,
        )
    changes["conditions"] = lifecycle.ordered(conditions, _ORDER)
    return previous.model_copy(update=changes)


def _conditions(conditions: Conditions, moment: lifecycle.Moment, evidence: Evidence) -> str:
    """Add all of them; returns the phase."""
    _noticed(conditions, evidence)
    pods, end = moment.pods, moment.end
    if end is None:
        last = next((pod for pod in reversed(pods) if not pod.alive), None)
        _dataset(conditions, evidence, last=None if moment.running else last)
        return lifecycle.going_on(conditions, moment, words=WORDS)
    if pods:
        _dataset(conditions, evidence, last=pods[-1])
    else:
        conditions.keep("DatasetValid")
    uri = evidence.artifact.uri if evidence.artifact else None
    return lifecycle.ended(conditions, moment, end, published=uri, result=RunResult, words=WORDS)


def _noticed(conditions: Conditions, evidence: Evidence) -> None:
    if evidence.checkpoints:
        last = evidence.checkpoints[-1]
        conditions.set("CheckpointSaved", True, "Saved", f"Step {last.step}: {last.uri}")
    if evidence.evaluation is not None and evidence.evaluation.tuned:
        split = evidence.evaluation.split or "eval"
        conditions.set("Evaluated", True, "Evaluated", f"Base and tuned model on {split}.")
    if evidence.overfitting:
        conditions.set(OVERFITTING, True, "LearnsByHeart", evidence.overfitting)
    if evidence.inexact_resume:
        conditions.set(RESUME_EXACT, False, "NotReproducible", evidence.inexact_resume)


def _dataset(conditions: Conditions, evidence: Evidence, last: Pod | None) -> None:
    """`last`: the pod that has ended, where its error is the state of things."""
    error = evidence.error if last is not None else None
    invalid = evidence.dataset_valid is False or (last and last.exit_code == ExitCode.DATA)
    if invalid:
        message = error.message if error else evidence.dataset_summary or ""
        if error and error.param:
            message = f"{error.param}: {message}"
        reason = reason_or(error.code, "Invalid") if error else "Invalid"
        conditions.set("DatasetValid", False, reason, message)
    elif evidence.dataset_valid:
        conditions.set("DatasetValid", True, "Valid", evidence.dataset_summary or "")
    else:
        conditions.keep("DatasetValid")


def _progress(progress: Progress | None, *, going: bool) -> Progress | None:
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
    if not going:
        changes |= {"eta": None, "estimated_finish": None}
    return progress.model_copy(update=changes)
