"""The report that a trainer sends every few seconds: POST /v1/progress, bearer token.

The operator answers 204; 401 (token refused), 403 (the pod doesn't belong to that
run), 409 (the run is over: an older attempt), 429 (too often: the next one will do),
503 (not the leader: try again).
"""

from pydantic import Field

from luthier_api.bounds import (
    MOST_ADAPTERS,
    MOST_CANDIDATES,
    MOST_CHECKPOINTS,
    MOST_METRICS,
    MOST_RESOLVED,
    Amount,
    Count,
)
from luthier_api.finetunejob import (
    CheckpointRef,
    DatasetFacts,
    Estimate,
    EvaluationResult,
    Progress,
)
from luthier_api.meta import Model
from luthier_api.optimizejob import Candidate
from luthier_api.result import AdapterEnd
from luthier_api.runspec import RunIdentity
from luthier_api.runstatus import Restarts, Usage
from luthier_api.search import SearchStatus
from luthier_api.tracking import TrackedRun

PROGRESS_ROUTE = "/v1/progress"
MAX_REPORT_BYTES = 64 * 1024


class CheckpointCost(Model):
    """What checkpoints have cost this pod so far."""

    count: Count = 0
    seconds: Amount = Field(default=0, description="Wall time of their uploads, summed.")
    blocked_seconds: Amount = Field(default=0, description="Time that training stood still.")
    bytes: Count = Field(default=0, description="Bytes uploaded, summed.")
    last_seconds: Amount = 0
    last_bytes: Count = 0


class Machine(Model):
    """The pod's load since its last report."""

    cpu_percent: Amount | None = Field(default=None, description="100 is one CPU busy.")
    data_wait_percent: Amount | None = Field(
        default=None, description="Time that training waited for data."
    )
    gpu_percent: Amount | None = Field(default=None, description="Time that the GPU was busy.")
    gpu_memory_bytes: Count | None = Field(default=None, description="Memory in use on the GPU.")


class ProgressReport(Model):
    """The state of one pod of a run."""

    run: RunIdentity
    pod: str = Field(max_length=253)
    sequence: Count = Field(description="Rises with every report of this pod.")
    progress: Progress
    eta_seconds: Amount | None = None
    dataset_digest: str | None = Field(default=None, max_length=80)
    dataset_valid: bool | None = Field(default=None, description="What preflight found so far.")
    dataset_summary: str | None = Field(
        default=None, max_length=200, description="For people, e.g. 4,500 train rows, 300 test."
    )
    dataset: DatasetFacts | None = None
    estimate: Estimate | None = None
    resolved: dict[str, str] = Field(default={}, max_length=MOST_RESOLVED)
    overfitting: str | None = Field(
        default=None, max_length=300, description="What shows that the model learns by heart."
    )
    inexact_resume: str | None = Field(
        default=None, max_length=300, description="Why going on differs from never having stopped."
    )
    eval_metrics: dict[str, float] = Field(
        default={}, max_length=MOST_METRICS, description="Of the last evaluation."
    )
    machine: Machine = Machine()
    resumed_from_step: Count | None = None
    checkpoints: list[CheckpointRef] = Field(default=[], max_length=MOST_CHECKPOINTS)
    checkpoint_cost: CheckpointCost = CheckpointCost()
    evaluation: EvaluationResult | None = None
    baseline: Candidate | None = Field(default=None, description="Of a run that optimises.")
    candidates: list[Candidate] = Field(default=[], max_length=MOST_CANDIDATES)
    adapters: list[AdapterEnd] = Field(
        default=[], max_length=MOST_ADAPTERS, description="Of a run that builds a bundle."
    )
    search: SearchStatus | None = Field(
        default=None, description="Of a run that searches: all its trials, whichever pod speaks."
    )
    tracking: list[TrackedRun] = Field(
        default=[], max_length=2, description="The run in the trackers that it tells."
    )
    usage: Usage = Usage()
    restarts: Restarts = Restarts()
