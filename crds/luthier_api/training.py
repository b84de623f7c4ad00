"""The optimisation of a fine-tuning run."""

from typing import Annotated, Literal

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from luthier_api.classification import Classification
from luthier_api.meta import AutoAlwaysNever, CodeRef, Model, NumberOr, Rule
from luthier_api.optimizers import REFUSED, Optimizer
from luthier_api.preference import Preference

# What fsdp shares out: the weights that are trained, or those beside them.
FSDP_METHODS = ("full", "lora")
# Schedulers that go by the loss on eval.
_WATCHING = "self.scheduler in ['reduce_lr_on_plateau', 'greedy']"
# Evaluations before the last step without which they never change the rate: transformers lowers
# it at the eleventh in a row that is no better than one before, greedy raises it at the eleventh.
NEEDED_EVALUATIONS = {"reduce_lr_on_plateau": 12, "greedy": 11}


class EarlyStopping(Model):
    """Stop when a metric on `eval` no longer improves."""

    metric: str = Field(
        default="eval_loss",
        min_length=1,
        max_length=64,
        description="Metric on `eval`: eval_loss, or one of evaluation.metrics; of rouge, rougeL.",
    )
    patience: int = Field(default=3, ge=1, le=1000, description="Evaluations without a better one.")
    min_delta: float = Field(default=0.0, ge=0, description="How much better counts as better.")


class SchedulerOptions(Model):
    """Settings of some schedulers; those left out are the defaults of transformers."""

    min_learning_rate: float | None = Field(
        default=None,
        ge=0,
        le=1,
        description="Where the rate ends: cosine_with_min_lr, cosine_warmup_with_min_lr.",
    )
    cycles: int | None = Field(
        default=None, ge=1, le=1000, description="Restarts of cosine_with_restarts."
    )
    power: float | None = Field(default=None, gt=0, le=100, description="Power of polynomial.")
    decay_ratio: float | None = Field(
        default=None,
        gt=0,
        lt=1,
        description="Share of the steps, at the end, in which warmup_stable_decay falls.",
    )


class Similarity(Model):
    """How two texts are compared, and what is learnt from it."""

    pooling: Literal["mean", "cls", "last"] = Field(
        default="mean",
        description="A text's vector: the mean of its tokens, its first token, or its last.",
    )
    objective: Literal["cosine", "contrastive", "in_batch_negatives"] = Field(
        default="cosine",
        description="cosine: the cosine of two vectors becomes the label. contrastive: label 1 "
        "draws them together, label 0 pushes them apart up to the margin. in_batch_negatives: "
        "each first text finds its second one among all of the batch, so that pairs to learn "
        "from are alike: with columns.label, 1 in each row of train.",
    )
    margin: float = Field(
        default=0.5, gt=0, le=2, description="Cosine distance that contrastive pushes to."
    )
    scale: float = Field(
        default=20.0, gt=0, le=1000, description="Factor of the cosines in in_batch_negatives."
    )

    rules = (
        Rule(
            "self.margin == 0.5 || self.objective == 'contrastive'",
            "margin is for the objective contrastive: remove it, or change objective",
            field=".margin",
        ),
        Rule(
            "self.scale == 20.0 || self.objective == 'in_batch_negatives'",
            "scale is for the objective in_batch_negatives: remove it, or change objective",
            field=".scale",
        ),
    )


# A number, or `auto`: the one union that structural schemas have is int-or-string.
BatchSize = Annotated[int, Field(ge=1, le=4096)] | Literal["auto"]
LearningRate = Annotated[float | Literal["auto"], NumberOr("auto", above=0, most=1)]


class Training(Model):
    """The optimisation."""

    max_steps: int | None = Field(
        default=None, ge=1, le=10_000_000, description="Optimiser steps; or give epochs."
    )
    epochs: float | None = Field(
        default=None, gt=0, le=1000, description="Passes over the data; or give maxSteps."
    )
    learning_rate: LearningRate = Field(
        default=2.0e-4,
        description="Peak learning rate; auto: one that suits the method, with a warm-up.",
    )
    scheduler: Literal[
        "linear",
        "cosine",
        "cosine_with_restarts",
        "polynomial",
        "constant",
        "constant_with_warmup",
        "inverse_sqrt",
        "reduce_lr_on_plateau",
        "greedy",
        "cosine_with_min_lr",
        "cosine_warmup_with_min_lr",
        "warmup_stable_decay",
    ] = Field(default="cosine", description="Course of the learning rate.")
    scheduler_options: SchedulerOptions | None = Field(
        default=None, description="Settings of some schedulers."
    )
    warmup_ratio: float = Field(
        default=0.0, ge=0, lt=1, description="Share of the steps in which the rate rises from 0."
    )
    optimizer: Optimizer = Field(
        default="adamw_torch",
        description="Optimiser, by its name in transformers; docs/optimizers.md tells which work.",
    )
    weight_decay: float = Field(
        default=0.0,
        ge=0,
        le=1,
        description="Share of a weight that each step takes away, times the rate.",
    )
    max_grad_norm: float = Field(
        default=1.0, ge=0, le=1000, description="Gradients are clipped to this norm; 0: never."
    )
    per_device_batch_size: BatchSize = Field(
        default=8,
        description="Examples per step and device; auto: the largest that the memory allows and "
        "that leaves an epoch some 50 steps.",
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
        default="Auto",
        description="Always: a batch takes as many examples as fill its rows of maxLength; an "
        "epoch has fewer steps. Auto: the same batches on every device, on a GPU without padding. "
        "Never: padded to the longest.",
    )
    group_by_length: bool = Field(
        default=True, description="Batches of examples of similar length: less padding."
    )
    dropout: float | None = Field(
        default=None,
        ge=0,
        lt=1,
        description="Dropout of the model's own layers, instead of what its config says.",
    )
    label_smoothing: float = Field(
        default=0.0,
        ge=0,
        lt=1,
        description="Share of each target that goes to all classes (or tokens) alike.",
    )
    neftune_noise_alpha: float | None = Field(
        default=None,
        gt=0,
        le=100,
        description="Noise on the embeddings while training (https://arxiv.org/abs/2310.05914).",
    )
    similarity: Similarity | None = Field(
        default=None, description="Settings of the task similarity."
    )
    preference: Preference | None = Field(
        default=None, description="Settings of the task preference."
    )
    classification: Classification | None = Field(
        default=None, description="Settings of the task classification, by a head."
    )
    dataloader_workers: int | None = Field(
        default=None, ge=0, le=64, description="Processes that load data; left out: chosen."
    )
    seed: int = Field(default=42, ge=0, le=4294967295, description="Seed of all randomness.")
    parallel: Literal["Auto", "ddp", "fsdp"] = Field(
        default="Auto",
        description="How GPUs and nodes share the memory of one training. ddp: each holds the "
        "whole model. fsdp: each holds a part of its weights, gradients and optimiser; methods "
        "full and lora. Auto: ddp where that fits, else fsdp.",
    )
    log_every_steps: int = Field(
        default=10, ge=1, le=100_000, description="Steps between logs; each evaluation logs, too."
    )
    eval_every_steps: int | None = Field(
        default=None, ge=1, le=1_000_000, description="Steps between losses on `eval`."
    )
    save_every_steps: int = Field(
        default=100, ge=1, le=1_000_000, description="Steps between checkpoints."
    )
    early_stopping: EarlyStopping | None = Field(
        default=None, description="Stop when a metric no longer improves."
    )
    loss: CodeRef | None = Field(
        default=None,
        description="A loss of your own: a function or class (outputs, batch) -> loss; for the "
        "task similarity also forward(output1, output2, label). Needs the platform's consent.",
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
        *(
            Rule(
                f"self.optimizer != '{name}'",
                f"the optimiser {name} can't be used: {reason}",
                field=".optimizer",
            )
            for name, reason in REFUSED.items()
        ),
        Rule(
            "!has(self.earlyStopping) || has(self.evalEverySteps)",
            "earlyStopping watches the evaluations: set evalEverySteps",
            field=".earlyStopping",
        ),
        Rule(
            f"!({_WATCHING}) || has(self.evalEverySteps)",
            "reduce_lr_on_plateau and greedy watch the evaluations: set evalEverySteps",
            field=".scheduler",
        ),
        Rule(
            f"!({_WATCHING}) || self.warmupRatio == 0.0",
            "reduce_lr_on_plateau and greedy have no warm-up: remove warmupRatio",
            field=".warmupRatio",
        ),
        Rule(
            "!has(self.schedulerOptions) || !has(self.schedulerOptions.minLearningRate) || "
            "self.scheduler.endsWith('_with_min_lr')",
            "minLearningRate is for the schedulers cosine_with_min_lr and "
            "cosine_warmup_with_min_lr: remove it, or change scheduler",
            field=".schedulerOptions.minLearningRate",
        ),
        Rule(
            "!self.scheduler.endsWith('_with_min_lr') || (has(self.schedulerOptions) && "
            "has(self.schedulerOptions.minLearningRate))",
            "cosine_with_min_lr and cosine_warmup_with_min_lr need "
            "schedulerOptions.minLearningRate: set it, e.g. to a tenth of learningRate",
            field=".scheduler",
        ),
        Rule(
            "!has(self.schedulerOptions) || !has(self.schedulerOptions.cycles) || "
            "self.scheduler == 'cosine_with_restarts'",
            "cycles is for the scheduler cosine_with_restarts: remove it, or change scheduler",
            field=".schedulerOptions.cycles",
        ),
        Rule(
            "!has(self.schedulerOptions) || !has(self.schedulerOptions.power) || "
            "self.scheduler == 'polynomial'",
            "power is for the scheduler polynomial: remove it, or change scheduler",
            field=".schedulerOptions.power",
        ),
        Rule(
            "self.scheduler != 'warmup_stable_decay' || (has(self.schedulerOptions) && "
            "has(self.schedulerOptions.decayRatio))",
            "warmup_stable_decay needs schedulerOptions.decayRatio",
            field=".scheduler",
        ),
        Rule(
            "!has(self.schedulerOptions) || !has(self.schedulerOptions.decayRatio) || "
            "self.scheduler == 'warmup_stable_decay'",
            "decayRatio is for the scheduler warmup_stable_decay: remove it, or change scheduler",
            field=".schedulerOptions.decayRatio",
        ),
        Rule(
            "!has(self.schedulerOptions) || !has(self.schedulerOptions.decayRatio) || "
            "self.warmupRatio + self.schedulerOptions.decayRatio <= 1.0",
            "warmupRatio and decayRatio are more than all steps together: lower one",
            field=".schedulerOptions.decayRatio",
        ),
        Rule(
            "!has(self.loss) || self.labelSmoothing == 0.0",
            "a loss of your own decides about smoothing itself: remove labelSmoothing",
            field=".labelSmoothing",
        ),
        Rule(
            "!has(self.loss) || !has(self.classification)",
            "a loss of your own weighs classes itself: remove classification",
            field=".classification",
        ),
        Rule(
            "!has(self.classification) || self.classification.focalGamma == 0.0 || "
            "self.labelSmoothing == 0.0",
            "focal loss looks away from what is sure, and label smoothing keeps it unsure: remove "
            "labelSmoothing or focalGamma",
            field=".labelSmoothing",
        ),
        Rule(
            "!has(self.loss) || !has(self.similarity) || self.similarity.objective == 'cosine'",
            "a loss of your own stands instead of similarity.objective: keep one",
            field=".similarity.objective",
        ),
        Rule(
            "!has(self.similarity) || self.similarity.objective != 'in_batch_negatives' || "
            "self.perDeviceBatchSize != 1",
            "in_batch_negatives compares a text with the others of its batch, and learns nothing "
            "from one pair: raise perDeviceBatchSize (accumulated batches don't see each other)",
            field=".perDeviceBatchSize",
        ),
        Rule(
            "self.parallel != 'fsdp' || !has(self.preference) || "
            "self.preference.objective != 'kto'",
            "fsdp doesn't share out a model that learns by kto: set parallel to Auto or ddp, or "
            "take another objective",
            field=".parallel",
        ),
        Rule(
            "!has(self.loss) || self.packing != 'Always'",
            "a loss of your own sees one example a row: set packing to Auto or Never",
            field=".packing",
        ),
        Rule(
            "!(has(self.maxSteps) && has(self.evalEverySteps)) || "
            "self.evalEverySteps <= self.maxSteps",
            "evalEverySteps is more than maxSteps, so it would never happen: lower it, or remove "
            "it (the end is always measured)",
            field=".evalEverySteps",
        ),
        Rule(
            "!has(self.earlyStopping) || !(has(self.maxSteps) && has(self.evalEverySteps)) || "
            "self.evalEverySteps != self.maxSteps",
            "earlyStopping needs an evaluation before the last step: set evalEverySteps below "
            "maxSteps",
            field=".evalEverySteps",
        ),
        *(
            Rule(
                f"self.scheduler != '{name}' || !(has(self.maxSteps) && has(self.evalEverySteps)) "
                f"|| (self.maxSteps - 1) / self.evalEverySteps >= {count}",
                f"{name} changes the rate after {count} evaluations at the earliest: lower "
                "evalEverySteps, or raise maxSteps",
                field=".evalEverySteps",
            )
            for name, count in NEEDED_EVALUATIONS.items()
        ),
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

    @model_validator(mode="after")
    def _fits_the_rate(self) -> "Training":
        """What a CEL rule can't say: it sees no field that is a number or a word."""
        lowest = self.scheduler_options and self.scheduler_options.min_learning_rate
        if self.learning_rate == "auto":
            if self.optimizer == "sgd":
                raise PydanticCustomError(
                    "luthier_rule", "sgd has no rate that suits most models: set learningRate"
                )
        elif lowest and lowest >= self.learning_rate:
            raise PydanticCustomError(
                "luthier_rule",
                "schedulerOptions.minLearningRate is where the rate ends: set it below "
                "learningRate",
            )
        return self

    @property
    def in_batch_negatives(self) -> bool:
        """Whether each pair is told from the others of its batch."""
        return self.similarity is not None and self.similarity.objective == "in_batch_negatives"

    @property
    def kto(self) -> bool:
        """Whether answers are preferred one by one."""
        return self.preference is not None and self.preference.objective == "kto"
