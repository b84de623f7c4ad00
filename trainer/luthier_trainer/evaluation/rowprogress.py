"""How far an evaluation is, for those who wait for it."""

import time
from collections.abc import Callable

from luthier_trainer.log import log
from luthier_trainer.pod.progress import Reporter

_TELL_SECONDS, _LOG_SECONDS = 2.0, 30.0


class RowProgress:
    """Called with the rows of each batch that is done: the stage says how many of `total` are,
    every other second, and the log less often. `stage`: what it is called, of at most 14
    characters (numbers of up to 8 digits then fit in a report).

    `check` is called before: it raises where a stop was asked for. The signal's own exception may
    have got lost in a library."""

    def __init__(
        self, reporter: Reporter, stage: str, total: int, check: Callable[[], None]
    ) -> None:
        self._check = check
        self._reporter, self._stage, self._total = reporter, stage, total
        self._done = 0
        self._reported = self._logged = time.monotonic()

    def __call__(self, rows: int) -> None:
        self._check()
        self._done += rows
        now = time.monotonic()
        if now - self._reported >= _TELL_SECONDS:
            self._reported = now
            self._reporter.update(stage=f"{self._stage} {self._done}/{self._total}")
        if now - self._logged >= _LOG_SECONDS:
            self._logged = now
            log(f"{self._stage.lower()}: {self._done:,} of {self._total:,} rows")
