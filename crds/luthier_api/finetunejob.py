"""FineTuneJob: base model + dataset + method → an adapter or model, evaluated, in S3."""

import math
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from luthier_api.bounds import Amount, Count
from luthier_api.evaluation import is_metric
from luthier_api.finetuning import FineTuning
from luthier_api.meta import Model, Rule, list_map
from luthier_api.optimizejob import SourceRef
from luthier_api.optimizers import NEEDS_GPU
from luthier_api.promotion import Promote
from luthier_api.retraining import Retrain, RetrainStatus
from luthier_api.runsettings import RunSettings
from luthier_api.runstatus import ArtifactRef, RunStatus
from luthier_api.runstatus import Progress as Progress
from luthier_api.search import SearchStatus
from luthier_api.tracking import TrackedRun, Tracking


class Checkpoints(Model):
    """States of a run in S3 that it can go on from."""

    keep_last: int = Field(default=3, ge=1, le=100, description="How many are kept.")


# Some metrics have more values than one, and loss is always measured.
_VALUES = (
    ("'rouge'", "['rouge1', 'rouge2', 'rougeL']"),
    ("'json_f1'", "['json_precision', 'json_recall']"),
)
_MEASURE_IT = (
    "promote goes by loss, by what evaluation.metrics names, or by script_* of evaluation.script: "
    "add the metric there, or name another"
)


def _measured(name: str) -> str:
    """CEL: whether the run measures the metric of that name."""
    of_others = " || ".join(
        f"({metric} in self.evaluation.metrics && {name} in {values})" for metric, values in _VALUES
    )
    return (
        f"({name} in ['loss', 'eval_loss'] || {name} in self.evaluation.metrics || {of_others} || "
        f"({name}.startsWith('script_') && has(self.evaluation.script)))"
    )


class FineTuneJobSpec(RunSettings, FineTuning):
    """The model to make: what to learn from, how, where, and when to give up."""

    checkpoints: Checkpoints = Field(default=Checkpoints(), description="States to go on from.")
    tracking: Tracking | None = Field(
        default=None,
        description="Experiment trackers that the runs tell of themselves. Left out: those of "
        "luthier.yaml; {}: none.",
    )
    retrain: Retrain | None = Field(default=None, description="Train anew on changed data.")
    promote: Promote | None = Field(
        default=None, description="Which result is in use. Left out: the newest."
    )
    keep_revisions: int | None = Field(
        default=None,
        ge=1,
        le=1000,
        description="Results that are kept, beside what is in use, pinned, or taken by an "
        "OptimizeJob or AdapterBundle; older ones are deleted. Left out: all.",
    )
    deletion_policy: Literal["Retain", "Delete"] = Field(
        default="Retain", description="What happens to the artifacts when the resource is deleted."
    )

    rules = (
        Rule(
            "self.placement.gpus > 0 || self.training.precision != 'fp16'",
            "fp16 needs a GPU: use precision auto, bf16 or fp32, or set placement.gpus",
            field=".training.precision",
        ),
        Rule(
            "!(self.output.uri + '/').startsWith(self.model.uri.endsWith('/') ? self.model.uri : "
            "self.model.uri + '/')",
            "the output lies in the model's folder, which must not change: name another prefix",
            field=".output.uri",
        ),
        Rule(
            "self.placement.gpus > 0 || !has(self.method.quantization) || "
            "self.method.quantization.computeType != 'fp16'",
            "fp16 needs a GPU: use computeType auto, bf16 or fp32, or set placement.gpus",
            field=".method.quantization.computeType",
        ),
        *(
            Rule(
                f"self.placement.gpus > 0 || self.training.optimizer != '{name}'",
                f"the optimiser {name} needs a GPU: use adamw_torch, or set placement.gpus",
                field=".training.optimizer",
            )
            for name in sorted(NEEDS_GPU)
        ),
        Rule(
            "!has(self.search) || self.placement.gpus <= 1",
            "a trial has one GPU: set placement.gpus to 1, and search.parallelism to how many run "
            "at a time",
            field=".placement.gpus",
        ),
        Rule(
            "!has(self.search) || self.placement.nodes == 1",
            "a trial runs in one pod: set placement.nodes to 1, and search.parallelism to how many "
            "run at a time",
            field=".placement.nodes",
        ),
        Rule(
            "!has(self.promote) || !has(self.promote.metric) || "
            f"{_measured('self.promote.metric')}",
            _MEASURE_IT,
            field=".promote.metric",
        ),
        Rule(
            f"!has(self.promote) || self.promote.atLeast.all(m, {_measured('m')})",
            _MEASURE_IT,
            field=".promote.atLeast",
        ),
    )


class CheckpointRef(Model):
    """A state in S3."""

    step: Count = Field(description="Optimiser step it was taken after.")
    uri: str = Field(max_length=2048, description="Folder of the checkpoint.")
    sha256: str = Field(max_length=64, description="Digest of its manifest.")


ShortText = Annotated[str, Field(max_length=1024)]
Metrics = Annotated[dict[str, float], Field(max_length=32)]


class Change(Model):
    """Tuned minus base on the same rows, with a 95% interval (paired bootstrap)."""

    by: float = Field(description="The difference.")
    low: float | None = Field(default=None, description="Lower end of the interval.")
    high: float | None = Field(default=None, description="Upper end of the interval.")
    no_interval: str | None = Field(
        default=None, max_length=100, description="Why there is no interval."
    )


class EvaluationResult(Model):
    """The metrics of base and tuned model on the same rows."""

    split: str | None = Field(
        default=None, max_length=16, description="The rows: `test`, or `eval` (optimistic)."
    )
    examples: Count | None = Field(default=None, description="How many rows.")
    base: Metrics = Field(default={}, description="Metrics of the base model.")
    tuned: Metrics = Field(default={}, description="Metrics of the tuned model.")
    change: Annotated[dict[str, Change], Field(max_length=32)] = Field(
        default={}, description="Tuned minus base, by metric, with its uncertainty."
    )
    compared_with: str | None = Field(
        default=None,
        max_length=64,
        description="The revision that was in use, and answered the same rows in this run.",
    )
    in_use: Metrics = Field(default={}, description="Metrics of what was in use.")
    gain: Annotated[dict[str, Change], Field(max_length=32)] = Field(
        default={}, description="Tuned minus what was in use, by metric, with its uncertainty."
    )
    not_compared: str | None = Field(
        default=None,
        max_length=300,
        description="Why the result isn't compared with what was in use.",
    )

    @field_validator("change", "gain")
    @classmethod
    def _of_numbers(cls, change: dict[str, Change]) -> dict[str, Change]:
        """Without those of a diverged model: JSON has no ∞, and half a change can't be read."""
        return {
            name: it
            for name, it in change.items()
            if all(end is None or math.isfinite(end) for end in (it.by, it.low, it.high))
        }

    @field_validator("base", "tuned", "change", "in_use", "gain")
    @classmethod
    def _of_metrics(cls, values: dict[str, Any]) -> dict[str, Any]:
        """Without names that are no metric's: what ran code of the user's may send any."""
        return {name: it for name, it in values.items() if is_metric(name)}


class DatasetFacts(Model):
    """What preflight counted."""

    train: Count = Field(default=0, description="Rows to learn from.")
    eval: Count = Field(default=0, description="Rows that select.")
    test: Count = Field(default=0, description="Rows that report.")
    labels: Count = Field(default=0, description="Classes, or kinds of tags.")
    duplicates: Count = Field(default=0, description="Training rows that occur before.")
    leaked: Count = Field(default=0, description="Rows of eval and test that are in train too.")
    truncated_percent: float | None = Field(
        default=None, description="Training rows that maxLength cuts, of all."
    )
    truncated: Count | None = Field(default=None, description="Training rows that it cuts.")
    chunked: Count = Field(
        default=0, description="Training rows that are longer, and learnt in chunks."
    )
    chunks: Count = Field(default=0, description="The chunks that they are learnt in.")
    tokens: Count | None = Field(
        default=None, description="Tokens of all training rows, without what is cut."
    )
    tokens_median: Count | None = Field(default=None, description="Tokens of a row: the median.")
    tokens_p95: Count | None = Field(default=None, description="Tokens of a row: 95% have no more.")
    tokens_max: Count | None = Field(default=None, description="Tokens of the longest row.")
    tokens_learnt_percent: float | None = Field(
        default=None, description="Of the tokens of those rows, how many the loss counts."
    )
    unread: list[Annotated[str, Field(max_length=64)]] = Field(
        default=[],
        max_length=8,
        description="What chats have and nothing learns from, such as unknown keys of messages, "
        'and in how many rows, e.g. "name (12 rows)".',
    )


class Estimate(Model):
    """What the run was expected to need, before it began."""

    memory_bytes: Count | None = Field(
        default=None, description="Peak memory of the training: the GPU's where it runs on one."
    )
    machine_memory_bytes: Count | None = Field(
        default=None,
        description="On a GPU: the pod's own memory that checkpoints may take.",
    )
    duration_seconds: Amount | None = Field(
        default=None, description="Time of the training, without evaluations."
    )
    measured_memory_bytes: Count | None = Field(
        default=None, description="The peak that was seen, once it is known."
    )
    measured_duration_seconds: Amount | None = Field(
        default=None,
        description="The time that it took, without evaluations: where one pod did all steps.",
    )


class KeptStatus(Model):
    """What the last errand that keeps order in storage came to (docs/adr/0021)."""

    about: str = Field(max_length=64, description="Digest of what was to be done.")
    in_use: str | None = Field(
        default=None, max_length=64, description="The revision that in-use.json names."
    )
    time: str | None = Field(default=None, max_length=32, description="When it ended (RFC 3339).")
    failures: Count = Field(default=0, description="How often it has failed in a row.")
    error: str | None = Field(
        default=None, max_length=1500, description="Why it failed; it is tried again."
    )


class FineTuneJobStatus(RunStatus):
    """The state, as the operator sees it."""

    progress: Progress | None = Field(default=None, description="How far the run is.")
    checkpoints: list[CheckpointRef] = Field(
        default=[], max_length=100, description="States in S3, oldest first."
    )
    dataset_digest: str | None = Field(
        default=None, max_length=80, description="sha256 of the data that the run pinned."
    )
    dataset: DatasetFacts | None = Field(default=None, description="What preflight counted.")
    estimate: Estimate | None = Field(default=None, description="Expected memory and time.")
    resolved: Annotated[dict[str, ShortText], Field(max_length=32)] = Field(
        default={}, description="What auto, and what was left out, came to."
    )
    evaluation: EvaluationResult | None = Field(default=None, description="Base against tuned.")
    artifact: ArtifactRef | None = Field(default=None, description="The published result.")
    kept: KeptStatus | None = Field(
        default=None, description="What was brought in order in storage."
    )
    source: SourceRef | None = Field(
        default=None, description="The result that the training goes on from (model.adapter)."
    )
    retrain: RetrainStatus | None = Field(
        default=None, description="What the looks at the data found."
    )
    search: SearchStatus | None = Field(default=None, description="How far the search is.")
    tracking: list[TrackedRun] = Field(
        default=[],
        max_length=2,
        description="The run in the trackers that spec.tracking, or luthier.yaml, names.",
        json_schema_extra=list_map("tracker"),
    )
    custom_code: bool | None = Field(
        default=None,
        description="true: code of the user's own took part in the run (training.loss, "
        "evaluation.script), and the metrics are no more than its word.",
    )

    @property
    def published(self) -> ArtifactRef | None:
        """The result of this revision."""
        return self.artifact
