"""The machine's load, and the peak of its memory."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from unit.trainer.training_runs import Causal, Fit, Tokens

from luthier_trainer.machine import memory
from luthier_trainer.objectives.objective import Batch
from luthier_trainer.training.monitor import Monitor, entries

SPUN = 0.3  # seconds


def test_waiting_is_a_share_of_training() -> None:
    monitor = Monitor()
    monitor.waited(0.5)
    monitor.waited(1.0)
    assert monitor.read(training_seconds=6.0).data_wait_percent == 25
    assert monitor.read(training_seconds=6.0).data_wait_percent == 0


def test_working_is_told() -> None:
    """By the seconds of CPU time, which are the same however often others come in between."""
    monitor = Monitor()

    def cpu_seconds(work: Callable[[], None]) -> float:
        monitor.start()
        began = time.monotonic()
        work()
        machine = monitor.read(1.0)
        assert machine.cpu_percent is not None
        assert entries(machine)["peak_memory_bytes"] > 0
        assert "gpu_percent" not in entries(machine) or machine.gpu_percent is not None
        return machine.cpu_percent / 100 * (time.monotonic() - began)

    assert cpu_seconds(spin) > 0.8 * SPUN
    assert cpu_seconds(lambda: time.sleep(0.1)) < 0.5 * SPUN


def spin() -> None:
    until = time.process_time() + SPUN
    while time.process_time() < until:
        pass


def test_evaluations_wait_for_no_batch(tmp_path: Path) -> None:
    """Each step waits for its batch, and an evaluation of many times as long comes after it."""
    wait = 0.05

    class Slow(Causal):
        def collate(self, items: Sequence[Any]) -> Batch:
            time.sleep(wait)
            return super().collate(items)

    def measure(_model: Any, _items: Any) -> dict[str, float]:
        time.sleep(20 * wait)
        return {"loss": 1.0}

    row = Tokens([2, 3, 4, 5])
    outcome = Fit(
        tmp_path,
        objective=Slow(),
        settings={
            "maxSteps": 3,
            "evalEverySteps": 1,
            "saveEverySteps": 3,
            "gradientAccumulationSteps": 1,
        },
        items=[row] * 12,
        eval_items=[row],
        measure=measure,
    )()
    logged = [entry for entry in outcome.journal.entries if "loss" in entry]
    assert [entry["step"] for entry in logged] == [1, 2, 3]
    for entry in logged:
        seconds = 4 * len(row) / entry["tokens_per_second"]  # of the step's training
        assert entry["data_wait_percent"] / 100 * seconds > 0.5 * wait


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
