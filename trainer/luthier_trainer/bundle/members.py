"""The adapters of an order on their way into the package, or out of it."""

import json
import traceback
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from luthier_api.runspec import BundleOrder
from luthier_trainer.bundle.fetch import CONFIG, WEIGHTS, Located, fetch, fetch_ask, locate
from luthier_trainer.bundle.index import AdapterPart, LeftOutPart, adapter_key
from luthier_trainer.bundle.membership import Membership
from luthier_trainer.bundle.previous import Previous
from luthier_trainer.bundle.verdict import judge_metric
from luthier_trainer.errors import TrainerError
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


def require_access(order: BundleOrder) -> None:
    """Raises TrainerError where storage denies access to an adapter, or is down."""
    for number, adapter in enumerate(order.adapters):
        with suppress(UnfitError):  # it would be left out
            locate(adapter, order, f"adapters[{number}].uri")


def examine(
    order: BundleOrder,
    base: Base,
    key: str,
    previous: Previous | None,
    membership: Membership,
    folder: Path,
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
                membership.leave_out(failed.model_copy(update=named))
                continue
            if member.taken:
                judge_metric(member.taken.proof, order.bundling.max_metric_drop)
        except UnfitError as refused:
            membership.refuse(adapter.name, refused)
        except (TrainerError, OSError, MemoryError):
            raise  # storage, or this pod: no fault of the adapter's
        except Exception as error:
            log(traceback.format_exc())
            membership.refuse(adapter.name, unreadable(error))
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
