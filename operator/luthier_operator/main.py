"""The process: settings, servers, store, queue and kopf, put together."""

import asyncio
import logging
import socket
import sys
from collections.abc import Coroutine
from datetime import UTC, datetime
from typing import Any

import kopf
from kubernetes.aio.client import Configuration
from prometheus_client import REGISTRY

from luthier_api.platform import Platform
from luthier_operator import metrics, runs
from luthier_operator.adapterbundle.kind import ADAPTER_BUNDLE
from luthier_operator.cluster import Cluster, load_configuration
from luthier_operator.config import ConfigError, Settings, load_platform, read_settings
from luthier_operator.events import Recorder
from luthier_operator.finetunejob.kind import FINE_TUNE_JOB
from luthier_operator.handlers import build_registry, build_settings
from luthier_operator.http import health_app, metrics_app, progress_app, serve
from luthier_operator.optimizejob.kind import OPTIMIZE_JOB
from luthier_operator.progress import Receiver
from luthier_operator.queue import WorkQueue
from luthier_operator.relist import Lister
from luthier_operator.reports import Reports
from luthier_operator.resources import (
    FINE_TUNE_JOBS,
    OWNERS,
    UID_LABEL,
    Obj,
    Resource,
    key_of,
)
from luthier_operator.run.reconcile import Kind, Reconciler
from luthier_operator.store import Store
from luthier_operator.work import Reconcile, WorkKey, work

log = logging.getLogger(__name__)


class Operator:
    """One operator process."""

    def __init__(
        self, settings: Settings, platform: Platform, configuration: Configuration
    ) -> None:
        self._settings = settings
        self._configuration = configuration
        self._ready = False
        self._cluster = Cluster(configuration)
        self._store = Store()
        self._queue: WorkQueue[WorkKey] = WorkQueue()
        self._reports = Reports()
        self._recorder = Recorder(self._cluster)
        self._lister = Lister(self._cluster, self._store, settings.namespaces, self._changed)
        self._receiver = Receiver(
            self._cluster,
            self._store,
            self._reports,
            ready=lambda: self._ready,
            changed=lambda resource, key: self._queue.add(WorkKey(resource, key)),
        )

        def reconciler(kind: Kind[Any, Any, Any]) -> Reconcile:
            return Reconciler(
                kind,
                self._cluster,
                self._store,
                self._reports,
                self._recorder,
                platform,
                written=self._follow,
            )

        self._reconcilers: dict[Resource, Reconcile] = {
            kind.resource: reconciler(kind)
            for kind in (FINE_TUNE_JOB, OPTIMIZE_JOB, ADAPTER_BUNDLE)
        }
        REGISTRY.register(
            metrics.RunCollector(
                lambda: runs.samples(self._store, self._reports, platform, datetime.now(UTC))
            )
        )

    async def run(self) -> None:
        """Run until SIGTERM, or raise where only a new process helps."""
        settings = self._settings
        runners = [
            await serve(metrics_app(REGISTRY), settings.metrics_port),
            await serve(health_app(self._alive, self._waiting), settings.health_port),
            await serve(progress_app(self._receiver.routes), settings.progress_port),
        ]
        tasks: list[asyncio.Task[None]] = []
        try:
            await self._lister.fill()
            # Before kopf starts: it takes tasks that come later for its own, and ends them.
            tasks = [asyncio.create_task(each) for each in self._background()]
            await asyncio.sleep(0)
            self._ready = True
            log.info("ready")
            await kopf.operator(
                registry=build_registry(lambda: self._configuration, self._seen),
                settings=build_settings(),
                # kopf would look for the user's name, which a container's uid need not have.
                identity=socket.gethostname(),
                clusterwide=not settings.namespaces,
                namespaces=settings.namespaces,
            )
        finally:
            self._ready = False
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await asyncio.gather(*(runner.cleanup() for runner in runners))
            await self._cluster.close()

    def _background(self) -> list[Coroutine[Any, Any, None]]:
        workers = [work(self._queue, self._reconcilers) for _ in range(self._settings.workers)]
        return [
            *workers,
            self._lister.run(self._settings.relist_seconds),
            self._recorder.run(),
        ]

    def _alive(self) -> str:
        dead = self._lister.dead
        return f"the watch has stopped telling about: {', '.join(dead)}" if dead else ""

    def _waiting(self) -> str:
        return "" if self._ready else "the store isn't filled yet"

    def _seen(self, resource: Resource, event: str | None, obj: Obj) -> None:
        metrics.WATCH_EVENTS.labels(resource=resource.plural).inc()
        if event == "DELETED":
            self._store.remove(resource, obj)
            self._changed(resource, obj)
        elif self._store.put(resource, obj):
            self._changed(resource, obj)

    def _changed(self, resource: Resource, obj: Obj) -> None:
        """Put the resource that an object belongs to on the queue."""
        if resource in OWNERS:
            self._queue.add(WorkKey(resource, key_of(obj)))
            self._follow(resource, obj)
            return
        label = (obj["metadata"].get("labels") or {}).get(UID_LABEL, "")
        owner = self._store.find(label)
        if owner is not None:
            self._queue.add(WorkKey(owner[0], key_of(owner[1])))

    def _follow(self, resource: Resource, obj: Obj) -> None:
        """Put what takes the result of a FineTuneJob on the queue."""
        if resource == FINE_TUNE_JOBS:
            for follower, key in self._store.followers(key_of(obj)):
                self._queue.add(WorkKey(follower, key))


async def _run(settings: Settings, platform: Platform) -> None:
    await Operator(settings, platform, await load_configuration()).run()


def main() -> int:
    """Run the operator; the exit code of the process."""
    try:
        settings = read_settings()
        platform = load_platform(settings.config)
    except ConfigError as error:
        print(error, file=sys.stderr)
        return 2
    logging.basicConfig(
        level=settings.log_level, format="%(asctime)s %(levelname)s %(name)s %(message)s"
    )
    logging.getLogger("kopf").setLevel(logging.WARNING)
    try:
        asyncio.run(_run(settings, platform))
    except asyncio.CancelledError:
        pass
    except Exception:
        # The watches can't go on in this process: a new one starts with a fresh list.
        log.exception("the operator ends, to be started again")
        return 1
    return 0
