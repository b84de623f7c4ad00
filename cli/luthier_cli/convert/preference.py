"""Preference tuning: objectives and their settings, as tools call them."""

from collections.abc import Mapping

from luthier_cli.convert.mapping import Group
from luthier_cli.convert.told import Fate
from luthier_cli.convert.values import number

_SETTINGS = "training.preference"
# Which objectives a setting is for.
_FOR = {
    "beta": ("dpo", "ipo", "orpo", "kto", "simpo"),
    "gamma": ("simpo",),
    "labelSmoothing": ("dpo", "simpo"),
    "sftWeight": ("dpo", "ipo", "simpo"),
    "desirableWeight": ("kto",),
    "undesirableWeight": ("kto",),
}
TARGETS = ("task", f"{_SETTINGS}.objective", *(f"{_SETTINGS}.{name}" for name in _FOR))
TWO = {"prompt": "prompt", "chosen": "chosen", "rejected": "rejected"}
ONE = {"prompt": "prompt", "completion": "completion", "label": "label"}
REFERENCE = "the reference is the model that the training begins with"
NO_REWARDS = "no answers are drawn and rewarded while training: docs/peers.md"
OF_REFERENCE = "log-probabilities of the reference are the trainer's own business"


def prefer(it: Group, objective: str, source: str, names: Mapping[str, tuple[str, ...]]) -> None:
    """The objective, and its settings by their names there; what isn't the objective's is moot."""
    it.put("task", "preference", source)
    it.put(f"{_SETTINGS}.objective", objective, source)
    for ours, theirs in names.items():
        for name in theirs:
            if it.get(name) is None:
                continue
            if objective in _FOR[ours] and it.draft.get(f"{_SETTINGS}.{ours}") is None:
                it.read(f"{_SETTINGS}.{ours}", name, number)
            else:
                it.moot(name, f"{objective} has no use of it")


def usual(it: Group, ours: str, value: float, name: str) -> None:
    """A setting that isn't given, where the tool's default isn't ours."""
    if it.draft.get(f"{_SETTINGS}.{ours}") is None:
        it.put(f"{_SETTINGS}.{ours}", value, name, fate=Fate.DEFAULT)
