"""The load of the machine while training."""

import os
import time
from typing import Any

import torch

from luthier_api.progress import Machine
from luthier_trainer.log import log
from luthier_trainer.machine.device import on_gpu
from luthier_trainer.machine.memory import peak_bytes


class Monitor:
    """What the processors did between two readings."""

    def __init__(self) -> None:
        self._gpu = _gpu_handle()
        self.start()

    def start(self) -> None:
        """Measure from now on."""
        self._at, self._cpu = time.monotonic(), _cpu_seconds()
        self._waited = 0.0

    def waited(self, seconds: float) -> None:
        """Training waited that long for its next batch."""
        self._waited += seconds

    def read(self, training_seconds: float) -> Machine:
        """The load since the last reading. `training_seconds`: of that time, without evaluations
        and copies of the state: they wait for no batch."""
        elapsed = max(time.monotonic() - self._at, 1e-9)
        machine = Machine(
            cpu_percent=round(100 * (_cpu_seconds() - self._cpu) / elapsed, 1),
            data_wait_percent=round(min(100.0, 100 * self._waited / training_seconds), 1),
            **self._gpu_load(),
        )
        self.start()
        return machine

    def _gpu_load(self) -> dict[str, Any]:
        if self._gpu is None:
            return {}
        import pynvml  # type: ignore[import-untyped]

        try:
            load = pynvml.nvmlDeviceGetUtilizationRates(self._gpu).gpu
            used = pynvml.nvmlDeviceGetMemoryInfo(self._gpu).used
        except pynvml.NVMLError as error:
            log(f"warning: the GPU's load can't be read: {error}")
            self._gpu = None
            return {}
        return {"gpu_percent": float(load), "gpu_memory_bytes": int(used)}


def entries(machine: Machine) -> dict[str, float]:
    """The reading as values of the journal."""
    values = {
        "cpu_percent": machine.cpu_percent,
        "data_wait_percent": machine.data_wait_percent,
        "gpu_percent": machine.gpu_percent,
        "gpu_memory_bytes": machine.gpu_memory_bytes,
        "peak_memory_bytes": peak_bytes(),
    }
    return {name: value for name, value in values.items() if value is not None}


def _cpu_seconds() -> float:
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def _gpu_handle() -> Any:
    if not on_gpu():
        return None
    import pynvml

    try:
        pynvml.nvmlInit()
        return pynvml.nvmlDeviceGetHandleByUUID(f"GPU-{torch.cuda.get_device_properties(0).uuid}")
    except pynvml.NVMLError as error:
        log(f"warning: the GPU's load can't be read: {error}")
        return None
