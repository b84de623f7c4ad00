"""Again, while an error can heal."""

import random
import time
from collections.abc import Callable
from typing import TypeVar

from luthier_trainer.log import log
from luthier_trainer.storage.causes import cause

T = TypeVar("T")


def retry(
    what: str, call: Callable[[], T], seconds: float, heals: Callable[[Exception], bool]
) -> T:
    """The result of `call`, tried again with growing pauses while `heals(error)`, for at most
    `seconds`. Raises the last error."""
    deadline = time.monotonic() + seconds
    delay = 0.25
    while True:
        try:
            return call()
        except Exception as error:
            left = deadline - time.monotonic()
            if left <= 0 or not heals(error):
                raise
            log(f"storage: {what}: {cause(error)}; trying again for {left:.0f} s")
            time.sleep(min(delay * (0.5 + random.random()), left))  # noqa: S311 - jitter
            delay = min(delay * 2, 5.0)
