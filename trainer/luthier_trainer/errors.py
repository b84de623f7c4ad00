"""Failures that the user is told about: what, where, and the remedy."""

import errno
import os

from luthier_api.result import ExitCode, RunError

# What to do about a lack of memory, by the kind of run; and the field that it is about.
OUT_OF_MEMORY = {
    "FineTuneJob": (
        "lower training.perDeviceBatchSize (and raise gradientAccumulationSteps) or "
        "training.maxLength, or use a pool with more memory",
        "training.perDeviceBatchSize",
    ),
    "OptimizeJob": (
        "use a pool with more memory (placement.pool), or lower evaluation.batchSize and "
        "benchmark.batchSizes",
        "placement.pool",
    ),
    "AdapterBundle": ("use a pool with more memory (placement.pool)", "placement.pool"),
}

# How torch says that a process that loads data died, and what of.
_LOADER_DIED = (
    "exited unexpectedly",
    "killed by signal: Killed",
    "out of shared memory",
    "insufficient shared memory",
    "unable to allocate shared memory",
)

_FULL = (errno.ENOSPC, errno.EDQUOT)
# As libraries in other languages say it, such as safetensors.
_FULL_WORDS = tuple(map(os.strerror, _FULL))


class TrainerError(Exception):
    """Ends the run with an exit code and an error in words.

    `code` is CamelCase and becomes a condition's reason; `param` is the path of the
    field in the user's spec, e.g. "dataset.template".
    """

    def __init__(
        self, exit_code: ExitCode, code: str, message: str, param: str | None = None
    ) -> None:
        super().__init__(f"{code}: {message}")
        self.exit_code = exit_code
        self.error = RunError(code=code, message=message[:1500], param=param)


def data_error(code: str, message: str, param: str = "dataset.uri") -> TrainerError:
    """The dataset can't be used as it is."""
    return TrainerError(ExitCode.DATA, code, message, param)


def unsupported(code: str, message: str, param: str) -> TrainerError:
    """The model can't do what is asked."""
    return TrainerError(ExitCode.UNSUPPORTED, code, message, param)


class Interrupted(BaseException):
    """SIGTERM came. Like KeyboardInterrupt it must pass every `except Exception`."""


class Superseded(BaseException):
    """The run is over or another pod does it now: end without publishing anything."""


def is_disk_full(error: BaseException) -> bool:
    """Whether a file couldn't be written here for lack of room, or of quota."""
    return isinstance(error, OSError) and error.errno in _FULL


def from_exception(error: Exception, kind: str = "FineTuneJob") -> TrainerError:
    """Any exception as a failure of a run of that kind: a known one, a lack of memory or disk,
    or a defect of ours."""
    if isinstance(error, TrainerError):
        return error
    text = f"{type(error).__name__}: {error}"
    if "DataLoader worker" in text and any(words in text for words in _LOADER_DIED):
        return TrainerError(
            ExitCode.INTERNAL,
            "OutOfMemory",
            "A process that loads data died, most often because the pod's memory or its /dev/shm "
            f"is full ({' '.join(str(error).split())[-300:]}): lower training.dataloaderWorkers "
            "(0: no such processes) or training.perDeviceBatchSize, or use a pool with more "
            "memory or a larger sharedMemory (which counts as memory).",
            "training.dataloaderWorkers",
        )
    if isinstance(error, MemoryError) or "out of memory" in text or "not enough memory" in text:
        place = "its GPU" if "CUDA" in text else "its pod"
        remedy, param = OUT_OF_MEMORY[kind]
        return TrainerError(
            ExitCode.INTERNAL,
            "OutOfMemory",
            f"The run needs more memory than {place} has; {remedy}.",
            param,
        )
    if is_disk_full(error) or any(words in text for words in _FULL_WORDS):
        smaller = (
            "; checkpoints are smaller with a method that trains fewer weights (lora), or an "
            "optimizer with a smaller state"
            if kind == "FineTuneJob"
            else ""
        )
        return TrainerError(
            ExitCode.INTERNAL,
            "DiskFull",
            f"No room is left on the disk: {_place(error) or text[:300]}. Make "
            "room there, or use a pool with more ephemeral storage (its scratchSize, cacheSize, "
            f"sharedMemory) or with a larger volume as cacheClaim{smaller}.",
            "placement.pool",
        )
    return TrainerError(
        ExitCode.INTERNAL, "InternalError", f"{text[:1200]} (the pod's log has the traceback)"
    )


def _place(error: Exception) -> str | None:
    """The file that an error is about; of a copy the new one."""
    return getattr(error, "filename2", None) or getattr(error, "filename", None)
