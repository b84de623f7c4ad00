"""How a run ended: the trainer's exit code and its termination message (JSON, ≤ 4,000 bytes)."""

from enum import IntEnum
from typing import Literal

from pydantic import Field

from luthier_api.finetunejob import (
    ArtifactRef,
    CheckpointRef,
    EvaluationResult,
    Progress,
    Restarts,
    Usage,
)
from luthier_api.meta import Model

MAX_RESULT_BYTES = 4000


class ExitCode(IntEnum):
    """Whose fault it was (numbers as in sysexits.h where it has one)."""

    SUCCEEDED = 0
    INVALID_RUN_SPEC = 64
    DATA = 65  # the dataset can't be used as it is
    NOT_FOUND = 66  # model, dataset or bucket isn't there
    STORAGE_UNAVAILABLE = 69  # unreachable for as long as the pool allows
    INTERNAL = 70  # a defect of ours: tried again
    INTERRUPTED = 75  # SIGTERM, checkpoint saved: tried again without counting
    NO_PROGRESS = 76  # two pods died at the same checkpoint
    DENIED = 77  # credentials missing or refused
    UNSUPPORTED = 78  # the combination of model, task and method
    OUTPUT_CLAIMED = 79  # another resource writes there


# The Job fails at once on these: trying again can't heal them.
TERMINAL_EXIT_CODES = (
    ExitCode.INVALID_RUN_SPEC,
    ExitCode.DATA,
    ExitCode.NOT_FOUND,
    ExitCode.STORAGE_UNAVAILABLE,
    ExitCode.NO_PROGRESS,
    ExitCode.DENIED,
    ExitCode.UNSUPPORTED,
    ExitCode.OUTPUT_CLAIMED,
)


class RunError(Model):
    """The first error, in words for the user: what, where, and the remedy."""

    code: str = Field(max_length=64, description="CamelCase; becomes the condition's reason.")
    message: str = Field(max_length=1500)
    param: str | None = Field(
        default=None, max_length=256, description="Field of the spec, e.g. dataset.template."
    )


class RunResult(Model):
    """The end of one pod of a run."""

    revision: str
    attempt: int
    outcome: Literal["Succeeded", "Failed", "Interrupted"]
    error: RunError | None = None
    dataset_digest: str | None = None
    dataset_valid: bool | None = None
    dataset_summary: str | None = Field(default=None, max_length=200)
    progress: Progress | None = None
    checkpoints: list[CheckpointRef] = []
    evaluation: EvaluationResult | None = None
    artifact: ArtifactRef | None = None
    usage: Usage | None = None
    restarts: Restarts | None = None
