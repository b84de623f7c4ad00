"""Answers of both models to the first examples, in words: for samples.json and the sheet."""

from collections.abc import Sequence
from typing import Any

from luthier_trainer.data.examples import Example, Tagged
from luthier_trainer.evaluation.answered import Answered
from luthier_trainer.evaluation.measure import Measurement
from luthier_trainer.evaluation.spans import entities
from luthier_trainer.objectives.objective import Objective


def answered(
    objective: Objective,
    examples: Sequence[Example],
    base: Measurement,
    tuned: Measurement,
    most: int,
) -> list[Answered]:
    """The first `most` examples that both models were asked to answer."""
    found = []
    for index in range(min(most, len(base.predictions), len(tuned.predictions))):
        example = examples[index]
        answers = [side.predictions[index].answer for side in (base, tuned)]
        if None in answers:
            break
        expected, ours, theirs = (in_words(each, example) for each in (base.gold[index], *answers))
        found.append(Answered(objective.show(example), expected, ours, theirs))
    return found


def in_words(answer: Any, example: Example) -> str:
    """An answer of any kind: tags as the entities that they mark, a number by its digits."""
    if isinstance(answer, list) and isinstance(example, Tagged):
        return "\n".join(
            f"{kind}: {' '.join(example.tokens[begin : end + 1])}"
            for begin, end, kind in entities(answer)
        )
    if isinstance(answer, list):
        return ", ".join(answer) or "(none)"
    return f"{answer:.3f}" if isinstance(answer, float) else str(answer).strip()
