"""The workers: one key of the queue at a time, each failure in its class."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from luthier_operator import metrics
from luthier_operator.errors import ApiError, ApiUnreachableError
from luthier_operator.queue import WorkQueue
from luthier_operator.resources import Key, Resource

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class WorkKey:
    """A resource to reconcile."""

    resource: Resource
    key: Key


Reconcile = Callable[[Key], Awaitable[float | None]]


async def work(queue: WorkQueue[WorkKey], reconcilers: Mapping[Resource, Reconcile]) -> None:
    """Take keys and reconcile them, for ever."""
    while True:
        item = await queue.get()
        metrics.QUEUE_DEPTH.set(queue.depth())
        await _one(queue, reconcilers[item.resource], item)
        # What needs no request never waits: of thousands in turn, as after a start, none would let
        # probes, reports and watches have their turn.
        await asyncio.sleep(0)


async def _one(queue: WorkQueue[WorkKey], reconcile: Reconcile, item: WorkKey) -> None:
    kind, (namespace, name) = item.resource.kind, item.key
    began = time.perf_counter()
    result, again = "ok", None
    try:
        again = await reconcile(item.key)
    except asyncio.CancelledError:
        raise
    except (ApiError, ApiUnreachableError) as error:
        result = "api_error"
        log.warning("retry kind=%s namespace=%s name=%s: %s", kind, namespace, name, error)
    except Exception:
        # A defect must not end the worker: the key comes again, and the log has the place.
        result = "defect"
        log.exception("failed kind=%s namespace=%s name=%s", kind, namespace, name)
    finally:
        metrics.WORK_SECONDS.labels(kind=kind).observe(time.perf_counter() - began)
        metrics.RECONCILES.labels(kind=kind, result=result).inc()
        queue.done(item, failed=result != "ok")
    if again is not None:
        queue.add_after(item, again)
