"""As much of an API server as a reflector speaks to: lists by pages, watches, and their ends.

What a real one can't be made to do on demand: go back to older versions, fall silent, forget its
history, refuse one namespace.
"""

import asyncio
import contextlib
import copy
import json
from collections.abc import AsyncIterator
from typing import Any

from aiohttp import web
from kubernetes.aio.client import Configuration

from luthier_operator.cluster import Cluster
from luthier_operator.http import serve
from luthier_operator.resources import Obj, Resource


class ApiServer:
    """Objects of any kind; every change has a version of its own."""

    def __init__(self) -> None:
        self.version = 100
        self.oldest = 0  # watches from before are too old
        self.silent = False  # open watches tell nothing
        self.away = False  # every connection is cut
        self.refused: dict[str, int] = {}  # path → status
        self.groups: dict[str, dict[str, list[str]]] = {}  # group → version → plurals
        self.requests: list[str] = []
        self.watching = 0
        self.url = ""
        self._objects: dict[tuple[str, str], dict[str, Obj]] = {}  # (plural, namespace) → by name
        self._events: list[tuple[int, str, str, str, Obj]] = []
        self._changed = asyncio.Condition()
        self._cuts = 0

    async def put(self, resource: Resource, namespace: str, name: str, **fields: Any) -> Obj:
        """Create or change an object."""
        self.version += 1
        of_kind = self._objects.setdefault((resource.plural, namespace), {})
        before = of_kind.get(name)
        metadata = {
            "namespace": namespace,
            "name": name,
            "uid": before["metadata"]["uid"] if before else f"{name}-{self.version}",
            **fields.pop("metadata", {}),
            "resourceVersion": str(self.version),
        }
        of_kind[name] = obj = {"metadata": metadata, **fields}
        await self._tell("MODIFIED" if before else "ADDED", resource, namespace, obj)
        return obj

    async def delete(self, resource: Resource, namespace: str, name: str) -> None:
        """Delete an object, and tell the watches."""
        self.version += 1
        obj = copy.deepcopy(self._objects[(resource.plural, namespace)].pop(name))
        obj["metadata"]["resourceVersion"] = str(self.version)
        await self._tell("DELETED", resource, namespace, obj)

    def lose(self, resource: Resource, namespace: str, name: str) -> None:
        """Delete an object without a word."""
        self.version += 1
        del self._objects[(resource.plural, namespace)][name]

    async def bookmark(self, resource: Resource, namespace: str) -> None:
        """Tell the watches of a kind how far they are."""
        self.version += 1
        await self._tell("BOOKMARK", resource, namespace, {"metadata": {}})

    async def forget_history(self) -> None:
        """As after a compaction: open watches end, and none can go on from where it was."""
        self.version += 1
        self.oldest = self.version
        await self.cut()

    async def cut(self) -> None:
        """End all watches in the middle."""
        async with self._changed:
            self._cuts += 1
            self._changed.notify_all()

    def count(self, *words: str) -> int:
        """How many requests so far had all of these words."""
        return sum(all(word in request for word in words) for request in self.requests)

    async def _tell(self, event: str, resource: Resource, namespace: str, obj: Obj) -> None:
        obj["metadata"].setdefault("resourceVersion", str(self.version))
        async with self._changed:
            self._events.append((self.version, resource.plural, namespace, event, obj))
            self._changed.notify_all()

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.requests.append(str(request.rel_url))
        if self.away:
            if request.transport is not None:
                request.transport.abort()
            raise web.HTTPServiceUnavailable
        status = self.refused.get(request.path)
        if status is not None:
            return web.json_response({"reason": "No", "message": "no"}, status=status)
        parts = request.path.strip("/").split("/")
        if len(parts) == 1:
            return web.json_response({"versions": [], "groups": []})
        if parts[0] == "apis" and len(parts) <= 3:
            return self._discovery(parts[1:])
        namespace = parts[parts.index("namespaces") + 1] if "namespaces" in parts[:-1] else ""
        if "watch" in request.query:
            return await self._watch(request, parts[-1], namespace)
        return self._list(request, parts[-1], namespace)

    def _discovery(self, parts: list[str]) -> web.Response:
        group = self.groups.get(parts[0])
        if group is None or (len(parts) > 1 and parts[1] not in group):
            return web.json_response({"reason": "NotFound"}, status=404)
        if len(parts) > 1:
            return web.json_response({"resources": [{"name": it} for it in group[parts[1]]]})
        versions = [{"version": it} for it in group]
        return web.json_response({"versions": versions, "preferredVersion": versions[0]})

    def _list(self, request: web.Request, plural: str, namespace: str) -> web.Response:
        first, limit = int(request.query.get("continue", "0")), int(request.query["limit"])
        found = [
            obj
            for (of, where), by_name in self._objects.items()
            if of == plural and namespace in ("", where)
            for obj in by_name.values()
        ]
        more = str(first + limit) if first + limit < len(found) else ""
        metadata = {"resourceVersion": str(self.version), "continue": more}
        return web.json_response({"metadata": metadata, "items": found[first : first + limit]})

    async def _watch(self, request: web.Request, plural: str, namespace: str) -> web.StreamResponse:
        since = int(request.query["resourceVersion"])
        answer = web.StreamResponse(headers={"Content-Type": "application/json"})
        await answer.prepare(request)
        self.watching += 1
        try:
            with contextlib.suppress(ConnectionError):
                await self._stream(request, answer, plural, namespace, since)
        finally:
            self.watching -= 1
        return answer

    async def _stream(
        self,
        request: web.Request,
        answer: web.StreamResponse,
        plural: str,
        namespace: str,
        since: int,
    ) -> None:
        """Tell events until all watches are cut, or the client has gone."""
        if since < self.oldest:
            gone = {"code": 410, "reason": "Expired", "message": "too old resource version"}
            await answer.write(_line("ERROR", gone))
            return
        seen, cuts = 0, self._cuts
        while request.transport is not None:
            for version, of, where, event, obj in self._events[seen:]:
                seen += 1
                mine = of == plural and namespace in ("", where) and version > since
                if mine and not self.silent:
                    await answer.write(_line(event, obj))
            if self._cuts != cuts:
                request.transport.abort()
                return
            async with self._changed:
                if self._cuts == cuts and seen == len(self._events):
                    with contextlib.suppress(TimeoutError):
                        await asyncio.wait_for(self._changed.wait(), 0.05)


def _line(event: str, obj: Obj) -> bytes:
    return json.dumps({"type": event, "object": obj}).encode() + b"\n"


@contextlib.asynccontextmanager
async def client_of(api: ApiServer) -> AsyncIterator[Cluster]:
    """A client of that API server."""
    app = web.Application()
    app.router.add_get("/{path:.*}", api.answer)
    served = await serve(app, 0, host="127.0.0.1")
    api.url = f"http://127.0.0.1:{served.port}"
    cluster = Cluster(Configuration(host=api.url))
    try:
        yield cluster
    finally:
        await cluster.close()
        await api.cut()
        await served.cleanup()
