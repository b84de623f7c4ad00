"""Which finished Jobs of a resource are too many. Pure."""

from collections.abc import Iterable

from luthier_api.revision import revision_number
from luthier_operator.run.model import Job

# As many as the status has of earlier revisions: beyond that nobody looks, whatever their TTL.
KEPT = 10


def surplus(jobs: Iterable[Job], current: Job | None) -> tuple[Job, ...]:
    """The oldest of those that ended, beyond the newest ones; never the one that is wanted now."""
    ended = [job for job in jobs if job is not current and job.end is not None]
    ended.sort(key=lambda job: (revision_number(job.revision), job.attempt), reverse=True)
    return tuple(job for job in ended[KEPT:] if not job.deleting)
