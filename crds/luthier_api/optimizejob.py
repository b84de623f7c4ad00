"""OptimizeJob: a model or adapter → ONNX, quantised, proven equal enough, benchmarked, in S3."""

from typing import Annotated, Literal

from pydantic import Field

from luthier_api.finetunejob import Output, StorageAccess
from luthier_api.meta import Condition, Matches, Model, ObjectRef, Rule, list_map
from luthier_api.uris import Uri

Precision = Literal["auto", "fp32", "fp16", "bf16", "int8", "int4"]

# A Kubernetes quantity without sign and exponent, e.g. 300M or 1.5Gi.
Size = Annotated[
    str,
    Field(min_length=1, max_length=32),
    Matches(
        r"^[0-9]+([.][0-9]+)?([kMGT]|[KMGT]i)?$",
        "write a size as a number and a unit: 300M or 1.5Gi",
    ),
]


class OptimizeSource(Model):
    """What is optimised: the result of a FineTuneJob, or a model (and an adapter) by URI."""

    fine_tune_job_ref: ObjectRef | None = Field(
        default=None, description="A FineTuneJob of this namespace; its published result is taken."
    )
    model_uri: Uri | None = Field(
        default=None, description="Folder of a model, s3://BUCKET/PREFIX."
    )
    adapter_uri: Uri | None = Field(
        default=None, description="Folder of an adapter on that model, s3://BUCKET/PREFIX."
    )

    rules = (
        Rule(
            "has(self.fineTuneJobRef) != has(self.modelUri)",
            "name one source: either fineTuneJobRef, or modelUri (with or without adapterUri)",
        ),
        Rule(
            "!has(self.adapterUri) || has(self.modelUri)",
            "adapterUri needs modelUri: the base that the adapter was trained on",
            field=".adapterUri",
        ),
    )


class Target(Model):
    """What the optimised model runs on."""

    device: Literal["cpu", "cuda", "dml"] = Field(default="cpu", description="Kind of device.")
    provider: (
        Literal["CPUExecutionProvider", "CUDAExecutionProvider", "DmlExecutionProvider"] | None
    ) = Field(
        default=None,
        description="Execution provider of ONNX Runtime. Left out: the device's usual one.",
    )

    rules = (
        Rule(
            "!has(self.provider) || (self.device == 'cpu' && self.provider == "
            "'CPUExecutionProvider') || (self.device == 'cuda' && self.provider == "
            "'CUDAExecutionProvider') || (self.device == 'dml' && self.provider == "
            "'DmlExecutionProvider')",
            "the provider doesn't run on this device: leave provider out, or change device",
            field=".provider",
        ),
    )


class Gates(Model):
    """What a candidate must keep to be published. A gate left out isn't checked."""

    metric: str | None = Field(
        default=None, min_length=1, max_length=64, description="The metric of maxMetricDrop."
    )
    max_metric_drop: float | None = Field(
        default=None, ge=0, le=1, description="How much lower the metric may be, absolute."
    )
    max_perplexity_increase: float | None = Field(
        default=None, ge=0, le=100, description="How much higher perplexity may be, as a share."
    )
    max_size: Size | None = Field(
        default=None, description="Size of the package at most, e.g. 300M or 1.5Gi."
    )
    min_tokens_per_second: float | None = Field(
        default=None, gt=0, description="Speed of generation at least."
    )
    max_first_token_ms: float | None = Field(
        default=None, gt=0, description="Milliseconds until the first token at most."
    )

    rules = (
        Rule(
            "has(self.metric) == has(self.maxMetricDrop)",
            "metric and maxMetricDrop belong together: set both, or neither",
            field=".metric",
        ),
    )


class OptimizeJobSpec(Model):
    """What to optimise, for which device, and what must not be lost."""

    source: OptimizeSource = Field(description="What is optimised.")
    target: Target = Field(default=Target(), description="What it runs on.")
    precisions: list[Precision] = Field(
        default=["auto"],
        min_length=1,
        max_length=6,
        description="Candidates: each is built and measured, and the smallest that passes all "
        "gates is published. auto: those that the device computes with.",
    )
    gates: Gates = Field(default=Gates(), description="What a candidate must keep.")
    output: Output = Field(description="Where results go.")
    storage: StorageAccess = Field(default=StorageAccess(), description="Access to S3.")

    rules = (
        Rule(
            "self.precisions.all(p, self.precisions.exists_one(q, q == p))",
            "a precision is named twice: name each once",
            field=".precisions",
        ),
        Rule(
            "self.precisions.size() == 1 || !self.precisions.exists(p, p == 'auto')",
            "auto stands alone: drop it, or the other precisions",
            field=".precisions",
        ),
    )


class Candidate(Model):
    """One precision, measured."""

    precision: str = Field(max_length=16, description="Its precision.")
    size_bytes: int | None = Field(default=None, description="Size of the package.")
    perplexity: float | None = Field(default=None, description="Perplexity on the eval rows.")
    metric_delta: float | None = Field(
        default=None, description="The metric less that of the source; below 0 is worse."
    )
    tokens_per_second: float | None = Field(default=None, description="Speed of generation.")
    first_token_ms: float | None = Field(
        default=None, description="Milliseconds until the first token."
    )
    verdict: Literal["Chosen", "Passed", "Rejected"] | None = Field(
        default=None, description="What the gates said."
    )


class OptimizedArtifact(Model):
    """The published package."""

    uri: str = Field(max_length=2048, description="Its folder.")
    sha256: str = Field(max_length=64, description="Digest of its manifest.json.")
    precision: str = Field(max_length=16, description="Its precision.")


class OptimizeJobStatus(Model):
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
    candidates: list[Candidate] = Field(
        default=[], max_length=6, description="What was tried, and what was measured."
    )
    artifact: OptimizedArtifact | None = Field(default=None, description="The published package.")
