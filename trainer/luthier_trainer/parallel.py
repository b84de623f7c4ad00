"""Several uploads or downloads at once."""

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor

_THREADS = 4


def run_all(calls: Iterable[Callable[[], object]]) -> None:
    """Run the calls; raises what the first failing one raised.

    When it is left early (a failure, SIGTERM), calls that haven't begun are dropped and
    those under way are not waited for.
    """
    pool = ThreadPoolExecutor(_THREADS)
    try:
        for future in [pool.submit(call) for call in calls]:
            future.result()
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
