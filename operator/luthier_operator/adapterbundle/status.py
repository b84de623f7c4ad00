"""Observed → status: that the kind isn't reconciled yet. Pure."""

from datetime import datetime

from luthier_operator.resources import Obj
from luthier_operator.unbuilt import not_built


def compute(obj: Obj, now: datetime) -> Obj:
    """The status that a `kubectl describe` explains itself by."""
    return not_built("AdapterBundle", obj, now)
