"""What all processes of a training must have in common before they begin."""

from datetime import datetime
from typing import Any

from luthier_trainer.data.examples import Examples
from luthier_trainer.errors import PeersLost
from luthier_trainer.log import log
from luthier_trainer.models.cache import BaseModel, identity
from luthier_trainer.pod.claim import Start
from luthier_trainer.pod.pod import Pod


def agreement(pod: Pod, base: BaseModel, examples: Examples) -> dict[str, Any]:
    """What the first process tells the others, JSON-ready: what it trains, and of its claim."""
    return {
        "began": pod.began.isoformat() if pod.began else None,
        "startedFrom": pod.started_from.to_json() if pod.started_from else None,
        "dataset": examples.digest,
        "base": identity(base),
    }


def agree(pod: Pod, base: BaseModel, examples: Examples, first: dict[str, Any]) -> None:
    """Take over what the first process said.

    Raises PeersLost where this one has read other data or another model: they moved meanwhile,
    and all begin anew.
    """
    for name, own in (("dataset", examples.digest), ("base", identity(base))):
        if first[name] != own:
            log(f"the {name} is {own} here, and {first[name]} in the first process: it has changed")
            raise PeersLost
    began, start = first["began"], first["startedFrom"]
    pod.began = datetime.fromisoformat(began) if began else None
    pod.started_from = Start.model_validate(start) if start else None
