"""How a run ended: the trainer's exit code and its termination message (JSON, ≤ 4,000 bytes)."""

import json
from collections.abc import Iterator
from enum import IntEnum
from typing import Any, Literal

from pydantic import Field

from luthier_api.adapterbundle import BundleProof
from luthier_api.bounds import (
    MOST,
    MOST_ADAPTERS,
    MOST_CANDIDATES,
    MOST_CHECKPOINTS,
    MOST_RESOLVED,
)
from luthier_api.finetunejob import (
    CheckpointRef,
    DatasetFacts,
    Estimate,
    EvaluationResult,
    Progress,
)
from luthier_api.meta import Model, Name
from luthier_api.optimizejob import Candidate, OptimizedArtifact
from luthier_api.retraining import RowChanges
from luthier_api.runstatus import ArtifactRef, Restarts, Usage
from luthier_api.search import SearchStatus
from luthier_api.tracking import TrackedRun

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
    NOT_GOOD_ENOUGH = 80  # no candidate passed the gates


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
    ExitCode.NOT_GOOD_ENOUGH,
)


class RunError(Model):
    """The first error, in words for the user: what, where, and the remedy."""

    code: str = Field(max_length=64, description="CamelCase; becomes the condition's reason.")
    message: str = Field(max_length=1500)
    param: str | None = Field(
        default=None, max_length=256, description="Field of the spec, e.g. dataset.template."
    )


class RunEnd(Model):
    """The end of one pod of a run, whatever it makes."""

    revision: str = Field(max_length=64)
    attempt: int = Field(ge=0, le=MOST)  # 0: the order couldn't be read
    outcome: Literal["Succeeded", "Failed", "Interrupted"]
    error: RunError | None = None
    usage: Usage | None = None
    restarts: Restarts | None = None

    def to_bytes(self) -> bytes:
        """UTF-8 JSON of at most MAX_RESULT_BYTES.

        The kubelet cuts a longer message in the middle, which would leave no JSON at all. So
        what matters least goes first; outcome, artifact and the error's code always stay.
        Raises ValueError where even these are too long (an output URI of more than 512
        characters, which the API refuses).
        """
        for document in self._ever_smaller():
            text = json.dumps(
                document.to_json(sparse=True), separators=(",", ":"), ensure_ascii=False
            )
            encoded = text.encode()
            if len(encoded) <= MAX_RESULT_BYTES:
                return encoded
        raise ValueError(f"the result of {self.revision} exceeds {MAX_RESULT_BYTES} bytes")

    def _ever_smaller(self) -> Iterator["RunEnd"]:
        """Itself, and then with one thing less each time."""
        document = self
        yield document
        for change in self._dispensable():
            document = document.model_copy(update=change)
            yield document

    def _dispensable(self) -> tuple[dict[str, Any], ...]:
        """Changes that make it smaller; what matters least comes first."""
        return (self._error_of(600), self._error_of(200))

    def _error_of(self, characters: int) -> dict[str, Any]:
        """The error with a shorter message: its beginning says what and where."""
        if self.error is None or len(self.error.message) <= characters:
            return {"error": self.error}
        message = self.error.message[: characters - 1] + "…"
        return {"error": self.error.model_copy(update={"message": message})}


class RunResult(RunEnd):
    """The end of one pod of a fine-tuning run."""

    dataset_digest: str | None = Field(default=None, max_length=80)
    dataset_valid: bool | None = None
    dataset_summary: str | None = Field(default=None, max_length=200)
    dataset: DatasetFacts | None = None
    estimate: Estimate | None = None
    resolved: dict[str, str] = Field(default={}, max_length=MOST_RESOLVED)
    overfitting: str | None = Field(default=None, max_length=300)
    inexact_resume: str | None = Field(default=None, max_length=300)
    progress: Progress | None = None
    checkpoints: list[CheckpointRef] = Field(default=[], max_length=MOST_CHECKPOINTS)
    evaluation: EvaluationResult | None = None
    artifact: ArtifactRef | None = None
    search: SearchStatus | None = None
    tracking: list[TrackedRun] = Field(default=[], max_length=2)
    custom_code: bool = Field(
        default=False,
        description="Whether code of the user's own took part: the rest is then its word, too.",
    )
    newest_revision: int | None = Field(
        default=None,
        ge=1,
        le=MOST,
        description="With the error RevisionTaken: the highest number of a revision that lies in "
        "the resource's folder.",
    )

    def _dispensable(self) -> tuple[dict[str, Any], ...]:
        return (
            # The pod's report had the table, and the page has it.
            self._search_without("table"),
            {"checkpoints": self.checkpoints[-1:]},
            self._error_of(600),
            {"dataset_summary": None},
            {"tracking": [it.model_copy(update={"problem": None}) for it in self.tracking]},
            {"tracking": []},
            {"resolved": {}},
            {"checkpoints": []},
            {"inexact_resume": None},
            {"overfitting": None},
            self._error_of(200),
            self._evaluation_without_change(),
            {"estimate": None},
            {"dataset": None},
            {"progress": None},
            self._evaluation_of_metrics(),
            self._search_without("table", "best"),
            {"evaluation": None},
        )

    def _search_without(self, *names: str) -> dict[str, Any]:
        """What came of the trials, with less about single ones."""
        if self.search is None:
            return {}
        left_out: dict[str, Any] = {"table": [], "best": None}
        changes = {name: left_out[name] for name in names}
        return {"search": self.search.model_copy(update=changes)}

    def _evaluation_without_change(self) -> dict[str, Any]:
        """The metrics without their intervals: the manifest has them. What decides about a
        promotion (`gain`) stays."""
        if self.evaluation is None:
            return {}
        return {"evaluation": self.evaluation.model_copy(update={"change": {}})}

    def _evaluation_of_metrics(self) -> dict[str, Any]:
        """Without what it was in use before either."""
        if self.evaluation is None:
            return {}
        return {"evaluation": self.evaluation.model_copy(update={"change": {}, "gain": {}})}


class OptimizeResult(RunEnd):
    """The end of one pod of a run that optimises."""

    baseline: Candidate | None = None
    candidates: list[Candidate] = Field(default=[], max_length=MOST_CANDIDATES)
    artifact: OptimizedArtifact | None = None

    def _dispensable(self) -> tuple[dict[str, Any], ...]:
        brief = [
            it.model_copy(update={"reason": it.reason and it.reason[:80]}) for it in self.candidates
        ]
        mute = [it.model_copy(update={"reason": None}) for it in self.candidates]
        return (
            self._error_of(600),
            {"candidates": brief},
            self._error_of(200),
            {"candidates": mute},
            {"baseline": None},
            {"candidates": []},
        )


class AdapterEnd(Model):
    """What became of an adapter of a bundle."""

    name: Name
    included: bool
    code: str | None = Field(default=None, max_length=64, description="Why not, in CamelCase.")
    message: str | None = Field(default=None, max_length=400)


class BundleResult(RunEnd):
    """The end of one pod of a run that builds a bundle."""

    adapters: list[AdapterEnd] = Field(default=[], max_length=MOST_ADAPTERS)
    proof: BundleProof | None = None
    artifact: ArtifactRef | None = None

    def _dispensable(self) -> tuple[dict[str, Any], ...]:
        def cut(characters: int) -> dict[str, Any]:
            shorter = [
                it.model_copy(update={"message": it.message and it.message[:characters]})
                for it in self.adapters
            ]
            return {"adapters": shorter}

        # Without a word about it, an adapter is included.
        left_out = [it.model_copy(update={"message": None}) for it in self.adapters if it.code]
        return (
            self._error_of(600),
            cut(120),
            self._error_of(200),
            cut(0),
            {"adapters": left_out},
            # Dozens with long names: what the pod reported before is all that tells of them.
            {"adapters": []},
        )


class ProbeResult(RunEnd):
    """What a look at the data found."""

    changed: bool = Field(default=False, description="Whether it is other data than it was.")
    dataset_digest: str | None = Field(default=None, max_length=80)
    rows: RowChanges | None = Field(
        default=None, description="Left out: the revision left nothing to compare its rows with."
    )
    rows_read: bool = Field(default=False, description="Whether the rows had to be read for it.")


class KeepResult(RunEnd):
    """What was brought in order."""

    deleted: list[str] = Field(default=[], max_length=1000, description="Revisions that are gone.")
    in_use: str | None = Field(
        default=None, max_length=64, description="The revision that in-use.json names."
    )

    def _dispensable(self) -> tuple[dict[str, Any], ...]:
        return (
            self._error_of(600),
            {"deleted": self.deleted[:100]},
            self._error_of(200),
            {"deleted": self.deleted[:25]},
            {"deleted": []},
        )
