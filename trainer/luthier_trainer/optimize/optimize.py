"""An optimisation from top to bottom: the source measured, candidates built and measured beside
it, one chosen and published."""

import torch

from luthier_api.result import OptimizeResult
from luthier_trainer.log import log
from luthier_trainer.machine.runtime import threads
from luthier_trainer.optimize.candidate import Workbench
from luthier_trainer.optimize.choose import choose
from luthier_trainer.optimize.compare import measure_source, try_candidate
from luthier_trainer.optimize.evaluator import Evaluator
from luthier_trainer.optimize.job import Job
from luthier_trainer.optimize.load import Loaded, load
from luthier_trainer.optimize.publish import publish, refuse
from luthier_trainer.packages.genai.runner import runs_here


def optimize(job: Job) -> OptimizeResult:
    """Raises TrainerError, Interrupted or Superseded."""
    torch.set_num_threads(threads())
    job.reporter.stage("Loading")
    loaded = load(job)
    job.begin(len(loaded.precisions))
    log(f"candidates: {', '.join(loaded.precisions)} as {loaded.builder.format}")

    workbench = _workbench(job, loaded)
    source = measure_source(job, loaded, workbench.evaluator)
    tried = [
        try_candidate(job, loaded, source, workbench, precision) for precision in loaded.precisions
    ]
    chosen = choose([each.candidate for each in tried], job.wanted)
    if chosen is None:
        raise refuse(job, loaded, source, tried)
    return publish(job, loaded, source, tried, chosen)


def _workbench(job: Job, loaded: Loaded) -> Workbench:
    fence = job.attempts.fence
    return Workbench(
        source=loaded.source,
        builder=loaded.builder,
        here=runs_here(job.wanted.target.device),
        cache=job.cache,
        evaluator=Evaluator(loaded, job.wanted.benchmark, job.cache, fence, job.folder),
        stage=job.reporter.stage,
        fence=fence,
        folder=job.folder / "candidates",
    )
