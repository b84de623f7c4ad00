"""Why something doesn't come up is asked for once for all of a namespace."""

import asyncio
from collections.abc import Container
from dataclasses import replace
from datetime import timedelta

import pytest
from unit.operator.builders import NOW, job_of, observed
from unit.operator.test_version_skew import FIRST

from luthier_operator.run.enquiry import (
    BUSY_SECONDS,
    FIRST_SECONDS,
    FRESH_SECONDS,
    REST,
    Enquiry,
    Warnings,
)


class Cluster:
    """One whose Events take some time to read."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.may_answer = asyncio.Event()
        self.may_answer.set()
        self.notes: dict[str, tuple[str, ...]] = {}

    async def warnings(self, namespace: str, reasons: Container[str]) -> dict[str, tuple[str, ...]]:
        self.asked.append(namespace)
        await self.may_answer.wait()
        return dict(self.notes)


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


async def test_one_reading_serves_all_of_a_namespace_for_a_moment() -> None:
    cluster, clock = Cluster(), Clock()
    cluster.notes = {"a": ("FailedCreate: no",)}
    warnings = Warnings(cluster, clock)  # type: ignore[arg-type]
    assert await warnings.about("team", "a") == ("FailedCreate: no",)
    assert await warnings.about("team", "b") == ()
    assert await warnings.about("other", "a") == ("FailedCreate: no",)
    assert cluster.asked == ["team", "other"]
    clock.now += FRESH_SECONDS
    await warnings.about("team", "a")
    assert cluster.asked == ["team", "other", "team"]


async def test_who_comes_while_it_is_read_holds_up_no_worker() -> None:
    cluster, clock = Cluster(), Clock()
    warnings = Warnings(cluster, clock)  # type: ignore[arg-type]
    cluster.may_answer.clear()
    reading = asyncio.create_task(warnings.about("team", "a"))
    await asyncio.sleep(0)
    assert await asyncio.wait_for(warnings.about("team", "b"), 1) is None
    clock.now += 3.0
    cluster.may_answer.set()
    assert await reading == ()
    assert cluster.asked == ["team"]
    # What takes long is asked for less often.
    clock.now += REST * 3.0 - 0.1
    await warnings.about("team", "b")
    assert cluster.asked == ["team"]
    clock.now += 0.1
    await warnings.about("team", "b")
    assert cluster.asked == ["team", "team"]


async def test_a_reading_that_fails_leaves_nobody_waiting_for_it() -> None:
    cluster, clock = Cluster(), Clock()
    warnings = Warnings(cluster, clock)  # type: ignore[arg-type]

    async def fail(namespace: str, reasons: Container[str]) -> dict[str, tuple[str, ...]]:
        raise ConnectionError

    cluster.warnings = fail  # type: ignore[method-assign]
    with pytest.raises(ConnectionError):
        await warnings.about("team", "a")
    assert await warnings.about("team", "a") == ()
    del cluster.warnings
    clock.now += FRESH_SECONDS
    cluster.notes = {"a": ("FailedCreate: no",)}
    assert await warnings.about("team", "a") == ("FailedCreate: no",)


async def test_a_run_asks_less_and_less_often() -> None:
    cluster, clock = Cluster(), Clock()
    warnings, enquiry = Warnings(cluster, clock), Enquiry()  # type: ignore[arg-type]
    seen = replace(observed(jobs=[job_of(FIRST)]), now=NOW + timedelta(minutes=1))
    assert not await enquiry.ask(warnings, seen, clock()), "there is nothing yet"
    [uid] = [job.uid for job in seen.jobs]
    assert enquiry.due(seen, clock()) == FIRST_SECONDS
    clock.now += FIRST_SECONDS
    cluster.notes = {uid: ("FailedCreate: no",)}
    assert await enquiry.ask(warnings, seen, clock())
    assert enquiry.notes == ("FailedCreate: no",)
    assert enquiry.due(seen, clock()) == 2 * FIRST_SECONDS
    clock.now += 2 * FIRST_SECONDS
    assert not await enquiry.ask(warnings, seen, clock()), "nothing new"


async def test_a_run_that_cannot_be_answered_now_asks_again_soon() -> None:
    cluster, clock = Cluster(), Clock()
    warnings, enquiry = Warnings(cluster, clock), Enquiry()  # type: ignore[arg-type]
    seen = replace(observed(jobs=[job_of(FIRST)]), now=NOW + timedelta(minutes=1))
    cluster.may_answer.clear()
    reading = asyncio.create_task(warnings.about(seen.owner.namespace, "another"))
    await asyncio.sleep(0)
    assert not await enquiry.ask(warnings, seen, clock())
    assert enquiry.due(seen, clock()) == BUSY_SECONDS
    cluster.may_answer.set()
    await reading
