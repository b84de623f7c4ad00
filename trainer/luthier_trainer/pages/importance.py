"""How much of the differences between trials a setting tells by itself. Pure."""

import statistics
from collections.abc import Mapping, Sequence

# Groups of a setting that is a number: a trial is in the one of its quantile.
_GROUPS = 4
# Trials below which nothing can be said.
FEWEST = 8


def importance(
    values: Sequence[float], settings: Sequence[Mapping[str, object]]
) -> dict[str, float]:
    """By path: the share of the objective's variance between groups of trials with like values, as
    far as it is more than chance would make of so few (ε², Kelley 1935). Most important first."""
    paths = sorted({path for it in settings for path in it})
    found = {path: _explained(values, [it.get(path) for it in settings]) for path in paths}
    return dict(sorted(found.items(), key=lambda it: (-it[1], it[0])))


def _explained(values: Sequence[float], settings: Sequence[object]) -> float:
    pairs = [(value, it) for value, it in zip(values, settings, strict=True) if it is not None]
    groups: dict[object, list[float]] = {}
    for group, (value, _) in zip(_grouped([it for _, it in pairs]), pairs, strict=True):
        groups.setdefault(group, []).append(value)
    count, known = len(pairs), [value for value, _ in pairs]
    if len(groups) < 2 or count <= len(groups):
        return 0.0
    total = statistics.pvariance(known) * count
    within = sum(statistics.pvariance(it) * len(it) for it in groups.values())
    if total <= 0:
        return 0.0
    return max(0.0, 1 - (within / (count - len(groups))) / (total / (count - 1)))


def _grouped(settings: Sequence[object]) -> list[object]:
    """The group of each."""
    different = set(settings)
    numbers = [it for it in settings if isinstance(it, float | int)]
    if len(different) <= _GROUPS or len(numbers) < len(settings):
        return list(settings)
    ordered = sorted(numbers)
    return [ordered.index(it) * _GROUPS // len(ordered) for it in numbers]
