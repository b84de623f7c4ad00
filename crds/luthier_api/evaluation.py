"""What is measured, on the base and on the tuned model alike."""

import re
from typing import ClassVar, Literal, get_args

from pydantic import Field

from luthier_api.meta import CodeRef, Model, Rule

Metric = Literal[
    "loss",
    "perplexity",
    "accuracy",
    "f1",
    "f1_micro",
    "f1_weighted",
    "precision",
    "recall",
    "ece",
    "entity_f1",
    "entity_precision",
    "entity_recall",
    "exact_match",
    "json_f1",
    "bleu",
    "chrf",
    "rouge",
    "spearman",
    "pearson",
    "preference_accuracy",
    "preference_margin",
    "reward_accuracy",
    "reward_margin",
    "kl",
    "mse",
    "mae",
]
# What the values are called: some metrics have more than one.
METRIC_NAMES = frozenset(
    {*get_args(Metric), "rouge1", "rouge2", "rougeL", "json_precision", "json_recall"}
)
_ERRORS = ("ece", "mse", "mae", "kl")
_OF_A_SCRIPT = re.compile(r"script_[A-Za-z0-9_.@-]{1,56}")


def is_metric(name: str) -> bool:
    """Whether a value may have that name: one of ours, or script_ and a plain one."""
    return name in METRIC_NAMES or _OF_A_SCRIPT.fullmatch(name) is not None


def lower_is_better(name: str) -> bool:
    """Whether less of a metric is better: of errors, losses and perplexities, a script's too."""
    return name in _ERRORS or "loss" in name or "perplexity" in name


# What each kind of answer can be measured by; loss is always known.
CLASS_METRICS = ("accuracy", "f1", "f1_micro", "f1_weighted", "precision", "recall")
ENTITY_METRICS = ("entity_f1", "entity_precision", "entity_recall")
TEXT_METRICS = ("exact_match", "bleu", "chrf", "rouge")
PAIR_METRICS = ("spearman", "pearson")
# Of two answers; and of answers one by one, too.
PREFERENCE_METRICS = ("preference_accuracy", "preference_margin")
REWARD_METRICS = ("reward_accuracy", "reward_margin", "kl")
NUMBER_METRICS = ("mse", "mae")
CALIBRATION_METRICS = ("ece",)


class Evaluation(Model):
    """What is measured, on the base and on the tuned model alike."""

    metrics: list[Metric] = Field(
        default=["loss", "perplexity"],
        min_length=1,
        max_length=16,
        description="Always: loss. Language models: perplexity. classification: accuracy, "
        "precision, recall and f1 (macro), f1_micro, f1_weighted; of a class by a head: ece "
        "(calibration). extraction by tags: entity_f1, "
        "entity_precision, entity_recall. Generated text: exact_match, bleu, chrf, rouge (1, 2 "
        "and L), json_f1 (fields of JSON objects). similarity: spearman, pearson. regression: "
        "these, mse, mae. preference: preference_accuracy, preference_margin, reward_accuracy, "
        "reward_margin, kl.",
    )
    batch_size: int = Field(default=16, ge=1, le=4096, description="Examples at once.")
    max_samples: int = Field(
        default=1000,
        ge=1,
        le=1_000_000,
        description="Rows used at most, a sample drawn by the run's seed, in which each label has "
        "its share: of eval by each evaluation while training, and by that of the result.",
    )
    max_new_tokens: int = Field(
        default=128, ge=1, le=65536, description="Tokens generated at most per answer."
    )
    script: CodeRef | None = Field(
        default=None,
        description="An evaluation of your own: evaluate_model(model_path, test_dataset, "
        "metric_type) -> dict. Needs the platform's consent.",
    )

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "self.metrics.all(m, self.metrics.exists_one(n, n == m))",
            "a metric is named twice: name each once",
            field=".metrics",
        ),
    )
