"""The workers beside all else that the event loop does."""

import asyncio
import contextlib

from luthier_operator.queue import WorkQueue
from luthier_operator.resources import FINE_TUNE_JOBS, Key
from luthier_operator.work import WorkKey, work


async def test_thousands_that_need_no_request_let_others_have_their_turn() -> None:
    """As after a start: a probe is answered while the queue is still long."""
    queue: WorkQueue[WorkKey] = WorkQueue()
    for number in range(1000):
        queue.add(WorkKey(FINE_TUNE_JOBS, ("team", f"job-{number}")))
    seen: list[Key] = []

    async def reconcile(key: Key) -> None:
        seen.append(key)

    workers = [asyncio.create_task(work(queue, {FINE_TUNE_JOBS: reconcile})) for _ in range(8)]
    try:
        for turn in range(1, 11):
            await asyncio.sleep(0)
            assert len(seen) <= 8 * turn
        for _ in range(1000 // 8):
            await asyncio.sleep(0)
        assert len(set(seen)) == len(seen) >= 992
    finally:
        for worker in workers:
            worker.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await worker
