"""Answers that are preferred: what doesn't go together with them."""

from typing import Any

from contract.tasks import CODE, WORDS, columns
from contract.wrong import wrong

ANSWERS: dict[str, Any] = {
    "task": "preference",
    **columns(prompt="question", chosen="better", rejected="worse"),
    "evaluation.metrics": ["preference_accuracy", "loss"],
}
ONE_BY_ONE: dict[str, Any] = {
    "task": "preference",
    **columns(prompt="question", completion="answer", label="good"),
    "training.preference": {"objective": "kto"},
    "evaluation.metrics": ["reward_margin"],
}


def _settings(**preference: Any) -> dict[str, Any]:
    return {**ANSWERS, "training.preference": preference}


PREFERENCES = [
    wrong(
        "preference of a template",
        {"task": "preference", "evaluation.metrics": ["loss"]},
        "spec.dataset.columns",
        "columns.chosen and columns.rejected",
    ),
    wrong(
        "chosen alone",
        {**ANSWERS, **columns(prompt="question", chosen="better")},
        "spec.dataset.columns",
        "columns that go together",
    ),
    wrong(
        "generation of answers",
        {**WORDS, **columns(prompt="question", chosen="better", rejected="worse")},
        "spec.dataset.columns",
        "are for the task preference",
    ),
    wrong(
        "one answer to a prompt, by dpo",
        {**ONE_BY_ONE, "training.preference": {"objective": "dpo"}},
        "spec.dataset.columns",
        "only kto learns from answers one by one",
    ),
    wrong(
        "preference of a text",
        {**WORDS, "training.preference": {"objective": "dpo"}},
        "spec.training.preference",
        "remove it, or change task",
    ),
    wrong(
        "smoothed tokens of answers",
        {**ANSWERS, "training.labelSmoothing": 0.1},
        "spec.training.labelSmoothing",
        "training.preference.labelSmoothing",
    ),
    wrong(
        "preference by a loss of one's own",
        {**ANSWERS, "training.loss": CODE},
        "spec.training.loss",
        "no answers to compare",
    ),
    wrong(
        "packed answers",
        {**ANSWERS, "training.packing": "Always"},
        "spec.training.packing",
        "packing joins texts",
    ),
    wrong(
        "answers in chunks",
        {**ANSWERS, "dataset.longRows": "Chunk"},
        "spec.dataset.longRows",
        "learnt as a whole",
    ),
    wrong(
        "loss on the prompt of answers",
        {**ANSWERS, "dataset.lossOn": "All"},
        "spec.dataset.lossOn",
        "remove it",
    ),
    wrong(
        "smoothed ipo",
        _settings(objective="ipo", labelSmoothing=0.1),
        "spec.training.preference.labelSmoothing",
        "dpo and simpo",
    ),
    wrong(
        "orpo with another SFT loss",
        _settings(objective="orpo", sftWeight=1),
        "spec.training.preference.sftWeight",
        "dpo, ipo and simpo",
    ),
    wrong(
        "gamma of dpo",
        _settings(gamma=1),
        "spec.training.preference.gamma",
        "for the objective simpo",
    ),
    wrong(
        "weighted dpo",
        _settings(desirableWeight=2),
        "spec.training.preference.desirableWeight",
        "for the objective kto",
    ),
    wrong(
        "orpo, weighted",
        _settings(objective="orpo", undesirableWeight=2),
        "spec.training.preference.undesirableWeight",
        "for the objective kto",
    ),
    wrong(
        "more than half of all labels swapped",
        _settings(labelSmoothing=0.5),
        "spec.training.preference.labelSmoothing",
        "less than or equal to 0.49",
    ),
    wrong(
        "preference of one answer",
        {**ONE_BY_ONE, "evaluation.metrics": ["preference_accuracy"]},
        "spec.evaluation.metrics",
        "compare two answers",
    ),
    wrong(
        "reward of a class",
        {"evaluation.metrics": ["reward_accuracy"]},
        "spec.evaluation.metrics",
        "need the task preference",
    ),
    wrong(
        "kl of a whole model",
        {**ANSWERS, "method": {"type": "full"}, "evaluation.metrics": ["kl"]},
        "spec.evaluation.metrics",
        "measure reward_margin",
    ),
    wrong(
        "perplexity of a preference",
        {**ANSWERS, "evaluation.metrics": ["perplexity"]},
        "spec.evaluation.metrics",
        "a language model's",
    ),
    wrong(
        "rouge of a preference",
        {**ANSWERS, "evaluation.metrics": ["rouge"]},
        "spec.evaluation.metrics",
        "compare generated text",
    ),
    wrong(
        "losses of different betas",
        {
            **ANSWERS,
            "dataset.evalFraction": 0.1,
            "search": {
                "trials": 4,
                "objective": {"metric": "eval_loss", "direction": "minimize"},
                "space": {"preference.beta": {"type": "float", "low": 0.05, "high": 0.5}},
            },
        },
        "spec.search.objective.metric",
        "can't be compared",
    ),
]
