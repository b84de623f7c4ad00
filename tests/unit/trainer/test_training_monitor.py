"""The machine's load, and the peak of its memory."""

import time

import numpy as np

from luthier_trainer.training import memory
from luthier_trainer.training.monitor import Monitor, entries


def test_waiting_and_working_are_told_apart() -> None:
    monitor = Monitor()
    began = time.monotonic()
    time.sleep(0.1)
    monitor.waited(time.monotonic() - began)
    idle = monitor.read()
    assert idle.data_wait_percent is not None
    assert idle.data_wait_percent > 90
    until = time.process_time() + 0.1
    while time.process_time() < until:
        pass
    busy = monitor.read()
    assert busy.data_wait_percent == 0
    assert busy.cpu_percent is not None
    assert idle.cpu_percent is not None
    assert busy.cpu_percent > idle.cpu_percent
    assert entries(busy)["peak_memory_bytes"] > 0
    assert "gpu_percent" not in entries(busy) or busy.gpu_percent is not None


def test_the_peak_is_counted_from_where_it_is_reset() -> None:
    size = 200_000_000
    held = np.ones(size, np.uint8)
    del held
    memory.reset_peak()
    before = memory.peak_bytes()
    held = np.ones(size, np.uint8)
    assert memory.peak_bytes() - before > 0.8 * size
    del held
    assert memory.peak_bytes() - before > 0.8 * size
