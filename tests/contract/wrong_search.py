"""Searches that must be refused."""

from typing import Any

from contract.manifests import REMOVED
from contract.wrong import Wrong, wrong

RANKS = {"type": "int", "low": 8, "high": 64, "step": 8}


def _search(title: str, changes: dict[str, Any], field: str, words: str, **parts: Any) -> Wrong:
    """A search for the least loss, with fields changed; `parts`: of the spec beside it."""
    objective = {"metric": "eval_loss", "direction": "minimize"}
    search = {"objective": objective, "space": {"lora.rank": RANKS}} | changes
    changed = {name.replace("__", "."): value for name, value in parts.items()}
    return wrong(title, {"search": search, **changed}, f"spec.{field}", words)


def _space(title: str, words: str, **parameter: Any) -> Wrong:
    return _search(title, {"space": {"learningRate": parameter}}, "search.space", words)


SEARCHES = [
    _search(
        "search without a range",
        {"space": {"lora.rank": {"type": "int", "low": 64, "high": 8}}},
        "search.space",
        "low below high",
    ),
    _space("search of a log of zero", "low above 0", type="float", low=0, high=1, log=True),
    _space(
        "search of a log in steps", "without steps", type="float", low=1, high=2, log=True, step=1
    ),
    _space("choice of a range", "choice takes either values", type="choice", low=1, high=2),
    _space("words for a number", "with low and high", type="choice", names=["high"]),
    _search(
        "search of what is shared out",
        {},
        "training.parallel",
        "one process",
        training__parallel="fsdp",
    ),
    _search(
        "search of an unknown path",
        {"space": {"training.learningRate": {"type": "float", "low": 0.1, "high": 1}}},
        "search.space",
        "of training as learningRate",
    ),
    _search(
        "search of the seed",
        {"space": {"seed": {"type": "int", "low": 1, "high": 9}}},
        "search.space",
        "docs/search.md lists them",
    ),
    _search(
        "numbers for words",
        {"space": {"scheduler": {"type": "choice", "values": [1]}}},
        "search.space",
        "by type choice and names",
    ),
    _search(
        "fractions of a rank",
        {"space": {"lora.rank": {"type": "float", "low": 1, "high": 9}}},
        "search.space",
        "by type int",
    ),
    _search(
        "grid without steps",
        {"strategy": "grid", "space": {"learningRate": {"type": "float", "low": 0.1, "high": 1}}},
        "search.space",
        "set step",
    ),
    _search(
        "most of a loss",
        {"objective": {"metric": "eval_loss"}},
        "search.objective.direction",
        "set direction to minimize",
    ),
    _search(
        "search for what isn't measured",
        {"objective": {"metric": "accuracy"}},
        "search.objective.metric",
        "add the metric there",
    ),
    _search(
        "search without rows to measure on",
        {},
        "search",
        "set dataset.evalFraction or dataset.eval",
        dataset__evalFraction=REMOVED,
    ),
    _search(
        "rungs behind the end",
        {"prune": {"minSteps": 100}},
        "search.prune.minSteps",
        "lower minSteps",
    ),
    _search(
        "two GPUs for a trial",
        {},
        "placement.gpus",
        "set placement.gpus to 1",
        placement={"gpus": 2},
    ),
    _search(
        "two nodes for a trial",
        {},
        "placement.nodes",
        "set placement.nodes to 1",
        placement={"nodes": 2},
    ),
    _search("trials by the thousand", {"trials": 5000}, "search.trials", "1000"),
    _search("no such strategy", {"strategy": "bayes"}, "search.strategy", "tpe"),
]
