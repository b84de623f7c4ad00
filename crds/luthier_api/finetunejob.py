"""FineTuneJob: base model + dataset + method → an adapter or model, evaluated, in S3."""

import math
from typing import Annotated, Literal

from pydantic import Field, field_validator

from luthier_api.finetuning import FineTuning
from luthier_api.meta import Condition, Model, Name, ObjectName, Rule, list_map
from luthier_api.optimizers import NEEDS_GPU
from luthier_api.search import Promote, Retrain, Search
from luthier_api.uris import Uri


class Checkpoints(Model):
    """States of a run in S3 that it can go on from."""

    keep_last: int = Field(default=3, ge=1, le=100, description="How many are kept.")


class Output(Model):
    """Where results go."""

    uri: Uri = Field(
        description="Results lie below it, under NAMESPACE/NAME/REVISION/. s3:// (file:// with "
        "`luthier run`)."
    )

    rules = (
        Rule(
            "self.uri.startsWith('s3://')",
            "results go to S3: name the output as s3://BUCKET/PREFIX",
            field=".uri",
        ),
        # S3 keys end at 1,024 bytes, and much comes below.
        Rule(
            "self.uri.size() <= 512",
            "the output's URI is too long: use at most 512 characters",
            field=".uri",
        ),
    )


class StorageAccess(Model):
    """Access to S3, with the namespace's own credentials."""

    secret_name: ObjectName | None = Field(
        default=None,
        description="Secret with AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY. Left out: the "
        "namespace's default in luthier.yaml.",
    )
    service_account_name: ObjectName | None = Field(
        default=None,
        description="Service account of the pods, e.g. one bound to a cloud identity. Left out: "
        "the namespace's default.",
    )


class Placement(Model):
    """Where a run goes. Nodes and images are the pool's, not the user's."""

    pool: Name | None = Field(
        default=None, description="Pool of luthier.yaml. Left out: the namespace's default."
    )
    gpus: int = Field(default=0, ge=0, le=16, description="GPUs of the pod.")
    nodes: int = Field(default=1, ge=1, le=256, description="Pods that train together.")
    queue_name: Name | None = Field(
        default=None, description="LocalQueue of Kueue that admits the run."
    )

    rules = (
        Rule("self.nodes == 1", "more than one node isn't built yet: set nodes to 1", ".nodes"),
        Rule("self.gpus <= 1", "more than one GPU isn't built yet: set gpus to 0 or 1", ".gpus"),
    )


class Limits(Model):
    """When to give up, and when to tidy."""

    active_deadline_seconds: int | None = Field(
        default=None,
        ge=1,
        le=31_536_000,
        description="The run fails when it is older. Time spent pending counts; it starts anew "
        "after a suspension.",
    )
    max_restarts: int = Field(
        default=5,
        ge=0,
        le=100,
        description="Pods that may fail before the run does. Disruptions (eviction, preemption) "
        "don't count.",
    )
    ttl_seconds_after_finished: int | None = Field(
        default=None,
        ge=0,
        le=31_536_000,
        description="Remove the finished run's Job and pods after this time. The resource and its "
        "artifacts stay.",
    )


class FineTuneJobSpec(FineTuning):
    """The model to make: what to learn from, how, where, and when to give up."""

    search: Search | None = Field(default=None, description="Hyper-parameter search.")
    checkpoints: Checkpoints = Field(default=Checkpoints(), description="States to go on from.")
    output: Output = Field(description="Where results go.")
    storage: StorageAccess = Field(default=StorageAccess(), description="Access to S3.")
    placement: Placement = Field(default=Placement(), description="Where the run goes.")
    retrain: Retrain | None = Field(default=None, description="Train anew on changed data.")
    promote: Promote | None = Field(default=None, description="Which result is in use.")
    limits: Limits = Field(default=Limits(), description="When to give up, and when to tidy.")
    deletion_policy: Literal["Retain", "Delete"] = Field(
        default="Retain", description="What happens to the artifacts when the resource is deleted."
    )
    suspend: bool = Field(
        default=False, description="Stop the run (it goes on from its checkpoint), or don't start."
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
        Rule("!has(self.search)", "search isn't built yet: remove it", field=".search"),
        Rule("!has(self.retrain)", "retrain isn't built yet: remove it", field=".retrain"),
        Rule("!has(self.promote)", "promote isn't built yet: remove it", field=".promote"),
        Rule(
            "self.deletionPolicy == 'Retain'",
            "deletionPolicy Delete isn't built yet: use Retain and delete the artifacts yourself",
            field=".deletionPolicy",
        ),
    )


class Progress(Model):
    """How far the run is."""

    stage: str | None = Field(default=None, max_length=32, description="What it is doing.")
    step: int = Field(default=0, description="Optimiser steps done.")
    total_steps: int | None = Field(default=None, description="Optimiser steps in all.")
    percent: str | None = Field(default=None, max_length=8, description="For people, e.g. 40%.")
    epoch: float | None = Field(default=None, description="Passes over the data done.")
    loss: float | None = Field(default=None, description="Training loss of the last log.")
    eval_loss: float | None = Field(default=None, description="Last loss on `eval`.")
    learning_rate: float | None = Field(default=None, description="Learning rate of the last step.")
    tokens_per_second: float | None = Field(default=None, description="Real tokens, no padding.")
    memory_bytes: int | None = Field(default=None, description="Resident memory of the trainer.")
    estimated_finish: str | None = Field(
        default=None, max_length=32, description="Expected end (RFC 3339)."
    )
    eta: str | None = Field(
        default=None, max_length=16, description="Time left at the last report, e.g. 3m20s."
    )
    updated: str | None = Field(default=None, max_length=32, description="Time of the report.")


class CheckpointRef(Model):
    """A state in S3."""

    step: int = Field(description="Optimiser step it was taken after.")
    uri: str = Field(max_length=2048, description="Folder of the checkpoint.")
    sha256: str = Field(max_length=64, description="Digest of its manifest.")


class ArtifactRef(Model):
    """The published result."""

    uri: str = Field(max_length=2048, description="Its folder; adapter/ below it is what to load.")
    manifest_sha256: str = Field(max_length=64, description="Digest of its manifest.json.")


ShortText = Annotated[str, Field(max_length=1024)]
Metrics = Annotated[dict[str, float], Field(max_length=32)]


class Change(Model):
    """Tuned minus base on the same rows, with a 95% interval (paired bootstrap)."""

    by: float = Field(description="The difference.")
    low: float = Field(description="Lower end of the interval.")
    high: float = Field(description="Upper end of the interval.")


class EvaluationResult(Model):
    """The metrics of base and tuned model on the same rows."""

    split: str | None = Field(
        default=None, max_length=16, description="The rows: `test`, or `eval` (optimistic)."
    )
    examples: int | None = Field(default=None, description="How many rows.")
    base: Metrics = Field(default={}, description="Metrics of the base model.")
    tuned: Metrics = Field(default={}, description="Metrics of the tuned model.")
    change: Annotated[dict[str, Change], Field(max_length=32)] = Field(
        default={}, description="Tuned minus base, by metric, with its uncertainty."
    )

    @field_validator("change")
    @classmethod
    def _of_numbers(cls, change: dict[str, Change]) -> dict[str, Change]:
        """Without those of a diverged model: JSON has no ∞, and half a change can't be read."""
        return {
            name: it
            for name, it in change.items()
            if all(math.isfinite(end) for end in (it.by, it.low, it.high))
        }


class DatasetFacts(Model):
    """What preflight counted."""

    train: int = Field(default=0, description="Rows to learn from.")
    eval: int = Field(default=0, description="Rows that select.")
    test: int = Field(default=0, description="Rows that report.")
    labels: int = Field(default=0, description="Classes, or kinds of tags.")
    duplicates: int = Field(default=0, description="Training rows that occur before.")
    leaked: int = Field(default=0, description="Rows of eval and test that are in train too.")
    truncated_percent: float | None = Field(
        default=None, description="Rows that maxLength cuts (of a sample, where there are many)."
    )
    tokens_median: int | None = Field(default=None, description="Tokens of a row: the median.")
    tokens_p95: int | None = Field(default=None, description="Tokens of a row: 95% have no more.")
    tokens_max: int | None = Field(default=None, description="Tokens of the longest row seen.")


class Estimate(Model):
    """What the run was expected to need, before it began."""

    memory_bytes: int | None = Field(default=None, description="Peak memory of the training.")
    duration_seconds: float | None = Field(default=None, description="Time of the training.")
    measured_memory_bytes: int | None = Field(
        default=None, description="The peak that was seen, once it is known."
    )


class Usage(Model):
    """Summed over all attempts and pods of this revision."""

    cpu_seconds: float = Field(default=0, description="CPU time.")
    gpu_seconds: float = Field(default=0, description="GPUs × time that the pods held them.")
    trained_tokens: int = Field(default=0, description="Tokens learnt from, without padding.")


class Restarts(Model):
    """Pods of this revision that ended early."""

    failures: int = Field(default=0, description="Crashes and out-of-memory kills.")
    disruptions: int = Field(default=0, description="Evictions, preemptions, deletions.")
    total: int = Field(
        default_factory=lambda counts: counts["failures"] + counts["disruptions"],
        description="The sum of both.",
    )


class RevisionRecord(Model):
    """How an earlier revision ended."""

    revision: str = Field(max_length=64, description="Its name.")
    attempt: int = Field(default=1, description="Its last attempt.")
    outcome: Literal["Complete", "Failed", "Superseded"] = Field(description="How it ended.")
    finished: str | None = Field(default=None, max_length=32, description="When (RFC 3339).")
    artifact_uri: str | None = Field(default=None, max_length=2048, description="Its result.")


class FineTuneJobStatus(Model):
    """The state, as the operator sees it."""

    phase: str | None = Field(
        default=None,
        max_length=32,
        description="The state in a word, for people; programs read `conditions`.",
    )
    observed_generation: int | None = Field(
        default=None, description="The generation of the spec that this status is about."
    )
    conditions: list[Condition] = Field(
        default=[],
        max_length=32,
        json_schema_extra=list_map("type"),
        description="The state, for programs.",
    )
    revision: str | None = Field(
        default=None, max_length=64, description="Name of what this spec asks for."
    )
    attempt: int | None = Field(
        default=None, description="Which try of this revision it is, from 1."
    )
    retry_token: str | None = Field(
        default=None, max_length=256, description="Value of luthier.dev/retry that is served."
    )
    job_name: str | None = Field(default=None, max_length=63, description="The run's Job.")
    start_time: str | None = Field(default=None, max_length=32, description="First pod's start.")
    completion_time: str | None = Field(default=None, max_length=32, description="End of the run.")
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
    usage: Usage | None = Field(default=None, description="What this revision has cost so far.")
    restarts: Restarts | None = Field(
        default=None, description="Pods of this revision that ended early."
    )
    history: list[RevisionRecord] = Field(
        default=[], max_length=10, description="Earlier revisions, newest first."
    )
