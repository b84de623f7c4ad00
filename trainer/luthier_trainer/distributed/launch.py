"""The processes of a pod with several GPUs, one for each: started, told to stop, and waited for.

All of them live and die together: what they were doing is in the last checkpoint. torchrun's own
agent kills its workers 30 seconds after SIGTERM, which is too soon for a checkpoint of a large
model; nothing else of it is needed here.
"""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from luthier_api.result import ExitCode
from luthier_api.runspec import RunOrder
from luthier_trainer.distributed.place import LOCAL_RANK, MASTER
from luthier_trainer.log import log
from luthier_trainer.machine.runtime import threads

_POLL_SECONDS = 0.2
# Those that are left notice by themselves that one is gone, unless they hang in a GPU's queue.
_LAST_SECONDS = 20.0
_CARDS = "CUDA_VISIBLE_DEVICES"


def launch(order: RunOrder, count: int) -> int:
    """Start this program in `count` processes, each with a card of its own; returns the pod's exit
    code: that of the first process, unless another one failed by itself: then that one's."""
    Path(order.scratch_dir).mkdir(parents=True, exist_ok=True)
    # Those of several pods meet where the order says.
    meeting = f"127.0.0.1:{_free_port()}" if order.nodes == 1 else None
    share = max(1, threads() // count)
    children = [
        subprocess.Popen(
            [sys.executable, *sys.orig_argv[1:]],
            env=environment(os.environ, local, order.scratch_dir, meeting, share),
        )
        for local in range(count)
    ]
    asked: list[int] = []

    def pass_on(number: int, _: object) -> None:
        asked.append(number)
        for child in children:
            if child.poll() is None:
                child.send_signal(number)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, pass_on)
    try:
        return wait([child.poll for child in children], [child.kill for child in children], asked)
    finally:
        for child in children:
            if child.poll() is None:
                child.kill()
            child.wait()


def wait(
    polls: Sequence[Callable[[], int | None]],
    kills: Sequence[Callable[[], None]],
    asked: Sequence[int],
    *,
    last_seconds: float = _LAST_SECONDS,
) -> int:
    """Until all have ended: the exit code for them. `asked`: signals that told them to stop; they
    then have as long as the pod has."""
    failed: int | None = None
    killed: set[int] = set()
    ended_at: float | None = None
    while True:
        codes = [poll() for poll in polls]
        for number, code in enumerate(codes):
            if code not in (None, 0, ExitCode.INTERRUPTED) and number not in killed:
                failed = code if failed is None else failed
        if None not in codes:
            return _code(codes[0] if failed is None or 0 in killed else failed)
        # Others than the first have done their part when they end, or were told to stop by it.
        if (codes[0] is not None or failed is not None) and not asked:
            ended_at = time.monotonic() if ended_at is None else ended_at
            if time.monotonic() - ended_at > last_seconds:
                for number, code in enumerate(codes):
                    if code is None and number not in killed:
                        log(f"process {number} is left behind by the others: killed")
                        killed.add(number)
                        kills[number]()
        time.sleep(_POLL_SECONDS)


def _free_port() -> int:
    """One of this machine that nobody listens at."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def environment(
    given: Mapping[str, str], local: int, scratch: str, meeting: str | None, threads: int
) -> dict[str, str]:
    """Of the process `local`: it sees one card, its own, and has its share of the processors."""
    cards = given[_CARDS].split(",") if given.get(_CARDS) else []
    found = {
        **given,
        LOCAL_RANK: str(local),
        _CARDS: cards[local] if local < len(cards) else str(local),
        "OMP_NUM_THREADS": str(threads),
    }
    if meeting:
        found[MASTER] = meeting
    if local:  # the pod has one termination message, and it is the first one's
        found["LUTHIER_TERMINATION_LOG"] = f"{scratch}/end-of-process-{local}.json"
    return found


def _code(code: int | None) -> int:
    """As a shell has it, where a signal ended it."""
    assert code is not None
    return code if code >= 0 else 128 - code
