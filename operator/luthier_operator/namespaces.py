"""Which namespaces are served: those that are named, and those whose labels are selected."""

import asyncio
from collections.abc import Callable, Iterable

from luthier_operator.cluster import Cluster
from luthier_operator.reflector import Reflector
from luthier_operator.resources import NAMESPACES, Obj, Resource, key_of
from luthier_operator.store import Store


class Namespaces:
    """Tells `enter` of each namespace as it comes to be served, and `leave` when it isn't any more.

    Without names and selector it is one: None, which stands for all.
    """

    def __init__(
        self,
        cluster: Cluster,
        named: Iterable[str],
        selector: str,
        *,
        enter: Callable[[str | None], None],
        leave: Callable[[str], None],
    ) -> None:
        self._named, self._selector = frozenset(named), selector
        self._enter, self._leave = enter, leave
        self._begun = asyncio.Event()
        self._selected = Store()
        self._reflector = Reflector(
            cluster, self._selected, NAMESPACES, None, self._changed, labels=selector
        )

    async def run(self) -> None:
        """Follow the namespaces' labels, for ever."""
        for name in sorted(self._named):
            self._enter(name)
        if not self._named and not self._selector:
            self._enter(None)
        self._begun.set()
        if self._selector:
            await self._reflector.run()
        await asyncio.Event().wait()

    async def known(self) -> None:
        """Wait until each that is served has been entered."""
        await self._begun.wait()
        if self._selector:
            await self._reflector.settled.wait()

    def _changed(self, _: Resource, obj: Obj) -> None:
        key = key_of(obj)
        name = key[1]
        if name in self._named:
            return
        if self._selected.get(NAMESPACES, key) is not None:
            self._enter(name)
        else:
            self._leave(name)
