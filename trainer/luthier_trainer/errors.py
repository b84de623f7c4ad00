"""Failures that the user is told about: what, where, and the remedy."""

import errno
import os
import re
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from luthier_api.result import ExitCode, RunError
from luthier_trainer.documents import DocumentError
from luthier_trainer.redaction import redacted

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

MEASURING_REMEDY = (
    "lower evaluation.batchSize or training.maxLength, or use a pool with more memory"
)

# What is said of a model is said of a FineTuneJob's; the fields of the other kinds.
_TUNED_MODEL = "model.uri"
_MODEL = {"OptimizeJob": "source", "AdapterBundle": "base.uri"}

# How torch says that a process that loads data died, and what of.
_LOADER_DIED = (
    "exited unexpectedly",
    "killed by signal: Killed",
    "out of shared memory",
    "insufficient shared memory",
    "unable to allocate shared memory",
)

# In place of words that may quote a row: a status may not have these.
IN_LOG = "the pod's log has its words"

_FULL = (errno.ENOSPC, errno.EDQUOT)
# As libraries in other languages say it, such as safetensors.
_FULL_WORDS = tuple(map(os.strerror, _FULL))

# Of torch, where a GPU fails: its first line is the driver's.
_OF_A_GPU = "AcceleratorError"
_ESCAPED_BLANK, _BLANKS = re.compile(r"\\[nrt]"), re.compile(r"\s+")


class TrainerError(Exception):
    """Ends the run with an exit code and an error in words.

    `code` is CamelCase and becomes a condition's reason; `param` is the path of the
    field in the user's spec, e.g. "dataset.template".
    """

    def __init__(
        self, exit_code: ExitCode, code: str, message: str, param: str | None = None
    ) -> None:
        message = redacted(message)  # before it is cut: half a secret is one, too
        super().__init__(f"{code}: {message}")
        self.exit_code = exit_code
        self.error = RunError(code=code, message=message[:1500], param=param)


def blaming(error: TrainerError, param: str) -> TrainerError:
    """The same error, of another field."""
    return TrainerError(error.exit_code, error.error.code, error.error.message, param)


def data_error(code: str, message: str, param: str = "dataset.uri") -> TrainerError:
    """The dataset can't be used as it is."""
    return TrainerError(ExitCode.DATA, code, message, param)


def unsupported(code: str, message: str, param: str) -> TrainerError:
    """The model can't do what is asked."""
    return TrainerError(ExitCode.UNSUPPORTED, code, message, param)


def output_unusable(uri: str, name: str, error: Exception) -> TrainerError:
    """What lies in an output under a name of ours isn't ours."""
    why = str(error) if isinstance(error, DocumentError) else "its fields aren't"
    return TrainerError(
        ExitCode.OUTPUT_CLAIMED,
        "OutputUnusable",
        f"{uri}/{name} is none of Luthier's: {why}; choose another output.uri, or delete what "
        "lies there",
        "output.uri",
    )


class Interrupted(BaseException):
    """SIGTERM came. Like KeyboardInterrupt it must pass every `except Exception`."""


class PeersLost(Interrupted):
    """A process that trains beside this one is gone: all of them end, and go on together."""


class Superseded(BaseException):
    """The run is over or another pod does it now: end without publishing anything."""


def is_disk_full(error: BaseException) -> bool:
    """Whether a file couldn't be written here for lack of room, or of quota."""
    return isinstance(error, OSError) and error.errno in _FULL


def from_exception(error: Exception, kind: str = "FineTuneJob") -> TrainerError:
    """Any exception as a failure of a run of that kind: a known one, a lack of memory or disk,
    or a defect of ours."""
    if isinstance(error, TrainerError):
        own = _MODEL.get(kind, _TUNED_MODEL)
        return blaming(error, own) if error.error.param == _TUNED_MODEL else error
    text = f"{type(error).__name__}: {error}"
    died = next((words for words in _LOADER_DIED if words in text), None)
    if "DataLoader worker" in text and died:
        return TrainerError(
            ExitCode.INTERNAL,
            "OutOfMemory",
            "A process that loads data died, most often because the pod's memory or its /dev/shm "
            f"is full (DataLoader worker: {died}): lower training.dataloaderWorkers "
            "(0: no such processes) or training.perDeviceBatchSize, or use a pool with more "
            "memory or a larger sharedMemory (which counts as memory).",
            "training.dataloaderWorkers",
        )
    if place := _without_memory(error):
        remedy, param = OUT_OF_MEMORY[kind]
        return TrainerError(
            ExitCode.INTERNAL,
            "OutOfMemory",
            f"The run needs more memory than {place} has; {remedy}.",
            param,
        )
    full = next((words for words in _FULL_WORDS if words in text), None)
    if is_disk_full(error) or full:
        smaller = (
            "; checkpoints are smaller with a method that trains fewer weights (lora), or an "
            "optimizer with a smaller state"
            if kind == "FineTuneJob"
            else ""
        )
        return TrainerError(
            ExitCode.INTERNAL,
            "DiskFull",
            f"No room is left on the disk: {_place(error) or full or type(error).__name__}. Make "
            "room there, or use a pool with more ephemeral storage (its scratchSize, cacheSize, "
            f"sharedMemory) or with a larger volume as cacheClaim{smaller}.",
            "placement.pool",
        )
    return TrainerError(
        ExitCode.INTERNAL, "InternalError", f"{_unquoted(error)} (the pod's log has the traceback)"
    )


@contextmanager
def measuring(batch_size: int) -> Iterator[None]:
    """Within it rows are measured, and a lack of memory is one for that: raises TrainerError
    (OutOfMemory)."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        place = _without_memory(error)
        if place is None:
            raise
        raise TrainerError(
            ExitCode.INTERNAL,
            "OutOfMemory",
            f"Measuring {batch_size} rows at a time needs more memory than {place} has; "
            f"{MEASURING_REMEDY}.",
            "evaluation.batchSize",
        ) from error


def _without_memory(error: Exception) -> str | None:
    """What has too little memory, where that is why."""
    text = f"{type(error).__name__}: {error}"
    lacks = "out of memory" in text or "not enough memory" in text
    if not (lacks or isinstance(error, MemoryError)):
        return None
    return "its GPU" if "CUDA" in text else "its pod"


def words_of(error: BaseException, source: str) -> str:
    """What code of others raised, as a status may have it: what stands in the code itself. Other
    words may quote a row."""
    name, text = type(error).__name__, str(error)
    if not text:
        return name
    return f"{name}: {text if stands_in(text, source) else IN_LOG}"


def stands_in(text: str, source: str) -> bool:
    """Whether code has a text among its literals, as far as blanks and escapes let it be seen."""
    return _bare(text) in _bare(source)


def _bare(text: str) -> str:
    return _BLANKS.sub(" ", _ESCAPED_BLANK.sub(" ", text).replace("\\", "")).strip()


def _unquoted(error: Exception) -> str:
    """What was raised, and where, without words of a library that may quote a row."""
    name = type(error).__name__
    if isinstance(error, OSError) and error.strerror:
        place = _place(error)
        return f"{name}: {error.strerror}{f': {place}' if place else ''}"
    if name == _OF_A_GPU:
        return f"{name}: {str(error).partition(chr(10))[0][:300]}"
    frames = traceback.extract_tb(error.__traceback__)
    if not frames:
        return name
    file = "/".join(Path(frames[-1].filename).parts[-2:])
    return f"{name} in {file}, line {frames[-1].lineno}"


def _place(error: Exception) -> str | None:
    """The file that an error is about; of a copy the new one."""
    return getattr(error, "filename2", None) or getattr(error, "filename", None)
