"""Metrics that the task doesn't have."""

from contract.tasks import NEGATIVES, PAIRS, TAGS, WORDS
from contract.wrong import wrong

METRICS = [
    wrong(
        "accuracy of tags",
        {**TAGS, "evaluation.metrics": ["accuracy"]},
        "spec.evaluation.metrics",
        "need the task classification",
    ),
    wrong(
        "entities of a text",
        {"task": "extraction", "evaluation.metrics": ["entity_f1"]},
        "spec.evaluation.metrics",
        "columns.tags or columns.spans",
    ),
    wrong(
        "bleu of a class",
        {"evaluation.metrics": ["bleu"]},
        "spec.evaluation.metrics",
        "compare generated text",
    ),
    wrong(
        "rouge of tags",
        {**TAGS, "evaluation.metrics": ["rouge"]},
        "spec.evaluation.metrics",
        "compare generated text",
    ),
    *(
        wrong(
            f"length of {title}",
            {**form, "evaluation.maxNewTokens": 64},
            "spec.evaluation.maxNewTokens",
            "remove it",
        )
        for title, form in (("a class", {}), ("tags", TAGS), ("a similarity", PAIRS))
    ),
    wrong(
        "JSON of a story",
        {**WORDS, "evaluation.metrics": ["json_f1"]},
        "spec.evaluation.metrics",
        "needs the task extraction",
    ),
    wrong(
        "correlation of classes",
        {"evaluation.metrics": ["spearman"]},
        "spec.evaluation.metrics",
        "the task similarity",
    ),
    wrong(
        "correlation without a label",
        {**NEGATIVES, "evaluation.metrics": ["pearson"]},
        "spec.evaluation.metrics",
        "columns.label",
    ),
    wrong(
        "perplexity of tags",
        {**TAGS, "evaluation.metrics": ["perplexity"]},
        "spec.evaluation.metrics",
        "a language model's",
    ),
]
