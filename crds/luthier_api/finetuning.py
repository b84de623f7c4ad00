"""What shapes the result of a fine-tuning run.

These fields, and the output's place, make a revision; the operator hands them to
the trainer as they are. A default never changes within an API version: defaults
are applied to stored objects, so a changed one would retrain every resource.
"""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from luthier_api.dataset import TWO_COLUMNS, Dataset
from luthier_api.meta import CodeRef, Matches, Model, Rule, SecretKeyRef
from luthier_api.training import Training
from luthier_api.uris import MODEL_SCHEMES, Uri, scheme_rule

__all__ = [
    "Dataset",
    "Evaluation",
    "FineTuning",
    "Lora",
    "Method",
    "ModelSource",
    "Task",
    "Training",
]


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
        scheme_rule("models", MODEL_SCHEMES),
        Rule(
            "!self.uri.matches('(?i)[.](safetensors|gguf|bin|pt|pth|onnx|zip|tar|gz|tgz)$')",
            "a model is a folder with config.json, tokenizer and .safetensors: name the folder, "
            "not a file",
            field=".uri",
        ),
        Rule(
            "!has(self.revision) || self.uri.startsWith('hf://')",
            "revision is for models on a hub (hf://): remove it, or put the version into the URI's "
            "path",
            field=".revision",
        ),
        Rule(
            "!has(self.tokenSecretRef) || self.uri.startsWith('hf://')",
            "tokenSecretRef is for models on a hub (hf://): remove it; S3 is read with "
            "storage.secretName",
            field=".tokenSecretRef",
        ),
        Rule(
            "!self.trustRemoteCode",
            "trustRemoteCode isn't built yet: use a model that transformers knows, and set it to "
            "false",
            field=".trustRemoteCode",
        ),
    )


TargetModule = Annotated[
    str,
    Field(min_length=1, max_length=256),
    Matches(
        r"^[A-Za-z0-9_.-]+$",
        "name one module per item, plainly (no commas, blanks or patterns), e.g. [q_proj, v_proj]",
    ),
]


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
        Rule(
            "self.targetModules.all(m, self.targetModules.exists_one(n, n == m))",
            "a module is named twice: name each once",
            field=".targetModules",
        ),
        Rule(
            "self.modulesToSave.all(m, self.modulesToSave.exists_one(n, n == m))",
            "a module is named twice: name each once",
            field=".modulesToSave",
        ),
        Rule(
            "!self.modulesToSave.exists(m, m == 'auto' || m == 'all-linear')",
            "auto and all-linear choose targetModules: name the modules to save",
            field=".modulesToSave",
        ),
        Rule(
            "!self.modulesToSave.exists(m, self.targetModules.exists(n, n == m))",
            "a module is either trained in full (modulesToSave) or updated (targetModules): name "
            "it in one of them",
            field=".modulesToSave",
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

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "self.task == 'classification' || "
            "!self.evaluation.metrics.exists(m, m == 'accuracy' || m == 'f1')",
            "accuracy and f1 need the task classification: change task, or measure perplexity",
            field=".evaluation.metrics",
        ),
        Rule(
            "self.task != 'classification' || !has(self.dataset.template) || "
            f"self.dataset.template.matches(r'{TWO_COLUMNS}')",
            "classification needs two columns in the template: what is classified, and last the "
            'label, e.g. "{text}\\nCategory: {label}"',
            field=".dataset.template",
        ),
        Rule(
            "!has(self.training.evalEverySteps) || has(self.dataset.eval) || "
            "has(self.dataset.evalFraction)",
            "evalEverySteps needs rows to measure on: set dataset.evalFraction or dataset.eval",
            field=".training.evalEverySteps",
        ),
    )
