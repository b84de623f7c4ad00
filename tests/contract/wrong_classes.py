"""Settings of classes that don't go together."""

from contract.tasks import CLASSES, CODE, NUMBER, TAGS, TOPICS, columns
from contract.wrong import wrong

CLASSES_OF_A_HEAD = [
    wrong(
        "weights of classes in words",
        {"training.classification": {"classWeights": "Balanced"}},
        "spec.training.classification",
        "in place of a template",
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
    wrong(
        "smoothed labels of several classes",
        {**TOPICS, "training.labelSmoothing": 0.1},
        "spec.training.labelSmoothing",
        "remove labelSmoothing",
    ),
    wrong(
        "one class and several",
        columns(text="phrase", label="tone", labels="topics"),
        "spec.dataset.columns",
        "text and labels",
    ),
    wrong(
        "several classes of words",
        {"task": "extraction", **columns(text="phrase", labels="topics")},
        "spec.dataset.columns",
        "extraction needs",
    ),
    wrong(
        "a separator of one class",
        {**CLASSES, "dataset.labelSeparator": ";"},
        "spec.dataset.labelSeparator",
        "set that, or remove it",
    ),
    wrong(
        "calibration of several classes",
        {**TOPICS, "evaluation.metrics": ["ece"]},
        "spec.evaluation.metrics",
        "columns.text and columns.label",
    ),
    wrong(
        "calibration of classes in words",
        {"evaluation.metrics": ["ece"]},
        "spec.evaluation.metrics",
        "how sure a head is",
    ),
    wrong(
        "a number in words",
        {"task": "regression"},
        "spec.dataset.columns",
        "set columns.text and columns.label",
    ),
    wrong(
        "a smoothed number",
        {**NUMBER, "training.labelSmoothing": 0.1},
        "spec.training.labelSmoothing",
        "remove labelSmoothing",
    ),
    wrong(
        "weights of a number",
        {**NUMBER, "training.classification": {"classWeights": "Balanced"}},
        "spec.training.classification",
        "set task to classification",
    ),
    wrong(
        "accuracy of a number",
        {**NUMBER, "evaluation.metrics": ["accuracy"]},
        "spec.evaluation.metrics",
        "need the task classification",
    ),
    wrong(
        "errors of a class",
        {**CLASSES, "evaluation.metrics": ["mse"]},
        "spec.evaluation.metrics",
        "they need the task regression",
    ),
]
