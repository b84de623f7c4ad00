"""Parts of the process that must all go on: the first that ends, or raises, ends the others."""

import asyncio
from collections.abc import Coroutine, Iterator, Mapping
from typing import Any, NoReturn


class EndedError(Exception):
    """A part of the process came to an end that has none."""


async def together(parts: Mapping[str, Coroutine[Any, Any, None]]) -> NoReturn:
    """Run all of them until cancelled. Raises a group with what ended the first."""
    async with asyncio.TaskGroup() as group:
        for name, part in parts.items():
            group.create_task(_endless(name, part), name=name)
    raise AssertionError("no part of it ends without an error")


async def _endless(name: str, part: Coroutine[Any, Any, None]) -> NoReturn:
    try:
        await part
    except Exception as error:
        error.add_note(f"in the operator's part: {name}")
        raise
    raise EndedError(f"{name} came to an end")


def causes(error: BaseException) -> Iterator[BaseException]:
    """The errors that a group holds, or the error itself."""
    if isinstance(error, BaseExceptionGroup):
        for each in error.exceptions:
            yield from causes(each)
    else:
        yield error
