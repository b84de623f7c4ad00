"""What was found of the data and what training will need, to be read while it trains."""

from luthier_trainer.finetune.job import Job
from luthier_trainer.finetune.load import Plan
from luthier_trainer.finetune.prepare import Prepared
from luthier_trainer.log import log
from luthier_trainer.pages.data import write_page
from luthier_trainer.pages.numbers import expected

_PAGE = "report/data.html"


def show(job: Job, prepared: Prepared, plan: Plan) -> None:
    """Raises Superseded."""
    needs = expected(plan.resolved.estimate, plan.memory_limit)
    log(f"expected: {needs}")
    page, inspection = job.artifact / _PAGE, prepared.inspection
    write_page(
        page,
        prepared.examples,
        prepared.facts,
        inspection.lengths,
        inspection.shown,
        inspection.sentences,
        max_length=plan.objective.max_length,
        expected=needs,
    )
    job.attempts.fence()
    job.target.upload(_PAGE, page)
