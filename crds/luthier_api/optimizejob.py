"""OptimizeJob: a model or adapter → ONNX, quantised, proven equal enough, benchmarked, in S3."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from luthier_api.bounds import Amount, Count
from luthier_api.dataset import Dataset
from luthier_api.evaluation import Evaluation
from luthier_api.finetuning import Task
from luthier_api.meta import Matches, Model, ObjectRef, Rule, SecretKeyRef
from luthier_api.placement import one_pod_rules
from luthier_api.runsettings import RunSettings
from luthier_api.runstatus import ArtifactRef, Progress, RunStatus
from luthier_api.uris import MODEL_SCHEMES, Uri, claim_rule, scheme_rule

Precision = Literal["auto", "fp32", "fp16", "bf16", "int8", "int4"]
Provider = Literal["CPUExecutionProvider", "CUDAExecutionProvider", "DmlExecutionProvider"]

# A Kubernetes quantity without sign and exponent, e.g. 300M or 1.5Gi.
Size = Annotated[
    str,
    Field(min_length=1, max_length=32),
    Matches(
        r"^[0-9]+([.][0-9]+)?([kMGT]|[KMGT]i)?$",
        "write a size as a number and a unit: 300M or 1.5Gi",
    ),
]
_UNITS = {"": 1} | {
    unit: factor**power
    for factor, units in ((1000, ("k", "M", "G", "T")), (1024, ("Ki", "Mi", "Gi", "Ti")))
    for power, unit in enumerate(units, 1)
}


def size_bytes(size: str) -> int:
    """A size as a number of bytes, rounded down."""
    number = size.rstrip("kKMGTi")
    return int(float(number) * _UNITS[size[len(number) :]])


class OptimizeSource(Model):
    """What is optimised: the result of a FineTuneJob, or a model (and an adapter) by URI."""

    fine_tune_job_ref: ObjectRef | None = Field(
        default=None,
        description="A FineTuneJob of this namespace; its published result is taken, and each "
        "newer one.",
    )
    model_uri: Uri | None = Field(
        default=None, description="Folder of a model: hf:// s3:// pvc:// file://."
    )
    revision: str | None = Field(
        default=None, min_length=1, max_length=128, description="Revision of a model on a hub."
    )
    token_secret_ref: SecretKeyRef | None = Field(
        default=None, description="The token for a private or gated model on a hub."
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
        scheme_rule("models", MODEL_SCHEMES, "modelUri"),
        claim_rule("modelUri"),
        scheme_rule("adapters", ("s3", "file"), "adapterUri"),
        Rule(
            "!(has(self.revision) || has(self.tokenSecretRef)) || (has(self.modelUri) && "
            "self.modelUri.startsWith('hf://'))",
            "revision and tokenSecretRef are for a modelUri on a hub (hf://): remove them",
        ),
    )


class Target(Model):
    """What the optimised model runs on."""

    device: Literal["cpu", "cuda", "dml"] = Field(default="cpu", description="Kind of device.")
    provider: Provider | None = Field(
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


class Int4(Model):
    """How weights become 4 bits. The names are those of onnxruntime-genai's builder."""

    algorithm: Literal["default", "rtn", "rtn_last", "k_quant", "k_quant_mixed", "k_quant_last"] = (
        Field(
            default="k_quant_mixed",
            description="k_quant_mixed keeps the layers that suffer most in 8 bits; default and "
            "rtn round to the nearest.",
        )
    )
    block_size: Literal[16, 32, 64, 128, 256] = Field(
        default=32, description="Weights that share a scale."
    )
    symmetric: bool = Field(default=True, description="Without zero points.")


class Gates(Model):
    """What a candidate must keep to be published. A gate left out isn't checked."""

    metric: str | None = Field(
        default=None, min_length=1, max_length=64, description="The metric of maxMetricDrop."
    )
    max_metric_drop: float | None = Field(
        default=None,
        ge=0,
        le=1,
        description="How much lower the metric may be than the source's on the same rows, "
        "absolute. The whole 95% interval of the paired difference must keep it.",
    )
    max_perplexity_increase: float | None = Field(
        default=None, ge=0, le=100, description="How much higher perplexity may be, as a share."
    )
    max_logits_difference: float | None = Field(
        default=None, ge=0, description="How far a logit may be from the source's, at most."
    )
    max_size: Size | None = Field(
        default=None, description="Size of the package at most, e.g. 300M or 1.5Gi."
    )
    max_memory: Size | None = Field(
        default=None, description="Peak memory of the benchmark at most, e.g. 1Gi."
    )
    min_tokens_per_second: float | None = Field(
        default=None, gt=0, description="Speed of generation at least (for encoders: of reading)."
    )
    max_first_token_ms: float | None = Field(
        default=None, gt=0, description="Milliseconds until the first token at most (median)."
    )
    when_undecided: Literal["Reject", "Accept"] = Field(
        default="Reject",
        description="What becomes of a candidate that keeps maxMetricDrop on these rows, where "
        "they are too few to be sure of it.",
    )

    rules = (
        Rule(
            "has(self.metric) == has(self.maxMetricDrop)",
            "metric and maxMetricDrop belong together: set both, or neither",
            field=".metric",
        ),
    )


class Benchmark(Model):
    """What is timed: every prompt length with every batch size."""

    prompt_tokens: list[Annotated[int, Field(ge=1, le=131_072)]] = Field(
        default=[128], min_length=1, max_length=4, description="Lengths of the prompt."
    )
    batch_sizes: list[Annotated[int, Field(ge=1, le=256)]] = Field(
        default=[1], min_length=1, max_length=4, description="Prompts at once."
    )
    new_tokens: int = Field(default=64, ge=2, le=4096, description="Tokens generated each time.")
    repeats: int = Field(default=5, ge=1, le=100, description="Times that each is measured.")


class OptimizeEvaluation(Evaluation):
    """The rows and metrics for a source given by URI."""

    task: Task = Field(description="What the model does.")
    dataset: Dataset = Field(description="The rows; `test`, else `eval`, are measured.")
    max_length: int = Field(default=1024, ge=8, le=131_072, description="Tokens of a row at most.")

    rules = (
        Rule(
            "!has(self.script)",
            "an evaluation of your own is run by FineTuneJobs only: remove script",
            field=".script",
        ),
        # A package is asked by the template that its tokenizer has: it is measured by that, too.
        Rule(
            "!has(self.dataset.chatTemplate)",
            "rows are written by the model's own chat template: remove chatTemplate, and save it "
            "with the model's tokenizer (a FineTuneJob's is)",
            field=".dataset.chatTemplate",
        ),
    )


class Optimizing(Model):
    """All that shapes an optimised model, but for its source and where it goes."""

    target: Target = Field(default=Target(), description="What it runs on.")
    precisions: list[Precision] = Field(
        default=["auto"],
        min_length=1,
        max_length=6,
        description="Candidates: each is built and measured. auto: cpu: fp32, int8, int4; cuda: "
        "fp16, int8, int4; dml: fp16, int4; of these what the model's format has.",
    )
    int4: Int4 = Field(default=Int4(), description="How weights become 4 bits.")
    adapter: Literal["Merge", "Separate"] = Field(
        default="Merge",
        description="Merge: into the model. Separate: an .onnx_adapter beside the base, loaded at "
        "run time (LoRA only).",
    )
    objective: Literal["Smallest", "Fastest"] = Field(
        default="Smallest", description="Which of the candidates that pass all gates is published."
    )
    gates: Gates = Field(default=Gates(), description="What a candidate must keep.")
    benchmark: Benchmark = Field(default=Benchmark(), description="What is timed.")
    evaluation: OptimizeEvaluation | None = Field(
        default=None,
        description="Rows and metrics. Left out: those that the FineTuneJob reported on.",
    )

    rules: ClassVar[tuple[Rule, ...]] = (
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


class _OfSource(Optimizing):
    """A base, so that `source` stands before `output` in the schema."""

    source: OptimizeSource = Field(description="What is optimised.")


class OptimizeJobSpec(RunSettings, _OfSource):
    """What to optimise, for which device, and what must not be lost."""

    rules = (
        *one_pod_rules("an OptimizeJob"),
        Rule(
            "has(self.source.fineTuneJobRef) || has(self.evaluation) || !(has(self.gates.metric) "
            "|| has(self.gates.maxPerplexityIncrease))",
            "these gates need rows to measure on: set evaluation, or name a fineTuneJobRef",
            field=".gates",
        ),
    )


class Candidate(Model):
    """One precision, measured. The benchmark's values are of its first prompt length and batch
    size; the report has all."""

    precision: str = Field(max_length=16, description="Its precision.")
    size_bytes: Count | None = Field(default=None, description="Size of the package.")
    perplexity: float | None = Field(default=None, description="Perplexity on the rows.")
    metric: float | None = Field(default=None, description="The metric of the gates.")
    metric_delta: float | None = Field(
        default=None, description="The metric less that of the source; below 0 is worse."
    )
    metric_low: float | None = Field(
        default=None, description="Lower end of its 95% interval (paired bootstrap)."
    )
    metric_high: float | None = Field(default=None, description="Upper end of its interval.")
    logits_difference: float | None = Field(
        default=None, description="How far a logit is from the source's, at most."
    )
    tokens_per_second: Amount | None = Field(default=None, description="Speed of generation.")
    first_token_ms: Amount | None = Field(
        default=None, description="Milliseconds until the first token (median)."
    )
    memory_bytes: Count | None = Field(default=None, description="Peak memory of the benchmark.")
    load_seconds: Amount | None = Field(default=None, description="Time to load it.")
    verdict: Literal["Chosen", "Passed", "Undecided", "Rejected", "Failed"] | None = Field(
        default=None,
        description="What the gates said. Failed: it couldn't be built, or doesn't run.",
    )
    reason: str | None = Field(default=None, max_length=300, description="Why, in words.")


class OptimizedArtifact(ArtifactRef):
    """The published package."""

    precision: str = Field(max_length=16, description="Its precision.")
    format: Literal["genai", "onnx"] = Field(
        default="genai",
        description="genai: for onnxruntime-genai. onnx: for ONNX Runtime, of an architecture "
        "that onnxruntime-genai's builder doesn't know.",
    )


class SourceRef(Model):
    """What was taken as source."""

    uri: str = Field(max_length=2048, description="Folder of the model, adapter or artifact.")
    revision: str | None = Field(
        default=None,
        max_length=128,
        description="Revision of the FineTuneJob it came from, or of the model on a hub.",
    )
    manifest_sha256: str | None = Field(
        default=None, max_length=64, description="Digest of the FineTuneJob's manifest.json."
    )


class OptimizeJobStatus(RunStatus):
    """The state, as the operator sees it."""

    stage: str | None = Field(default=None, max_length=64, description="What the run is doing.")
    progress: Progress | None = Field(
        default=None, description="How many of the source and the candidates are measured."
    )
    source: SourceRef | None = Field(default=None, description="What is optimised.")
    baseline: Candidate | None = Field(
        default=None, description="The source itself, by PyTorch, measured in the same run."
    )
    candidates: list[Candidate] = Field(
        default=[], max_length=6, description="What was tried, and what was measured."
    )
    artifact: OptimizedArtifact | None = Field(default=None, description="The published package.")

    @property
    def published(self) -> ArtifactRef | None:
        """The result of this revision."""
        return self.artifact
