"""A bundle from top to bottom: adapters examined, parts taken over where they are the same as
before, else built and proven, and published."""

from luthier_api.result import BundleResult
from luthier_trainer.bundle.job import Job
from luthier_trainer.bundle.members import examine
from luthier_trainer.bundle.provide import provide_base, take_over
from luthier_trainer.bundle.publish import publish


def bundle(job: Job) -> BundleResult:
    """Raises TrainerError, Interrupted or Superseded."""
    job.reporter.stage("Checking")
    members = examine(
        job.order, job.base, job.key, job.previous, job.membership, job.scratch / "adapters"
    )
    job.membership.check()

    new = [member for member in members if member.taken is None]
    old = [member for member in members if member.taken]
    model, part = provide_base(job, needed=bool(new))
    beside = take_over(job, old, needed=bool(new))
    if model and new:
        # Only now: its imports take seconds.
        from luthier_trainer.bundle.assemble import assemble

        assemble(job, model, new, beside)
    job.membership.check()
    return publish(job, part, taken={member.name for member in old})
