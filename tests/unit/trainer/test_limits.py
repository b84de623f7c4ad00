"""Code of others stops at its limits, and what was set before is set again."""

import contextlib
import resource
import signal
import threading

import pytest

from luthier_trainer.objectives.limits import TooLongError, limited

_GIB = 1 << 30


def test_its_time() -> None:
    before = signal.getsignal(signal.SIGPROF)
    for run in (_spin, _spin_on):
        with pytest.raises(TooLongError), limited(0.05, _GIB):
            run()
    assert signal.getsignal(signal.SIGPROF) == before
    assert signal.getitimer(signal.ITIMER_PROF) == (0, 0)


def _spin() -> None:
    while True:
        pass


def _spin_on() -> None:
    """Swallows the first exception."""
    with contextlib.suppress(TooLongError):
        _spin()
    _spin()


def test_its_memory() -> None:
    before = resource.getrlimit(resource.RLIMIT_AS)
    with pytest.raises(MemoryError), limited(10, 1 << 27):
        bytearray(_GIB)
    assert resource.getrlimit(resource.RLIMIT_AS) == before
    assert len(bytearray(1 << 28)) == 1 << 28


def test_another_thread_has_the_limit_of_memory() -> None:
    found: list[BaseException] = []

    def run() -> None:
        try:
            with limited(10, 1 << 27):
                bytearray(_GIB)
        except MemoryError as error:
            found.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join(60)
    assert len(found) == 1
