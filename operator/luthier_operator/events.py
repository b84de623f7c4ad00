"""Events, posted in the background: a lost one holds nothing up."""

import asyncio
import logging
import os
import secrets
from datetime import UTC, datetime
from typing import Protocol

from luthier_api import API_VERSION, GROUP
from luthier_operator.cluster import Cluster
from luthier_operator.errors import ApiError, ApiUnreachableError
from luthier_operator.resources import EVENTS, Obj, Resource

log = logging.getLogger(__name__)

WAITING = 5_000
NOTE_BYTES = 1024
TRIES = 5


class Note(Protocol):
    """What an Event says."""

    @property
    def reason(self) -> str:
        """CamelCase."""

    @property
    def message(self) -> str:
        """For people."""

    @property
    def warning(self) -> bool:
        """Type Warning instead of Normal."""


class Recorder:
    """Queues Events; `run` posts them."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._queue: asyncio.Queue[Obj] = asyncio.Queue(WAITING)

    def emit(self, resource: Resource, obj: Obj, note: Note) -> None:
        """Post an Event soon. In a flood the newest are dropped."""
        try:
            self._queue.put_nowait(_event(resource, obj, note, datetime.now(UTC)))
        except asyncio.QueueFull:
            log.warning("event dropped: too many wait")

    async def run(self) -> None:
        """Post for ever."""
        while True:
            await self._post(await self._queue.get())

    async def _post(self, event: Obj) -> None:
        for attempt in range(TRIES):
            try:
                await self._cluster.create(EVENTS, event)
                return
            except ApiError as error:
                if error.status not in (429, 500, 502, 503, 504):
                    log.warning("event refused: %s", error)
                    return
            except ApiUnreachableError:
                pass
            await asyncio.sleep(2.0**attempt)


def _event(resource: Resource, obj: Obj, note: Note, now: datetime) -> Obj:
    metadata = obj["metadata"]
    return {
        "apiVersion": "events.k8s.io/v1",
        "kind": "Event",
        "metadata": {
            "name": f"{metadata['name'][:200]}.{secrets.token_hex(8)}",
            "namespace": metadata["namespace"],
        },
        "eventTime": now.strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
        "reportingController": f"{GROUP}/operator",
        "reportingInstance": os.environ.get("POD_NAME", "luthier-operator")[:128],
        "action": "Reconcile",
        "reason": note.reason[:128],
        "note": note.message.encode()[:NOTE_BYTES].decode(errors="ignore"),
        "type": "Warning" if note.warning else "Normal",
        "regarding": {
            "apiVersion": API_VERSION,
            "kind": resource.kind,
            "namespace": metadata["namespace"],
            "name": metadata["name"],
            "uid": metadata["uid"],
            "resourceVersion": metadata["resourceVersion"],
        },
    }
