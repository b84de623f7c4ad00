"""All that may carry a run out. Pure."""

from collections.abc import Iterator

from luthier_operator.resources import JOB_SETS, JOBS, Resource
from luthier_operator.run.jobset import JOB_SET
from luthier_operator.run.model import Around, Job
from luthier_operator.run.workload import JOB, Workload

CARRIERS: dict[Resource, Workload] = {JOBS: JOB, JOB_SETS: JOB_SET}


def workload_of(job: Job) -> Workload:
    """What a run's `Job` is."""
    return CARRIERS[job.resource]


def carriers(around: Around) -> Iterator[Job]:
    """The objects that carry runs out, in the order of their kinds. A JobSet's Job is none: it is
    the JobSet's."""
    found = {JOBS: around.jobs, JOB_SETS: around.job_sets}
    for resource, workload in CARRIERS.items():
        for obj in found[resource]:
            if (job := workload.parse(obj, around.jobs)) is not None:
                yield job
