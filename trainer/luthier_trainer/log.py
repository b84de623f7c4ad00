"""The log: one readable line each, on standard error."""

import os
import sys
import time
import traceback

from luthier_api.visible import one_line
from luthier_trainer.redaction import redacted

_STARTED = time.monotonic()
# Of several processes of a pod, all but the first say which one speaks (distributed/launch.py).
_RANK = os.environ.get("LUTHIER_LOCAL_RANK", "0")
_WHO = "" if _RANK == "0" else f"process {_RANK}: "


def log(message: str) -> None:
    """Write a line with the seconds since the start. Names and values of users' files are among
    its words, and what libraries say: whatever they hold, it stays one line, none of it acts on a
    terminal, and no secret is in it."""
    words = one_line(redacted(message))
    print(f"{time.monotonic() - _STARTED:8.1f}s {_WHO}{words}", file=sys.stderr, flush=True)


def log_traceback(error: BaseException) -> None:
    """Where an error comes from, below the line that tells of it: a bar marks its lines."""
    # As a whole: a secret may hold line ends.
    text = redacted("".join(traceback.format_exception(error)))
    for line in text.rstrip().splitlines():
        print(f"{'|':>9} {one_line(line)}", file=sys.stderr, flush=True)
