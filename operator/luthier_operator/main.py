"""The process: settings, servers, store, queue and kopf, put together."""

import asyncio
import gc
import logging
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

from kubernetes.aio.client import Configuration
from prometheus_client import REGISTRY, generate_latest

from luthier_api.platform import Platform
from luthier_api.usage import Total
from luthier_operator import handlers, metrics, runs, series
from luthier_operator.cluster import Cluster, load_configuration
from luthier_operator.config import ConfigError, Settings, load_platform, read_settings
from luthier_operator.connections import Limits
from luthier_operator.events import Recorder
from luthier_operator.forwarding import Forward, receiver_url
from luthier_operator.http import health_app, metrics_app, progress_app, serve
from luthier_operator.kinds import KINDS
from luthier_operator.leader import Elector, identity_of
from luthier_operator.pace import Pace
from luthier_operator.page import Page
from luthier_operator.pools import Pools
from luthier_operator.queue import WorkQueue
from luthier_operator.receiver import Receiver
from luthier_operator.reports import Reports
from luthier_operator.resources import (
    FINE_TUNE_JOBS,
    JOB_SETS,
    JOBS,
    OWNERS,
    Key,
    Obj,
    Resource,
    key_of,
)
from luthier_operator.run.concurrency import Slots
from luthier_operator.run.enquiry import Warnings
from luthier_operator.run.reconcile import Kind, Reconciler
from luthier_operator.store import Store
from luthier_operator.supervise import causes, together
from luthier_operator.usage import series as usage_series
from luthier_operator.usage.keeper import Keeper
from luthier_operator.watches import Watches
from luthier_operator.work import Reconcile, WorkKey, work

log = logging.getLogger(__name__)

# So long a scrape may take: rendering ten thousand runs takes some seconds.
SCRAPE_SECONDS = 60.0
# What is read becomes many small objects without cycles, most of which stay. By Python's defaults
# all of them are searched for garbage again and again: more than half of a start's CPU time.
COLLECT_AFTER = (50_000, 20, 50)


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
        self._pace = Pace(lambda: self._store.running)
        self._recorder = Recorder(self._cluster)
        self._warnings = Warnings(self._cluster)
        self._elector = Elector(
            self._cluster,
            settings.election,
            identity_of(settings.pod_name),
            receiver_url(settings.pod_ip, settings.progress_port),
        )
        metrics.LEADER.set_function(lambda: float(self._elector.leading))
        self._forward = Forward(lambda: self._elector.receiver)
        self._watches = Watches(
            self._cluster,
            self._store,
            settings.namespaces,
            settings.namespace_selector,
            self._changed,
            self._enqueue_all,
        )
        self._usage = Keeper(
            self._cluster,
            self._store,
            platform,
            settings.election.namespace,
            settings.election.name,
            settings.usage_seconds,
            settings.election.margin_seconds / 2,
        )
        self._pools = Pools(self._cluster, self._store, platform, lambda: self._watches.namespaces)
        self._slots = Slots(self._store.live, platform, self._add)
        self._receiver = Receiver(
            self._cluster,
            self._store,
            self._reports,
            self._pace,
            ready=lambda: self._ready,
            look=self._look,
            elsewhere=lambda: None if self._elector.leading else self._forward,
        )

        def reconciler(kind: Kind[Any, Any, Any]) -> Reconcile:
            return Reconciler(
                kind,
                self._cluster,
                self._store,
                self._reports,
                self._recorder,
                platform,
                self._watches,
                self._pace,
                slots=self._slots,
                warnings=self._warnings,
                written=self._follow,
            )

        self._reconcilers: Callable[[], dict[Resource, Reconcile]] = lambda: {
            kind.resource: reconciler(kind) for kind in KINDS
        }
        self._known: list[runs.Known] = []
        self._used: list[Total] = []

        def render() -> bytes:
            shown = runs.samples(self._known, platform, datetime.now(UTC))
            used = usage_series.text_of(self._used)
            return generate_latest(REGISTRY) + series.text_of(shown) + used

        self._page = Page(self._take, render)

    async def run(self) -> None:
        """Run until SIGTERM, or raise where only a new process helps."""
        await handlers.run(self._phases, self._configuration)

    async def _phases(self) -> None:
        """Serve the ports, warm the store while watching goes on, then lead or stand by."""
        try:
            async with self._ports():
                await together({"watches": self._watches.run(), "work": self._warm_and_lead()})
        finally:
            await self._forward.close()
            await self._cluster.close()

    @asynccontextmanager
    async def _ports(self) -> AsyncIterator[None]:
        settings = self._settings
        ports = [
            await serve(
                metrics_app(self._page), settings.metrics_port, Limits(lifetime=SCRAPE_SECONDS)
            ),
            await serve(health_app(lambda: "", self._waiting), settings.health_port),
            await serve(progress_app(self._receiver.routes), settings.progress_port),
        ]
        try:
            yield
        finally:
            self._ready = False
            await asyncio.gather(*(port.cleanup() for port in ports))

    async def _warm_and_lead(self) -> None:
        await self._watches.warm()
        # What the store holds by now needs no searching.
        gc.freeze()
        self._ready = True
        log.info("ready")
        await self._elector.run(self.lead)

    async def lead(self) -> None:
        """Work on what the store holds, until cancelled. What is written is written here."""
        # What was remembered of an earlier time as leader is older than what another one wrote.
        self._reports.clear()
        self._pace.clear()
        reconcilers = self._reconcilers()
        self._slots.rebuild(
            (resource, obj) for resource in OWNERS for _, obj in self._store.all(resource)
        )
        self._enqueue_all(None)
        workers = range(1, self._settings.workers + 1)
        try:
            await together(
                {f"worker {n}": work(self._queue, reconcilers) for n in workers}
                | {
                    "recorder": self._recorder.run(),
                    "usage": self._usage.run(),
                    "pools": self._pools.run(),
                }
            )
        finally:
            metrics.QUEUE_DEPTH.set(0)

    def _waiting(self) -> str:
        return "" if self._ready else "the store isn't filled yet"

    def _take(self) -> None:
        # One replica's series of the runs are enough, and reports reach the leader alone.
        now, leading = datetime.now(UTC), self._elector.leading
        self._known = runs.take(self._store, self._reports, now) if leading else []
        self._used = self._usage.shown if leading else []

    def _look(self, resource: Resource, key: Key, seconds: float) -> None:
        """Have a resource looked at, in so many seconds."""
        if seconds <= 0:
            self._add(resource, key)
        elif self._elector.leading:
            self._queue.add_after(WorkKey(resource, key), seconds)

    def _enqueue_all(self, namespace: str | None) -> None:
        """Put every resource of a namespace, or of all, on the queue."""
        for resource in OWNERS:
            for key, _ in self._store.all(resource):
                if namespace in (None, key[0]):
                    self._add(resource, key)

    def _add(self, resource: Resource, key: Key) -> None:
        # Half of a namespace's objects would be decided on wrongly; all come once it is complete,
        # and once this replica leads.
        if self._elector.leading and not self._watches.filling(key[0]):
            self._queue.add(WorkKey(resource, key))

    def _changed(self, resource: Resource, obj: Obj) -> None:
        """Put the resource that an object belongs to on the queue."""
        self._usage.see(resource, obj)
        if resource in OWNERS:
            self._add(resource, key_of(obj))
            self._follow(resource, obj)
            return
        if resource in (JOBS, JOB_SETS):
            removed = self._store.get(resource, key_of(obj)) is None
            self._slots.advance(key_of(obj)[0], removed=removed)
        if owner := self._store.owner(obj):
            self._add(owner[0], key_of(owner[1]))

    def _follow(self, resource: Resource, obj: Obj) -> None:
        """Put what takes the result of a FineTuneJob on the queue."""
        if resource == FINE_TUNE_JOBS:
            for follower, key in self._store.followers(key_of(obj)):
                self._add(follower, key)


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
    gc.set_threshold(*COLLECT_AFTER)
    try:
        asyncio.run(_run(settings, platform))
    except asyncio.CancelledError:
        pass
    except Exception as error:
        # A part of the process can't go on: a new one starts with a fresh list.
        log.exception("the operator ends, to be started again")
        for cause in causes(error):
            log.critical("why: %s: %s", type(cause).__name__, cause)
        return 1
    return 0
