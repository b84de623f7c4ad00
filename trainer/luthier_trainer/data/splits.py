"""Which rows are for training, selection and report. Rows are meant by their numbers."""

import random
import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from luthier_trainer.errors import data_error

Indices = NDArray[np.int64]

_EXPRESSION = re.compile(r"([A-Za-z0-9_]+)(?:\[(-?\d+%?)?:(-?\d+%?)?\])?")


def select(expression: str, splits: dict[str, range], param: str) -> range:
    """Numbers of the rows of a split expression, e.g. train[:90%] (as in the package `datasets`).

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
    count: int, fraction: float, strata: tuple[Indices, Sequence[str]] | None, seed: int
) -> tuple[Indices, Indices]:
    """(rest, share) of the numbers below `count`: `fraction` of them drawn by the seed, in order.

    With `strata` (a value's number for each row, and the values), the same share of each
    value, at least one row where there are two.
    """
    rng = random.Random(seed)  # noqa: S311 - a sample, not a secret
    taken = np.zeros(count, dtype=bool)
    codes, values = strata or (np.zeros(count, dtype=np.int64), [""])
    for value in sorted(range(len(values)), key=lambda code: values[code]):
        members = np.flatnonzero(codes == value)
        if len(members):
            wanted = min(max(round(len(members) * fraction), 1), len(members) - 1)
            taken[members[rng.sample(range(len(members)), wanted)]] = True
    return np.flatnonzero(~taken), np.flatnonzero(taken)


def divide_groups(
    groups: NDArray[np.uint64],
    fraction: float,
    strata: tuple[Indices, Sequence[str]] | None,
    seed: int,
) -> tuple[Indices, Indices]:
    """As `divide`, but rows of one group stay together: a share of the groups is drawn, each with
    the stratum of its first row."""
    _, firsts, members = np.unique(groups, return_index=True, return_inverse=True)
    # In the order of the rows, whatever the groups' numbers are.
    order = np.argsort(firsts)
    codes = (strata[0][firsts[order]], strata[1]) if strata else None
    _, share = divide(len(firsts), fraction, codes, seed)
    taken = np.zeros(len(firsts), dtype=bool)
    taken[order[share]] = True
    drawn = taken[members]
    return np.flatnonzero(~drawn), np.flatnonzero(drawn)


def sample(codes: Indices, most: int, seed: str) -> Indices:
    """Numbers of at most `most` rows, drawn by the seed, in order. `codes`: each row's label as a
    number; each has its share of the sample, to within a row."""
    if len(codes) <= most:
        return np.arange(len(codes), dtype=np.int64)
    rng = random.Random(seed)  # noqa: S311 - a sample, not a secret
    # Evenly spaced among the rows in the order of their labels: how many each label has.
    at = (np.arange(most) + rng.random()) * (len(codes) / most)
    found, counts = np.unique(np.sort(codes)[at.astype(np.int64)], return_counts=True)
    drawn = []
    for code, count in zip(found, counts.tolist(), strict=True):
        members = np.flatnonzero(codes == code)
        drawn.append(members[rng.sample(range(len(members)), count)])
    return np.sort(np.concatenate(drawn))


def repeat(indices: Indices, weight: float, seed: str) -> Indices:
    """Each row `weight` times: whole times, and of the fraction a sample drawn by the seed."""
    whole = int(weight)
    rng = random.Random(seed)  # noqa: S311 - a sample, not a secret
    extra = sorted(rng.sample(range(len(indices)), round((weight - whole) * len(indices))))
    return np.concatenate([*[indices] * whole, indices[extra]])


def check_disjoint(parts: dict[str, range]) -> None:
    """`parts`: field of the dataset → its rows. Raises TrainerError (SplitsOverlap)."""
    names = list(parts)
    for i, one in enumerate(names):
        for other in names[i + 1 :]:
            a, b = parts[one], parts[other]
            shared = min(a.stop, b.stop) - max(a.start, b.start)
            if shared > 0:
                raise data_error(
                    "SplitsOverlap",
                    f"{one} and {other} share {shared} rows: choose disjoint slices, e.g. "
                    "train[:90%] and train[90%:]",
                    f"dataset.{other}",
                )
