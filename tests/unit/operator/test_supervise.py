"""No part of the process ends unseen."""

import asyncio

import pytest

from luthier_operator.supervise import EndedError, causes, together


async def test_a_part_that_ends_ends_the_others() -> None:
    stopped = asyncio.Event()

    async def on() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            stopped.set()

    async def off() -> None:
        await asyncio.sleep(0)

    with pytest.raises(ExceptionGroup) as raised:
        await together({"one": on(), "recorder": off()})
    (why,) = causes(raised.value)
    assert isinstance(why, EndedError)
    assert str(why) == "recorder came to an end"
    assert stopped.is_set()


async def test_a_part_that_fails_says_which() -> None:
    async def fails() -> None:
        raise KeyError("metadata")

    with pytest.raises(ExceptionGroup) as raised:
        await together({"outer": together({"worker 3": fails()})})
    (why,) = causes(raised.value)
    assert isinstance(why, KeyError)
    assert why.__notes__[0] == "in the operator's part: worker 3"


async def test_cancelled_it_cancels_all() -> None:
    task = asyncio.create_task(together({"one": asyncio.sleep(60), "two": asyncio.sleep(60)}))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
