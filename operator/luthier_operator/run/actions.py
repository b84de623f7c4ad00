"""What a plan does to the cluster: one write each, in the plan's order. Pure.

Replacing an object is deleting it: what is to take its place has the same name, and is ensured once
the old one and its pods are gone.
"""

from dataclasses import dataclass

from luthier_operator.resources import Obj, Resource


@dataclass(frozen=True)
class Ensure:
    """Create an object; one that is there already must be the same (adoption.py)."""

    obj: Obj


@dataclass(frozen=True)
class Patch:
    """Change fields that may change of an object that is there."""

    resource: Resource
    obj: Obj
    changes: Obj
    why: str  # for the log


@dataclass(frozen=True)
class Delete:
    """Delete an object, and its pods with their grace."""

    resource: Resource
    obj: Obj
    why: str  # for the log


Action = Ensure | Patch | Delete
