"""The optimisation of a fine-tuning run."""

from typing import Literal

from pydantic import Field

from luthier_api.meta import AutoAlwaysNever, CodeRef, Model, Rule


class EarlyStopping(Model):
    """Stop when a metric on `eval` no longer improves."""

    metric: str = Field(
        default="eval_loss", min_length=1, max_length=64, description="Metric on `eval`."
    )
    patience: int = Field(default=3, ge=1, le=1000, description="Evaluations without a better one.")
    min_delta: float = Field(default=0.0, ge=0, description="How much better counts as better.")


class Training(Model):
    """The optimisation."""

    max_steps: int | None = Field(
        default=None, ge=1, le=10_000_000, description="Optimiser steps; or give epochs."
    )
    epochs: float | None = Field(
        default=None, gt=0, le=1000, description="Passes over the data; or give maxSteps."
    )
    learning_rate: float = Field(default=2.0e-4, gt=0, le=1, description="Peak learning rate.")
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
    weight_decay: float = Field(
        default=0.0,
        ge=0,
        le=1,
        description="Share of a weight that each step takes away, times the rate.",
    )
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
    early_stopping: EarlyStopping | None = Field(
        default=None, description="Stop when a metric no longer improves."
    )
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
        Rule(
            "!(has(self.maxSteps) && has(self.evalEverySteps)) || "
            "self.evalEverySteps <= self.maxSteps",
            "evalEverySteps is more than maxSteps, so it would never happen: lower it, or remove "
            "it (the end is always measured)",
            field=".evalEverySteps",
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
