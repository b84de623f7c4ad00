"""What was made of something, for as long as that says the same."""

from collections.abc import Callable, Hashable
from typing import Any, Generic, TypeVar

from luthier_operator.resources import Obj

# So many resources' specs and statuses are kept as models: more than run at a time.
PARSED = 2_000

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


class Once(Generic[Made]):
    """What was made of models, by their identity: a Memo gives the same ones time and again, and
    they don't change. Beyond `most` it starts anew."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._known: dict[tuple[Hashable, ...], tuple[tuple[object, ...], Made]] = {}

    def of(self, *models: object, make: Callable[[], Made], names: tuple[str, ...] = ()) -> Made:
        """`make()`, or what it was of the same models and names. What it raises isn't kept."""
        key = (*map(id, models), *names)
        known = self._known.get(key)
        if known is not None:
            return known[1]
        made = make()
        if len(self._known) >= self._most:
            self._known.clear()
        # Kept with its models: another one's identity may be theirs, once they are gone.
        self._known[key] = (models, made)
        return made
