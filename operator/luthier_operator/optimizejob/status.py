"""Observed and Plan → Status. Pure; computed anew every time.

Read back from the status so far are only the times of transitions, the end of an
attempt (its children may be gone), what was taken as source, and what the trainer told.
"""

from luthier_api.optimizejob import OptimizeJobStatus
from luthier_api.result import ExitCode, OptimizeResult
from luthier_operator.conditions import Conditions, reason_or
from luthier_operator.errors import Refusal
from luthier_operator.optimizejob.evidence import Evidence, gather
from luthier_operator.optimizejob.observe import Observed
from luthier_operator.run import lifecycle
from luthier_operator.run.decide import Plan
from luthier_operator.run.followed import Followed
from luthier_operator.run.words import Words

SOURCE_READY = "SourceReady"
GATES_PASSED = "GatesPassed"
# The code of the error of a run whose candidates all miss a gate.
GATES_NOT_MET = "GatesNotMet"
WORDS = Words(
    memory="lower evaluation.batchSize, benchmark.batchSizes or benchmark.promptTokens, or choose "
    "a pool with more memory (placement.pool)",
    deadline="goes on with the candidates that are left",
    suspending="ends",
    found_again="without building it again",
)
_ORDER = (*lifecycle.SHARED, SOURCE_READY, "Running", GATES_PASSED)


def compute(observed: Observed, plan: Plan, refused: Refusal | None = None) -> OptimizeJobStatus:
    """The status of this moment. `refused`: the API server didn't take what the plan creates."""
    previous, source = observed.previous, observed.sources
    conditions = Conditions(previous.conditions, observed.generation, observed.now)
    if source is None:
        changes = lifecycle.unreadable(observed, plan, conditions)
    elif plan.ended:
        changes = lifecycle.on_record(observed, plan, conditions, anew=[SOURCE_READY])
        _source(conditions, source)
    else:
        moment = lifecycle.begin(observed, plan, refused)
        evidence = Evidence()
        if plan.revision is not None:
            evidence = gather(previous, plan.revision, observed.report, moment.pods)
        _source(conditions, source)
        phase = _life(conditions, moment, evidence, source)
        before = previous.artifact.uri if previous.artifact else None
        return OptimizeJobStatus(
            **lifecycle.fields(moment, lifecycle.history(moment, before)[: lifecycle.HISTORY]),
            phase=phase,
            conditions=lifecycle.ordered(conditions, _ORDER),
            stage=evidence.stage if moment.running else None,
            source=source.taken,
            baseline=evidence.baseline,
            candidates=list(evidence.candidates),
            artifact=evidence.artifact,
            usage=evidence.usage,
            restarts=evidence.restarts,
        )
    changes["conditions"] = lifecycle.ordered(conditions, _ORDER)
    return previous.model_copy(update=changes)


def _life(
    conditions: Conditions, moment: lifecycle.Moment, evidence: Evidence, source: Followed
) -> str:
    """Add the conditions of the run and of its gates; returns the phase."""
    end = moment.end
    if end is None:
        conditions.unknown(GATES_PASSED, "NotMeasured", "The candidates aren't all measured yet.")
        hold = moment.plan.hold
        awaited = hold if hold is not None and hold == source.missing else None
        return lifecycle.going_on(conditions, moment, words=WORDS, awaited=awaited)
    artifact = evidence.artifact if end.complete else None
    _gates(conditions, moment, evidence)
    uri = artifact.uri if artifact else None
    return lifecycle.ended(
        conditions, moment, end, published=uri, result=OptimizeResult, words=WORDS
    )


def _gates(conditions: Conditions, moment: lifecycle.Moment, evidence: Evidence) -> None:
    """What the gates said of a run that has ended."""
    error = evidence.error
    last = moment.pods[-1].exit_code if moment.pods else None
    if last == ExitCode.NOT_GOOD_ENOUGH or (error and error.code == GATES_NOT_MET):
        reason = reason_or(error.code, GATES_NOT_MET) if error else GATES_NOT_MET
        conditions.set(GATES_PASSED, False, reason, error.message if error else "")
    elif moment.end is not None and moment.end.complete and evidence.artifact is not None:
        words = f"{evidence.artifact.precision}, of {len(evidence.candidates)} candidates."
        conditions.set(GATES_PASSED, True, "Passed", words)
    else:
        conditions.unknown(GATES_PASSED, "NotMeasured", "The run ended before it was known.")


def _source(conditions: Conditions, source: Followed) -> None:
    taken, missing = source.taken, source.missing
    if taken is None:
        assert missing is not None
        conditions.set(SOURCE_READY, False, missing.reason, missing.message)
    elif missing is not None:
        message = f"{taken.uri} was taken, and stays in use. {missing.message}"
        conditions.set(SOURCE_READY, True, "Taken", message)
    else:
        conditions.set(SOURCE_READY, True, "Published" if source.job else "Named", taken.uri)
