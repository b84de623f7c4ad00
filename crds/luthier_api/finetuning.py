"""What shapes the result of a fine-tuning run.

These fields, and the output's place, make a revision; the operator hands them to
the trainer as they are. A default never changes within an API version: defaults
are applied to stored objects, so a changed one would retrain every resource.
"""

from typing import Annotated, Literal

from pydantic import Field

from luthier_api.meta import (
    AutoAlwaysNever,
    CodeRef,
    Column,
    Model,
    Rule,
    SecretKeyRef,
)

# One location of data, without user info, query or fragment: those can carry
# secrets, and a URI is shown in status and in model cards.
Uri = Annotated[str, Field(min_length=6, max_length=1024, pattern=r"^[a-z0-9]+://[^?#@\s]+$")]

_BUILT_SCHEMES = "self.uri.startsWith('s3://') || self.uri.startsWith('file://')"
_SCHEME_REMEDY = "copy it to S3 and name it as s3://BUCKET/KEY"

MODEL_SCHEMES = ("hf", "s3", "pvc", "file")
DATASET_SCHEMES = ("s3", "hf", "https", "pvc", "configmap", "file")

# e.g. train, train[:90%], train[4096:4224], train[-300:]
SplitExpression = Annotated[
    str,
    Field(
        min_length=1,
        max_length=128,
        pattern=r"^[A-Za-z0-9_]+(\[(-?[0-9]+%?)?:(-?[0-9]+%?)?\])?$",
    ),
]


def _scheme_rule(schemes: tuple[str, ...]) -> Rule:
    allowed = " || ".join(f"self.uri.startsWith('{scheme}://')" for scheme in schemes)
    return Rule(
        allowed,
        "the URI's scheme must be one of " + ", ".join(f"{scheme}://" for scheme in schemes),
        field=".uri",
    )


class ModelSource(Model):
    """The base model."""

    uri: Uri = Field(
        description="Where the model is: a folder of safetensors with config and tokenizer. "
        "hf:// s3:// pvc:// file:// (file only where a pool allows it)."
    )
    revision: str | None = Field(
        default=None,
        min_length=1,
        max_length=128,
        description="Revision of a model on a hub; a commit hash makes the run reproducible.",
    )
    token_secret_ref: SecretKeyRef | None = Field(
        default=None, description="The token for a private or gated model on a hub."
    )
    trust_remote_code: bool = Field(
        default=False,
        description="Run the Python code that the model's folder brings. Needs the platform's "
        "consent too.",
    )

    rules = (
        _scheme_rule(MODEL_SCHEMES),
        Rule(
            _BUILT_SCHEMES,
            f"models are read from s3:// and file:// only so far; {_SCHEME_REMEDY}",
            field=".uri",
        ),
        Rule(
            "!self.trustRemoteCode",
            "trustRemoteCode isn't built yet: use a model that transformers knows, and set it to "
            "false",
            field=".trustRemoteCode",
        ),
    )


class Dataset(Model):
    """The examples, and how one becomes text."""

    uri: Uri = Field(
        description="A file (.jsonl, .json, .csv) or a folder that holds one file per split "
        "(train.jsonl, test.jsonl). A single file is the split `train`. "
        "s3:// hf:// https:// pvc:// configmap:// file://."
    )
    template: str | None = Field(
        default=None,
        min_length=1,
        max_length=65536,
        description="Text of one example, with {column} for a value of the row; {{ and }} are "
        "literal braces. The last column is the completion: what the model learns to say.",
    )
    train: SplitExpression | None = Field(
        default=None,
        description="Rows to learn from, e.g. train[:90%]. Left out: the split `train`, less what "
        "evalFraction takes.",
    )
    eval: SplitExpression | None = Field(
        default=None, description="Rows that select between models, e.g. train[90%:]."
    )
    test: SplitExpression | None = Field(
        default=None, description="Rows that report the result; training never sees them."
    )
    eval_fraction: float | None = Field(
        default=None,
        gt=0,
        lt=1,
        description="Instead of `eval`: the share of the training rows set aside, 0 to 1.",
    )
    stratify_by: Column | None = Field(
        default=None, description="With evalFraction: keep this column's balance in both parts."
    )
    loss_on: Literal["Auto", "Completion", "All"] = Field(
        default="Auto",
        description="Tokens that the loss counts. Auto: Completion for classification, All for "
        "generation.",
    )

    rules = (
        _scheme_rule(DATASET_SCHEMES),
        Rule(
            _BUILT_SCHEMES,
            f"datasets are read from s3:// and file:// only so far; {_SCHEME_REMEDY}",
            field=".uri",
        ),
        Rule(
            "has(self.template)",
            'template is required so far: write one such as "{text}\\nCategory: {label}"',
        ),
        Rule(
            "!has(self.template) || self.template.matches('[{][A-Za-z_]')",
            "template has no {column}: name at least one column of the dataset in braces",
            field=".template",
        ),
        Rule(
            "!(has(self.eval) && has(self.evalFraction))",
            "eval and evalFraction exclude each other: keep one",
            field=".evalFraction",
        ),
        Rule(
            "!has(self.stratifyBy) || has(self.evalFraction)",
            "stratifyBy needs evalFraction: it says how that share is drawn",
            field=".stratifyBy",
        ),
        Rule(
            "!(has(self.train) && has(self.eval)) || self.train != self.eval",
            "train and eval are the same rows: choose disjoint splits, e.g. train[:90%] and "
            "train[90%:]",
            field=".eval",
        ),
        Rule(
            "!(has(self.train) && has(self.test)) || self.train != self.test",
            "train and test are the same rows: choose disjoint splits",
            field=".test",
        ),
    )


TargetModule = Annotated[str, Field(min_length=1, max_length=256)]


class Lora(Model):
    """Low-rank adaptation (https://arxiv.org/abs/2106.09685)."""

    rank: int = Field(default=16, ge=1, le=1024, description="Rank of the update.")
    alpha: float = Field(
        default=32, gt=0, le=65536, description="Scale: the update is multiplied by alpha / rank."
    )
    dropout: float = Field(default=0.0, ge=0, lt=1, description="Dropout before the update.")
    target_modules: list[TargetModule] = Field(
        default=["auto"],
        min_length=1,
        max_length=64,
        description="Modules that get an update: auto (every linear layer of attention and MLP), "
        "all-linear, or names of modules.",
    )
    modules_to_save: list[TargetModule] = Field(
        default=[],
        max_length=16,
        description="Modules trained in full and saved with the adapter.",
    )

    rules = (
        Rule(
            "self.targetModules.size() == 1 || "
            "!self.targetModules.exists(m, m == 'auto' || m == 'all-linear')",
            "auto and all-linear stand alone: drop them or the other names",
            field=".targetModules",
        ),
    )


class Method(Model):
    """How the base model is changed."""

    type: Literal["full", "lora", "qlora", "adapter"] = Field(
        default="lora",
        description="full: all weights. lora: low-rank update. qlora: LoRA on a 4-bit base. "
        "adapter: bottleneck adapters.",
    )
    lora: Lora = Field(default=Lora(), description="Settings of lora and qlora.")

    rules = (
        Rule(
            "self.type == 'lora'",
            "only the method lora is built so far: set method.type to lora",
            field=".type",
        ),
    )


class EarlyStopping(Model):
    """Stop when a metric on `eval` no longer improves."""

    metric: str = Field(default="eval_loss", min_length=1, max_length=64, description="Metric.")
    patience: int = Field(default=3, ge=1, le=1000, description="Evaluations without a better one.")
    min_delta: float = Field(default=0.0, ge=0, description="What counts as better.")


class Training(Model):
    """The optimisation."""

    max_steps: int | None = Field(
        default=None, ge=1, le=10_000_000, description="Optimiser steps; or give epochs."
    )
    epochs: float | None = Field(
        default=None, gt=0, le=1000, description="Passes over the data; or give maxSteps."
    )
    learning_rate: float = Field(default=2.0e-4, gt=0, le=10, description="Peak learning rate.")
    scheduler: Literal[
        "linear",
        "cosine",
        "cosine_with_restarts",
        "polynomial",
        "constant",
        "constant_with_warmup",
        "inverse_sqrt",
    ] = Field(default="cosine", description="Course of the learning rate.")
    warmup_ratio: float = Field(
        default=0.0, ge=0, lt=1, description="Share of the steps in which the rate rises from 0."
    )
    optimizer: Literal["adamw_torch", "adamw_torch_fused", "adafactor", "sgd"] = Field(
        default="adamw_torch", description="Optimiser, by its name in transformers."
    )
    weight_decay: float = Field(default=0.0, ge=0, le=1, description="Weight decay.")
    max_grad_norm: float = Field(
        default=1.0, ge=0, le=1000, description="Gradients are clipped to this norm; 0: never."
    )
    per_device_batch_size: int = Field(
        default=8, ge=1, le=4096, description="Examples per step and device."
    )
    gradient_accumulation_steps: int = Field(
        default=1, ge=1, le=4096, description="Batches per optimiser step."
    )
    gradient_checkpointing: AutoAlwaysNever = Field(
        default="Auto", description="Trade time for memory by recomputing activations."
    )
    precision: Literal["auto", "fp32", "bf16", "fp16"] = Field(
        default="auto", description="Arithmetic of the forward pass; auto: bf16 where it is fast."
    )
    max_length: int = Field(
        default=1024, ge=8, le=1_048_576, description="Tokens per example; longer ones are cut."
    )
    packing: AutoAlwaysNever = Field(
        default="Auto", description="Several examples in one row, kept apart by position."
    )
    dataloader_workers: int | None = Field(
        default=None, ge=0, le=64, description="Processes that load data; left out: chosen."
    )
    seed: int = Field(default=42, ge=0, le=4294967295, description="Seed of all randomness.")
    log_every_steps: int = Field(default=10, ge=1, le=100_000, description="Steps between logs.")
    eval_every_steps: int | None = Field(
        default=None, ge=1, le=1_000_000, description="Steps between losses on `eval`."
    )
    save_every_steps: int = Field(
        default=100, ge=1, le=1_000_000, description="Steps between checkpoints."
    )
    early_stopping: EarlyStopping | None = Field(default=None, description="Stop when no better.")
    loss: CodeRef | None = Field(
        default=None, description="A loss of your own. Needs the platform's consent."
    )

    rules = (
        Rule(
            "has(self.maxSteps) || has(self.epochs)",
            "say how long to train: set maxSteps or epochs",
        ),
        Rule(
            "!(has(self.maxSteps) && has(self.epochs))",
            "maxSteps and epochs exclude each other: keep one",
            field=".epochs",
        ),
        Rule(
            "self.packing != 'Always'",
            "packing Always isn't built yet: use Auto or Never",
            field=".packing",
        ),
        Rule(
            "!has(self.earlyStopping)",
            "earlyStopping isn't built yet: remove it",
            field=".earlyStopping",
        ),
        Rule("!has(self.loss)", "a loss of your own isn't built yet: remove it", field=".loss"),
        Rule(
            "self.scheduler != 'constant' || self.warmupRatio == 0.0",
            "the scheduler constant has no warm-up: use constant_with_warmup, or drop warmupRatio",
            field=".warmupRatio",
        ),
        Rule(
            "self.scheduler != 'constant_with_warmup' || self.warmupRatio > 0.0",
            "constant_with_warmup needs warmupRatio above 0",
            field=".warmupRatio",
        ),
    )


METRICS = ("accuracy", "f1", "perplexity", "loss")


class Evaluation(Model):
    """What is measured, on the base and on the tuned model alike."""

    metrics: list[Literal["accuracy", "f1", "perplexity", "loss", "bleu", "rouge"]] = Field(
        default=["loss", "perplexity"],
        min_length=1,
        max_length=16,
        description="accuracy and f1 (macro) need the task classification.",
    )
    batch_size: int = Field(default=16, ge=1, le=4096, description="Examples at once.")
    max_samples: int = Field(
        default=1000, ge=1, le=1_000_000, description="Rows used at most, the first ones."
    )
    max_new_tokens: int = Field(
        default=128, ge=1, le=65536, description="Tokens generated at most per answer."
    )
    script: CodeRef | None = Field(
        default=None, description="An evaluation of your own. Needs the platform's consent."
    )

    rules = (
        Rule(
            "!self.metrics.exists(m, m == 'bleu' || m == 'rouge')",
            "bleu and rouge aren't built yet: use accuracy, f1, perplexity or loss",
            field=".metrics",
        ),
        Rule(
            "self.metrics.all(m, self.metrics.exists_one(n, n == m))",
            "a metric is named twice: name each once",
            field=".metrics",
        ),
        Rule(
            "!has(self.script)",
            "an evaluation script isn't built yet: remove it",
            field=".script",
        ),
    )


Task = Literal["generation", "classification", "extraction", "summarization"]


class FineTuning(Model):
    """All that shapes a fine-tuned model, but for where it goes."""

    model: ModelSource = Field(description="The base model.")
    task: Task = Field(description="What the model is to do; decides how it is evaluated.")
    dataset: Dataset = Field(description="The examples.")
    method: Method = Field(default=Method(), description="How the base model is changed.")
    training: Training = Field(description="The optimisation.")
    evaluation: Evaluation = Field(default=Evaluation(), description="What is measured.")
