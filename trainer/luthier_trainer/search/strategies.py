"""Which values a trial tries. Pure but for the import of Optuna, where it is needed.

random and grid are functions of the search and the trial's number, on every machine and in every
version the same: their numbers come of SHA-256, not of a library's generator. tpe begins as random
does, and then goes by the trials that have ended.
"""

import hashlib
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from luthier_api.search import Search, SearchParameter
from luthier_api.searchspace import Value, combinations, count_of, rounded, value_at
from luthier_trainer.search.records import Record

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

# tpe needs so many trials that were measured before it is better than chance.
STARTING = 10


def settings_of(search: Search, number: int, records: Sequence[Record]) -> dict[str, Value]:
    """The values of a trial. `records`: of the others, which only tpe asks."""
    if search.strategy == "grid":
        return _of_grid(search, number)
    if search.strategy == "random" or sum(it.measured for it in records) < STARTING:
        return {path: _drawn(search, number, path) for path in sorted(search.space)}
    return _of_tpe(search, number, records)


def _of_grid(search: Search, number: int) -> dict[str, Value]:
    """All combinations in an order that the seed says: where a search ends before the grid does,
    it has seen all corners of it."""
    count = combinations(search)
    order = sorted(range(count), key=lambda index: _digest(search.seed, index, "grid"))
    index = order[number % count]
    found = {}
    for path in sorted(search.space):
        index, place = divmod(index, count_of(search.space[path]))
        found[path] = value_at(search.space[path], place)
    return found


def _drawn(search: Search, number: int, path: str) -> Value:
    parameter, share = search.space[path], uniform(search.seed, number, path)
    if parameter.type == "choice" or (parameter.type == "int" and not parameter.log):
        return value_at(parameter, int(share * count_of(parameter)))
    if parameter.step:
        return value_at(parameter, int(share * count_of(parameter)))
    return rounded(parameter, _between(parameter, share))


def _between(parameter: SearchParameter, share: float) -> float:
    low, high = parameter.low or 0.0, parameter.high or 0.0
    if not parameter.log:
        return low + share * (high - low)
    if parameter.type == "int":  # each whole number has its part of the range
        low, high = low - 0.5, high + 0.5
        found = math.exp(math.log(low) + share * (math.log(high) - math.log(low)))
        return min(max(found, low + 0.5), high - 0.5)
    return math.exp(math.log(low) + share * (math.log(high) - math.log(low)))


def uniform(seed: int, number: int, path: str) -> float:
    """A number from 0 to below 1, of 53 bits."""
    return (int.from_bytes(_digest(seed, number, path)[:8]) >> 11) / 2**53


def _digest(seed: int, number: int, name: str) -> bytes:
    return hashlib.sha256(f"{seed}/{number}/{name}".encode()).digest()


def _of_tpe(search: Search, number: int, records: Sequence[Record]) -> dict[str, Value]:
    """By Optuna's sampler, asked anew each time: what it knows are the trials in storage."""
    import optuna  # takes a second

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    space = {path: _distribution(it) for path, it in sorted(search.space.items())}
    seed = int.from_bytes(_digest(search.seed, number, "tpe")[:4])
    sampler = optuna.samplers.TPESampler(seed=seed, constant_liar=True, n_startup_trials=1)
    study = optuna.create_study(sampler=sampler, direction=search.objective.direction)
    for record in records:
        if record.state == "Failed" or (record.state != "Running" and not record.measured):
            continue
        tried = {path: _typed(search.space[path], it) for path, it in record.settings.items()}
        running = record.state == "Running"
        study.add_trial(
            optuna.trial.create_trial(
                state=optuna.trial.TrialState.RUNNING
                if running
                else optuna.trial.TrialState.COMPLETE,
                params=tried,
                distributions={path: space[path] for path in tried},
                value=None if running else record.value,
            )
        )
    asked = study.ask(space).params
    return {
        path: value if isinstance(value, str) else _kept(search.space[path], value)
        for path, value in asked.items()
    }


def _kept(parameter: SearchParameter, value: float) -> Value:
    return value if parameter.type == "choice" else rounded(parameter, value)


def _typed(parameter: SearchParameter, value: Value) -> Value:
    return int(value) if parameter.type == "int" else value


def _distribution(parameter: SearchParameter) -> "BaseDistribution":
    from optuna import distributions

    if parameter.type == "choice":
        return distributions.CategoricalDistribution(parameter.names or parameter.values or ())
    low, high = parameter.low or 0.0, parameter.high or 0.0
    if parameter.type == "int":
        step = int(parameter.step or 1)
        return distributions.IntDistribution(int(low), int(high), log=parameter.log, step=step)
    return distributions.FloatDistribution(low, high, log=parameter.log, step=parameter.step)
