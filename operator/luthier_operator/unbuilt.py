"""The status of kinds that this version accepts and doesn't reconcile. Pure."""

from datetime import datetime

from pydantic import ValidationError

from luthier_api.meta import Condition
from luthier_operator.conditions import Conditions
from luthier_operator.resources import Obj


def not_built(kind: str, obj: Obj, now: datetime) -> Obj:
    """A status that says so: Ready=False, Stalled=True, reason NotBuilt."""
    generation = obj["metadata"].get("generation", 0)
    conditions = Conditions(_previous(obj), generation, now)
    message = f"{kind} isn't reconciled by this version of Luthier yet: nothing will happen."
    conditions.set("Ready", False, "NotBuilt", message)
    conditions.set("Stalled", True, "NotBuilt", message)
    return {
        "phase": "Stalled",
        "observedGeneration": generation,
        "conditions": [condition.to_json() for condition in conditions.list()],
    }


def _previous(obj: Obj) -> list[Condition]:
    try:
        conditions = (obj.get("status") or {}).get("conditions") or []
        return [Condition.model_validate(condition) for condition in conditions]
    except ValidationError:
        return []
