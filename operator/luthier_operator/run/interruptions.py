"""How often a trainer may call its end an interruption where nobody interrupted it. Pure.

The Job tries a pod anew that ended with exit code 75, and counts nothing. Whoever evicts,
preempts or deletes a pod leaves a mark on it; code of the user's own can end with 75 for ever. Of a
JobSet's restarts no more is known than how many there were: the pods are gone.
"""

from collections.abc import Iterable

from luthier_api.placement import Limits
from luthier_api.result import ExitCode
from luthier_operator.run.model import Job, Pod

# A node that dies in the wrong moment leaves no mark: a few are nobody's fault.
BORNE = 10
# Whatever the reasons were that don't count.
MOST_RESTARTS = 100


def unexplained(pods: Iterable[Pod]) -> int:
    """How many pods ended with the code of an interruption, and without the mark of one."""
    return sum(
        1
        for pod in pods
        if pod.exit_code == ExitCode.INTERRUPTED and not (pod.deleting or pod.disrupted)
    )


def too_many(job: Job, pods: Iterable[Pod], limits: Limits) -> bool:
    """Whether they are more than any run needs. `pods`: the Job's."""
    return job.uncounted > MOST_RESTARTS or unexplained(pods) > max(BORNE, limits.max_restarts)
