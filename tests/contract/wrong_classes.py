"""Settings of classes that don't go together."""

from contract.tasks import CLASSES, CODE, TAGS
from contract.wrong import wrong

CLASSES_OF_A_HEAD = [
    wrong(
        "weights of classes in words",
        {"training.classification": {"classWeights": "Balanced"}},
        "spec.training.classification",
        "columns.text and columns.label in place of a template",
    ),
    wrong(
        "focal loss of tags",
        {**TAGS, "training.classification": {"focalGamma": 2}},
        "spec.training.classification",
        "set task to classification",
    ),
    wrong(
        "weights counted and given",
        {
            **CLASSES,
            "training.classification": {"classWeights": "Balanced", "weights": {"angry": 2}},
        },
        "spec.training.classification.weights",
        "keep one",
    ),
    wrong(
        "a class that doesn't count",
        {**CLASSES, "training.classification": {"weights": {"angry": 0}}},
        "spec.training.classification.weights.angry",
        "greater than 0",
    ),
    wrong(
        "weights beside a loss of one's own",
        {**CLASSES, "training.loss": CODE, "training.classification": {"focalGamma": 2}},
        "spec.training.classification",
        "remove classification",
    ),
    wrong(
        "focal loss of smoothed labels",
        {
            **CLASSES,
            "training.labelSmoothing": 0.1,
            "training.classification": {"focalGamma": 2},
        },
        "spec.training.labelSmoothing",
        "remove labelSmoothing or focalGamma",
    ),
]
