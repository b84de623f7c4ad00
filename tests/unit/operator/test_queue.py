"""The work queue's promises, with a clock that the tests turn."""

import asyncio

import pytest

from luthier_operator.queue import WorkQueue


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def queue(clock: Clock) -> WorkQueue[str]:
    return WorkQueue(clock)


def test_repeats_merge(queue: WorkQueue[str]) -> None:
    queue.add("a")
    queue.add("b")
    queue.add("a")
    assert [queue.take(), queue.take(), queue.take()] == ["a", "b", None]


def test_a_key_runs_once_at_a_time_and_again_after(queue: WorkQueue[str]) -> None:
    queue.add("a")
    assert queue.take() == "a"
    queue.add("a")
    queue.add("a")
    assert queue.take() is None
    queue.done("a")
    assert queue.take() == "a"
    queue.done("a")
    assert queue.take() is None


def test_failures_back_off_up_to_a_minute(queue: WorkQueue[str], clock: Clock) -> None:
    delays = []
    queue.add("a")
    for _ in range(12):
        assert queue.take() == "a"
        delay = queue.done("a", failed=True)
        assert delay is not None
        clock.now += delay - 0.001
        assert queue.take() is None
        clock.now += 0.001
        delays.append(delay)
    assert delays[:4] == [0.25, 0.5, 1, 2]
    assert delays[-1] == 60


def test_success_forgets_failures(queue: WorkQueue[str], clock: Clock) -> None:
    queue.add("a")
    queue.take()
    queue.done("a", failed=True)
    clock.now += 1
    assert queue.take() == "a"
    queue.done("a")
    queue.add("a")
    queue.take()
    assert queue.done("a", failed=True) == 0.25


def test_the_earlier_appointment_stands(queue: WorkQueue[str], clock: Clock) -> None:
    queue.add_after("a", 10)
    queue.add_after("a", 5)
    queue.add_after("a", 20)
    clock.now = 4.9
    assert queue.take() is None
    clock.now = 5
    assert queue.take() == "a"
    queue.done("a")
    clock.now = 100
    assert queue.take() is None


async def test_get_wakes_for_a_new_key_and_for_an_appointment() -> None:
    queue: WorkQueue[str] = WorkQueue()
    waiting = asyncio.create_task(queue.get())
    await asyncio.sleep(0)
    queue.add("a")
    assert await asyncio.wait_for(waiting, 1) == "a"
    queue.add_after("b", 0.02)
    assert await asyncio.wait_for(queue.get(), 1) == "b"


async def test_many_workers_share_the_keys() -> None:
    queue: WorkQueue[int] = WorkQueue()
    workers = [asyncio.create_task(queue.get()) for _ in range(5)]
    await asyncio.sleep(0)
    for number in range(5):
        queue.add(number)
    got = await asyncio.wait_for(asyncio.gather(*workers), 1)
    assert sorted(got) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("turns", range(6))
async def test_a_cancelled_worker_ends_whatever_comes_meanwhile(turns: int) -> None:
    queue: WorkQueue[str] = WorkQueue()

    async def work() -> None:
        while True:
            queue.done(await queue.get())

    queue.add_after("later", 60)
    worker = asyncio.create_task(work())
    await asyncio.sleep(0.01)
    queue.add("now")
    for _ in range(turns):  # of the loop, between the key and the cancellation
        await asyncio.sleep(0)
    worker.cancel()
    await asyncio.wait({worker}, timeout=1)
    assert worker.cancelled()


async def test_a_key_wakes_one_worker_and_an_appointment_too() -> None:
    woken = 0

    class Counted(WorkQueue[str]):
        def take(self) -> str | None:
            nonlocal woken
            woken += 1
            return super().take()

    queue = Counted()
    workers = [asyncio.create_task(queue.get()) for _ in range(8)]
    await asyncio.sleep(0)
    assert woken == 8
    queue.add("a")
    queue.add_after("b", 0.01)
    await asyncio.sleep(0.05)
    assert sorted(worker.result() for worker in workers if worker.done()) == ["a", "b"]
    assert woken <= 8 + 3, "one for each, and one whom the look at the appointments wakes"
    for worker in workers:
        worker.cancel()


async def test_a_key_isnt_lost_with_the_worker_that_it_woke() -> None:
    queue: WorkQueue[str] = WorkQueue()
    first, second = (asyncio.create_task(queue.get()) for _ in range(2))
    await asyncio.sleep(0)
    queue.add("a")
    first.cancel()
    assert await asyncio.wait_for(second, 1) == "a"
    assert first.cancelled()
