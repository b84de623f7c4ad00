"""What was made of a part of an object, for as long as that part says the same."""

from collections.abc import Callable
from typing import Any, TypeVar

from luthier_operator.resources import Obj

ModelT = TypeVar("ModelT")
Made = TypeVar("Made")


class Memo:
    """The last result of each resource, by its uid; beyond `most` it starts anew.

    It goes by the content, not by generation or version: the API server fills a new field's
    default into what is stored without counting either up.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._known: dict[tuple[object, str], tuple[Obj, Any]] = {}

    def read(
        self,
        model: type[ModelT],
        obj: Obj,
        part: Obj,
        make: Callable[[type[ModelT], Obj], Made],
    ) -> Made:
        """`make(model, part)`, or what it was when `part` of that resource was the same."""
        name = (model, obj["metadata"]["uid"])
        known = self._known.get(name)
        if known is not None and known[0] is part:
            made: Made = known[1]
            return made
        # The object is often another one with the same in it: its other part has changed.
        made = known[1] if known is not None and known[0] == part else make(model, part)
        if len(self._known) >= self._most and name not in self._known:
            self._known.clear()  # whoever renders metrics in a thread reads here, too
        self._known[name] = (part, made)
        return made
