"""What the status of every kind says of its runs."""

from typing import Annotated, Literal

from pydantic import Field

from luthier_api.bounds import MOST, Amount, Count
from luthier_api.meta import Condition, Model, list_map


class ArtifactRef(Model):
    """The published result."""

    uri: str = Field(max_length=2048, description="Its folder; adapter/ below it is what to load.")
    manifest_sha256: str = Field(max_length=64, description="Digest of its manifest.json.")


class InUse(ArtifactRef):
    """The result that whoever uses the resource should take."""

    revision: str = Field(max_length=64, description="The revision that made it.")
    since: str | None = Field(
        default=None, max_length=32, description="Since when it is in use (RFC 3339)."
    )
    metrics: Annotated[dict[str, float], Field(max_length=32)] = Field(
        default={}, description="What its run measured of it."
    )


class Progress(Model):
    """How far the run is."""

    stage: str | None = Field(default=None, max_length=32, description="What it is doing.")
    step: Count = Field(default=0, description="Optimiser steps done.")
    total_steps: Count | None = Field(default=None, description="Optimiser steps in all.")
    percent: str | None = Field(default=None, max_length=8, description="For people, e.g. 40%.")
    epoch: Amount | None = Field(default=None, description="Passes over the data done.")
    loss: float | None = Field(default=None, description="Training loss of the last log.")
    eval_loss: float | None = Field(default=None, description="Last loss on `eval`.")
    learning_rate: float | None = Field(default=None, description="Learning rate of the last step.")
    grad_norm: float | None = Field(
        default=None, description="Norm of the last step's gradient, before it is clipped."
    )
    tokens_per_second: Amount | None = Field(default=None, description="Real tokens, no padding.")
    samples_per_second: Amount | None = Field(default=None, description="Rows learnt from.")
    memory_bytes: Count | None = Field(default=None, description="Resident memory of the trainer.")
    estimated_finish: str | None = Field(
        default=None, max_length=32, description="Expected end (RFC 3339)."
    )
    eta: str | None = Field(
        default=None, max_length=16, description="Time left at the last report, e.g. 3m20s."
    )
    updated: str | None = Field(default=None, max_length=32, description="Time of the report.")


class Usage(Model):
    """Summed over all attempts and pods of this revision."""

    cpu_seconds: Amount = Field(default=0, description="CPU time.")
    gpu_seconds: Amount = Field(default=0, description="GPUs × time that the pods held them.")
    trained_tokens: Count = Field(default=0, description="Tokens learnt from, without padding.")
    stored_bytes: Count = Field(
        default=0, description="Bytes uploaded to S3, those of checkpoints that are gone, too."
    )


class Restarts(Model):
    """Pods of this revision that ended early."""

    failures: Count = Field(default=0, description="Crashes and out-of-memory kills.")
    disruptions: Count = Field(default=0, description="Evictions, preemptions, deletions.")
    total: Count = Field(
        # A default isn't checked: beyond its own bound no status with it could be written.
        default_factory=lambda counts: min(MOST, counts["failures"] + counts["disruptions"]),
        description="The sum of both.",
    )


class RevisionRecord(Model):
    """How an earlier revision ended."""

    revision: str = Field(max_length=64, description="Its name.")
    attempt: int = Field(default=1, description="Its last attempt.")
    outcome: Literal["Complete", "Failed", "Superseded"] = Field(description="How it ended.")
    finished: str | None = Field(default=None, max_length=32, description="When (RFC 3339).")
    artifact_uri: str | None = Field(default=None, max_length=2048, description="Its result.")
    manifest_sha256: str | None = Field(
        default=None, max_length=64, description="Digest of the result's manifest.json."
    )
    dataset_digest: str | None = Field(
        default=None, max_length=80, description="sha256 of the data that it was made from."
    )
    metrics: Annotated[dict[str, float], Field(max_length=32)] = Field(
        default={}, description="What its run measured of it."
    )
    promoted: str | None = Field(
        default=None, max_length=64, description="Whether it came into use: the reason."
    )


class RunStatus(Model):
    """The state, as the operator sees it."""

    phase: str | None = Field(
        default=None,
        max_length=32,
        description="The state in a word, for people; programs read `conditions`.",
    )
    observed_generation: int | None = Field(
        default=None,
        description="The generation of the spec that this status is about; -1 until the operator "
        "has seen the resource.",
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
    attempt_hash: str | None = Field(
        default=None,
        max_length=64,
        description="Digest of what the attempt runs with; after a failure an edit that changes "
        "it starts the next one.",
    )
    retry_token: str | None = Field(
        default=None, max_length=256, description="Value of luthier.dev/retry that is served."
    )
    rerun_token: str | None = Field(
        default=None, max_length=256, description="Value of luthier.dev/rerun that is served."
    )
    job_name: str | None = Field(default=None, max_length=63, description="The run's Job.")
    start_time: str | None = Field(default=None, max_length=32, description="First pod's start.")
    completion_time: str | None = Field(default=None, max_length=32, description="End of the run.")
    in_use: InUse | None = Field(
        default=None,
        description="The last published result. It stays, and Ready stays True, while a newer "
        "revision is made or has failed.",
    )
    result: str | None = Field(
        default=None,
        max_length=64,
        description="What came of this revision, for people, e.g. accuracy 0.41→0.88.",
    )
    usage: Usage | None = Field(default=None, description="What this revision has cost so far.")
    restarts: Restarts | None = Field(
        default=None, description="Pods of this revision that ended early."
    )
    history: list[RevisionRecord] = Field(
        default=[], max_length=10, description="Earlier revisions, newest first."
    )

    @property
    def published(self) -> ArtifactRef | None:
        """The result of this revision, under whatever name its kind has for it."""
        return None
