"""Who is in the package, and who is left out."""

from collections.abc import Callable

from luthier_api.optimizejob import SourceRef
from luthier_api.result import AdapterEnd
from luthier_api.runspec import BundleOrder
from luthier_trainer.bundle.index import AdapterPart, LeftOutPart, Proof
from luthier_trainer.errors import TrainerError, unsupported
from luthier_trainer.packages.genai.unfit import UnfitError


class Membership:
    """Of the adapters of an order. `tell` is called whenever more is known."""

    def __init__(self, order: BundleOrder, tell: Callable[[list[AdapterEnd]], None]) -> None:
        self._order = order
        self._tell = tell
        self._included: dict[str, AdapterPart] = {}
        self._left_out: dict[str, LeftOutPart] = {}

    @property
    def ends(self) -> list[AdapterEnd]:
        """What became of each of whom that is known."""
        found = []
        for adapter in self._order.adapters:
            if out := self._left_out.get(adapter.name):
                code, message = out.code, out.message
                end = AdapterEnd(name=out.name, included=False, code=code, message=message)
                found.append(end)
            elif adapter.name in self._included:
                found.append(AdapterEnd(name=adapter.name, included=True))
        return found

    @property
    def included(self) -> list[AdapterPart]:
        names = [adapter.name for adapter in self._order.adapters]
        return [self._included[name] for name in names if name in self._included]

    @property
    def left_out(self) -> list[LeftOutPart]:
        return list(self._left_out.values())

    def include(self, part: AdapterPart) -> None:
        self._included[part.name] = part
        self._tell(self.ends)

    def leave_out(self, part: LeftOutPart) -> None:
        self._included.pop(part.name, None)
        self._left_out[part.name] = part
        self._tell(self.ends)

    def refuse(
        self, name: str, why: UnfitError, key: str | None = None, proof: Proof | None = None
    ) -> None:
        """Leave an adapter out. `key`: of one that failed its proof, which isn't tried again."""
        fields = {"code": why.code, "message": why.message, "key": key, "proof": proof}
        self.leave_out(LeftOutPart(name=name, source=self._source(name), **fields))

    def check(self) -> None:
        """Raises TrainerError where an incompatible adapter ends the run, or none is left."""
        if self._left_out and self._order.bundling.on_incompatible == "Fail":
            remedy = "take them out, or set onIncompatible to Skip"
            raise _ends("IncompatibleAdapter", self.left_out, remedy)
        if len(self._left_out) == len(self._order.adapters):
            raise _ends("NoAdapterLeft", self.left_out, "a bundle needs at least one")

    def _source(self, name: str) -> SourceRef:
        return next(it.source for it in self._order.adapters if it.name == name)


def _ends(code: str, out: list[LeftOutPart], remedy: str) -> TrainerError:
    each = "; ".join(f"{part.name}: {part.code}: {part.message[:300]}" for part in out[:8])
    more = f"; and {len(out) - 8} more" if len(out) > 8 else ""
    # The list comes last: a long one is cut off.
    what = f"{len(out)} adapters can't be in the bundle; {remedy}. {each}{more}"
    return unsupported(code, what, "adapters")
