"""The report that a trainer sends every few seconds: POST /v1/progress, bearer token.

The operator answers 204; 401 (token refused), 403 (the pod doesn't belong to that
run), 409 (the run is over: an older attempt), 503 (not the leader: try again).
"""

from pydantic import Field

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

PROGRESS_ROUTE = "/v1/progress"
MAX_REPORT_BYTES = 64 * 1024


class CheckpointCost(Model):
    """What checkpoints have cost this pod so far."""

    count: int = 0
    seconds: float = Field(default=0, description="Wall time of their uploads, summed.")
    blocked_seconds: float = Field(default=0, description="Time that training stood still.")
    bytes: int = Field(default=0, description="Bytes uploaded, summed.")
    last_seconds: float = 0
    last_bytes: int = 0


class Machine(Model):
    """The pod's load since its last report."""

    cpu_percent: float | None = Field(default=None, description="100 is one CPU busy.")
    data_wait_percent: float | None = Field(
        default=None, description="Time that training waited for data."
    )
    gpu_percent: float | None = Field(default=None, description="Time that the GPU was busy.")
    gpu_memory_bytes: int | None = Field(default=None, description="Memory in use on the GPU.")


class ProgressReport(Model):
    """The state of one pod of a run."""

    run: RunIdentity
    pod: str
    sequence: int = Field(ge=0, description="Rises with every report of this pod.")
    progress: Progress
    eta_seconds: float | None = None
    dataset_digest: str | None = None
    dataset_valid: bool | None = Field(default=None, description="What preflight found so far.")
    dataset_summary: str | None = Field(
        default=None, max_length=200, description="For people, e.g. 4,500 train rows, 300 test."
    )
    dataset: DatasetFacts | None = None
    estimate: Estimate | None = None
    resolved: dict[str, str] = {}
    overfitting: str | None = Field(
        default=None, max_length=300, description="What shows that the model learns by heart."
    )
    inexact_resume: str | None = Field(
        default=None, max_length=300, description="Why going on differs from never having stopped."
    )
    eval_metrics: dict[str, float] = Field(default={}, description="Of the last evaluation.")
    machine: Machine = Machine()
    resumed_from_step: int | None = None
    checkpoints: list[CheckpointRef] = []
    checkpoint_cost: CheckpointCost = CheckpointCost()
    evaluation: EvaluationResult | None = None
    baseline: Candidate | None = Field(default=None, description="Of a run that optimises.")
    candidates: list[Candidate] = []
    adapters: list[AdapterEnd] = Field(default=[], description="Of a run that builds a bundle.")
    usage: Usage = Usage()
    restarts: Restarts = Restarts()
