"""What an OptimizeJob's status says beside what every kind's does. Pure."""

from typing import Any

from luthier_api import outcome, reasons
from luthier_api.optimizejob import OptimizeJobStatus
from luthier_api.result import ExitCode, OptimizeResult
from luthier_operator.conditions import Conditions, reason_or
from luthier_operator.errors import Refusal
from luthier_operator.optimizejob.evidence import Evidence, gather
from luthier_operator.optimizejob.observe import Observed
from luthier_operator.run import lifecycle, status
from luthier_operator.run.decide import Plan
from luthier_operator.run.lifecycle import Run
from luthier_operator.run.progress import of_parts
from luthier_operator.run.sentences import Sentences
from luthier_operator.run.sources import SOURCE_READY, Awaited, Taken, tell
from luthier_operator.run.status import Rules

GATES_PASSED = "GatesPassed"
# The code of the error of a run whose candidates all miss a gate.
GATES_NOT_MET = reasons.GATES_NOT_MET
SENTENCES = Sentences(
    more_memory="Lower evaluation.batchSize, benchmark.batchSizes or benchmark.promptTokens, or "
    "choose a pool with more memory (placement.pool).",
    goes_on="The next attempt goes on with the candidates that are left.",
    suspending="The pod ends.",
    found_again="Run `luthier retry`: the finished artifact is found again, without building it "
    "again.",
)


def compute(observed: Observed, plan: Plan, refused: Refusal | None = None) -> OptimizeJobStatus:
    """The status of this moment. `refused`: the API server didn't take what the plan creates."""
    return status.compute(RULES, observed, plan, refused)


def _own(conditions: Conditions, run: Run[Observed], evidence: Evidence) -> dict[str, Any]:
    _conditions(conditions, run, evidence)
    source = run.observed.sources
    return {
        "stage": evidence.stage if run.running else None,
        "progress": of_parts(evidence.progress, going=run.running),
        "result": outcome.of_package(evidence.candidates) if evidence.artifact else None,
        "source": source.ref if isinstance(source, Taken) else None,
        "baseline": evidence.baseline,
        "candidates": list(evidence.candidates),
        "artifact": evidence.artifact,
        "usage": evidence.usage,
        "restarts": evidence.restarts,
    }


def _awaited(run: Run[Observed]) -> Refusal | None:
    source = run.observed.sources
    return source.why if isinstance(source, Awaited) else None


def _on_record(observed: Observed, conditions: Conditions) -> dict[str, Any]:
    if observed.sources is not None:
        tell(conditions, observed.sources)
    return {}


def _conditions(conditions: Conditions, run: Run[Observed], evidence: Evidence) -> None:
    if run.observed.sources is not None:
        tell(conditions, run.observed.sources)
    if run.end is None:
        conditions.unknown(
            GATES_PASSED, reasons.NOT_MEASURED, "The candidates aren't all measured yet."
        )
    else:
        _gates(conditions, run, evidence)


def _gates(conditions: Conditions, run: Run[Observed], evidence: Evidence) -> None:
    """What the gates said of a run that has ended."""
    error = evidence.error
    last = run.pods[-1].exit_code if run.pods else None
    if last == ExitCode.NOT_GOOD_ENOUGH or (error and error.code == GATES_NOT_MET):
        reason = reason_or(error.code, GATES_NOT_MET) if error else GATES_NOT_MET
        conditions.set(GATES_PASSED, False, reason, error.message if error else "")
    elif run.complete and evidence.artifact is not None:
        words = f"{evidence.artifact.precision}, of {len(evidence.candidates)} candidates."
        conditions.set(GATES_PASSED, True, reasons.PASSED, words)
    else:
        conditions.unknown(GATES_PASSED, reasons.NOT_MEASURED, "The run ended before it was known.")


RULES: Rules[Observed, OptimizeJobStatus, Evidence] = Rules(
    status=OptimizeJobStatus,
    result=OptimizeResult,
    sentences=SENTENCES,
    order=(*lifecycle.SHARED, SOURCE_READY, "Running", GATES_PASSED),
    gather=gather,
    nothing=Evidence(),
    published=lambda evidence: evidence.artifact,
    saved=lambda evidence: any(it.verdict is not None for it in evidence.candidates),
    own=_own,
    awaited=_awaited,
    on_record=_on_record,
)
