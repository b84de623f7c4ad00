"""The source by PyTorch, and candidates beside it: what is told of each."""

from luthier_api.optimizejob import Candidate
from luthier_trainer.errors import TrainerError
from luthier_trainer.log import log
from luthier_trainer.optimize.benchmark import Subject
from luthier_trainer.optimize.cachekeys import package_key, source_key
from luthier_trainer.optimize.candidate import OF_A_CANDIDATE, Workbench
from luthier_trainer.optimize.evaluator import Evaluator
from luthier_trainer.optimize.gates import judge
from luthier_trainer.optimize.job import Job
from luthier_trainer.optimize.load import Loaded
from luthier_trainer.optimize.measured import Measured, baseline, compared
from luthier_trainer.optimize.source import require_finite
from luthier_trainer.optimize.torchrunner import TorchRunner
from luthier_trainer.pages.summary import Tried

_REASON = 300  # characters of Candidate.reason


def measure_source(job: Job, loaded: Loaded, evaluator: Evaluator) -> Measured:
    """Once per resource and kind of machine."""
    job.reporter.stage("Measuring the source")
    source = loaded.source
    key = source_key(source)
    found = evaluator.known(key)
    if found is None:
        subject = Subject(source.folder, None, source)
        size = job.fetched.weight_bytes
        found = evaluator.measure(size, TorchRunner(source.load()), subject)
        require_finite(found.outputs, job.fetched)
        evaluator.keep(key, found)
    job.state.baseline = baseline(found, loaded.rows, job.wanted.gates.metric)
    job.advance()
    return found


def try_candidate(
    job: Job, loaded: Loaded, source: Measured, workbench: Workbench, precision: str
) -> Tried:
    """Raises TrainerError where other candidates would fail, too; Interrupted, Superseded."""
    key = package_key(loaded.source, loaded.builder, precision, job.wanted.target.device)
    try:
        found = workbench.candidate(precision, key)
    except (TrainerError, RuntimeError) as error:
        if isinstance(error, TrainerError) and error.error.code not in OF_A_CANDIDATE:
            raise
        log(f"{precision}: failed: {error}")
        reason = str(error)[:_REASON]
        tried = Tried(Candidate(precision=precision, verdict="Failed", reason=reason))
    else:
        tried = _judged(job, loaded, source, found, precision, here=workbench.here)
    candidate = tried.candidate
    job.state.candidates.append(candidate)
    why = f": {candidate.reason}" if candidate.reason else ""
    log(f"{precision}: {candidate.verdict}{why}")
    job.advance()
    return tried


def _judged(
    job: Job, loaded: Loaded, source: Measured, found: Measured, precision: str, *, here: bool
) -> Tried:
    gates, rows = job.wanted.gates, loaded.rows
    candidate, evaluation = compared(precision, found, source, rows, gates.metric)
    assert job.state.baseline
    count = len(rows.examples) if rows else 0
    judgement = judge(candidate, job.state.baseline, gates, count)
    reason = judgement.reason
    if not here:
        note = f"built for {job.wanted.target.device}, which isn't here: not benchmarked"
        reason = f"{note}; {reason}" if reason else note
    changes = {"verdict": judgement.verdict, "reason": reason[:_REASON] or None}
    candidate = candidate.model_copy(update=changes)
    return Tried(candidate, evaluation, found.timings, found.seconds)
