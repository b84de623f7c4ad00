"""The adapters of an order on their way into the package, or out of it."""

import json
import traceback
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from luthier_api.optimizejob import SourceRef
from luthier_api.result import AdapterEnd
from luthier_api.runspec import BundleOrder
from luthier_trainer.bundle.fetch import CONFIG, WEIGHTS, Located, fetch, fetch_ask, locate
from luthier_trainer.bundle.index import AdapterPart, LeftOutPart, Proof, adapter_key
from luthier_trainer.bundle.previous import Previous
from luthier_trainer.bundle.verdict import judge_metric
from luthier_trainer.errors import TrainerError, unsupported
from luthier_trainer.log import log
from luthier_trainer.models.header import BrokenFileError, read_header
from luthier_trainer.packages.genai import compat
from luthier_trainer.packages.genai.base import Base
from luthier_trainer.packages.genai.modules import parse_peft_key
from luthier_trainer.packages.genai.unfit import UnfitError
from luthier_trainer.published.adapterconfig import ConfigError, read_config, resolved
from luthier_trainer.published.ask import Ask


@dataclass(frozen=True)
class Member:
    """An adapter that can be in the package.

    `taken`: its part in the package before, where that is the same; else `adapter` is what is
    built, from the files in `folder`. `ask`: how it is asked.
    """

    located: Located
    key: str
    folder: Path
    taken: AdapterPart | None = None
    adapter: compat.Adapter | None = None
    ask: Ask | None = None

    @property
    def name(self) -> str:
        return self.located.name


class Roll:
    """Who is in the package, and who is left out. `tell` is called whenever more is known."""

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


def require_access(order: BundleOrder) -> None:
    """Raises TrainerError where storage denies access to an adapter, or is down."""
    for number, adapter in enumerate(order.adapters):
        with suppress(UnfitError):  # it would be left out
            locate(adapter, order, f"adapters[{number}].uri")


def examine(
    order: BundleOrder, base: Base, key: str, previous: Previous | None, roll: Roll, folder: Path
) -> list[Member]:
    """Find, fetch and check every adapter of the order; those that pass. `key`: the base's.

    Raises TrainerError where storage denies access or is down.
    """
    passed = []
    for number, adapter in enumerate(order.adapters):
        try:
            located = locate(adapter, order, f"adapters[{number}].uri")
            member = _member(located, base, key, previous, folder / adapter.name)
            failed = previous.failed(member.key) if previous else None
            if failed and _fails_again(failed, order.bundling.max_metric_drop):
                named = {"name": adapter.name, "source": adapter.source}
                roll.leave_out(failed.model_copy(update=named))
                continue
            if member.taken:
                judge_metric(member.taken.proof, order.bundling.max_metric_drop)
        except UnfitError as refused:
            roll.refuse(adapter.name, refused)
        except (TrainerError, OSError, MemoryError):
            raise  # storage, or this pod: no fault of the adapter's
        except Exception as error:
            log(traceback.format_exc())
            roll.refuse(adapter.name, unreadable(error))
        else:
            passed.append(member)
    return passed


def unreadable(error: Exception) -> UnfitError:
    """Whatever an adapter's files make a library raise: it would do so each time."""
    what = f"its files can't be used: {type(error).__name__}: {str(error)[:150]}"
    return UnfitError("BrokenConfig", what, "save the adapter again with peft")


def _member(
    located: Located, base: Base, key: str, previous: Previous | None, folder: Path
) -> Member:
    """Fetched only where it isn't known to be as before. Raises UnfitError, TrainerError."""
    digests: Mapping[str, str] | None = located.digests
    if digests is None or not _taken(adapter_key(key, digests), previous):
        digests = fetch(located, folder)
    own = adapter_key(key, digests)
    taken = _taken(own, previous)
    if taken:
        return Member(located, own, folder, taken=taken, ask=fetch_ask(located))
    adapter = _read(located, folder)
    compat.check(adapter, base)
    # peft reads what was checked, and no pattern.
    (folder / CONFIG).write_text(json.dumps(adapter.config))
    return Member(located, own, folder, adapter=adapter, ask=fetch_ask(located))


def _taken(key: str, previous: Previous | None) -> AdapterPart | None:
    return previous.adapter(key) if previous else None


def _read(located: Located, folder: Path) -> compat.Adapter:
    """Raises UnfitError (BrokenConfig, BrokenWeights)."""
    try:
        found = read_config(folder / CONFIG)
        tensors = read_header(folder / WEIGHTS)
        named = [named[0] for key in tensors if (named := parse_peft_key(key))]
        config = resolved(found, named)
    except BrokenFileError as error:
        raise UnfitError("BrokenWeights", str(error), "save the adapter again") from error
    except ConfigError as error:
        raise UnfitError("BrokenConfig", f"{CONFIG}: {error}", "save the adapter again") from error
    return compat.Adapter(located.name, config, tensors, located.base_digest)


def _fails_again(failed: LeftOutPart, allowed: float | None) -> bool:
    if failed.proof is None:
        return True
    try:
        judge_metric(failed.proof, allowed)
    except UnfitError:
        return True
    return False
