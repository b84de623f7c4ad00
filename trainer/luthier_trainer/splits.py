"""Which rows are for training, selection and report."""

import random
import re
from collections import defaultdict

from luthier_api.finetuning import Dataset
from luthier_trainer.errors import data_error
from luthier_trainer.rows import Row

_EXPRESSION = re.compile(r"([A-Za-z0-9_]+)(?:\[(-?\d+%?)?:(-?\d+%?)?\])?")


def select(expression: str, splits: dict[str, list[Row]], param: str) -> list[Row]:
    """Rows of a split expression, e.g. train[:90%] (as in the package `datasets`).

    Percentages round to the nearest row. Raises TrainerError (UnknownSplit, EmptySplit).
    """
    match = _EXPRESSION.fullmatch(expression)
    if match is None:
        raise data_error("InvalidSplit", f"{expression!r} is no split expression", param)
    name, start, stop = match.groups()
    if name not in splits:
        raise data_error(
            "UnknownSplit",
            f"the dataset has no split {name!r}, only {', '.join(sorted(splits))}; name one of "
            f"these, or add a file {name}.jsonl",
            param,
        )
    rows = splits[name]
    chosen = rows[_bound(start, len(rows)) : _bound(stop, len(rows))]
    if not chosen:
        raise data_error(
            "EmptySplit",
            f"{expression} selects none of the {len(rows)} rows of {name!r}; widen it",
            param,
        )
    return chosen


def _bound(text: str | None, count: int) -> int | None:
    if text is None:
        return None
    return round(int(text[:-1]) * count / 100) if text.endswith("%") else int(text)


def divide(
    rows: list[Row], fraction: float, column: str | None, seed: int
) -> tuple[list[Row], list[Row]]:
    """(rest, share): `fraction` of the rows drawn by the seed, in the order of the file.

    With `column`, the same share of each of its values, at least one row where there
    are two.
    """
    groups: dict[str, list[int]] = defaultdict(list)
    for index, row in enumerate(rows):
        groups[row.values[column] if column else ""].append(index)
    rng = random.Random(seed)  # noqa: S311 - a sample, not a secret
    taken: set[int] = set()
    for value in sorted(groups):
        members = groups[value]
        count = min(max(round(len(members) * fraction), 1), len(members) - 1)
        taken.update(rng.sample(members, count))
    return (
        [row for index, row in enumerate(rows) if index not in taken],
        [row for index, row in enumerate(rows) if index in taken],
    )


def assign(
    dataset: Dataset, splits: dict[str, list[Row]], seed: int
) -> tuple[list[Row], list[Row], list[Row]]:
    """(train, eval, test) rows; eval and test may be empty. Raises TrainerError."""
    train = select(dataset.train or "train", splits, "dataset.train")
    evaluation: list[Row] = []
    if dataset.eval:
        evaluation = select(dataset.eval, splits, "dataset.eval")
    elif dataset.eval_fraction:
        train, evaluation = divide(train, dataset.eval_fraction, dataset.stratify_by, seed)
        if not train or not evaluation:
            raise data_error(
                "EmptySplit",
                f"evalFraction {dataset.eval_fraction} leaves {len(train)} rows to train and "
                f"{len(evaluation)} to evaluate; add rows or change it",
                "dataset.evalFraction",
            )
    test = select(dataset.test, splits, "dataset.test") if dataset.test else []
    return train, evaluation, test
