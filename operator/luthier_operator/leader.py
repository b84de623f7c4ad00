"""Who of the replicas leads: by a Lease that its holder must renew, with client-go's rules.

A holder that can't renew steps down before its Lease runs out for the others. They see it run
out by their own clock, from the moment when they saw it change; nobody compares wall clocks.
"""

import asyncio
import contextlib
import logging
import random
import time
import uuid
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Protocol

from luthier_api import GROUP
from luthier_operator.config import JITTER, Election
from luthier_operator.errors import ApiError, ApiUnreachableError, VersionsWentBackError
from luthier_operator.resources import LEASES, Key, Obj, Resource
from luthier_operator.store import version_of

log = logging.getLogger(__name__)

# Where the holder takes reports. Trusted, since the right to write the Lease is the operator's.
RECEIVER_ANNOTATION = f"{GROUP}/receiver"
# A standby looks so much more often than a holder renews: a Lease that was given up waits for it.
LOOKS_PER_RETRY = 4
NEVER = float("-inf")


class Api(Protocol):
    """What is asked of the API server."""

    async def get(self, resource: Resource, key: Key) -> Obj | None:
        """The object as it is now, or None."""

    async def replace(self, resource: Resource, obj: Obj) -> Obj:
        """Write over exactly the version that the object names, else ApiError 409."""


class StuckError(Exception):
    """What leads doesn't end when it must: only the end of the process is safe."""


def identity_of(pod_name: str) -> str:
    """The name of this process among all that ever hold the Lease."""
    return f"{pod_name}_{uuid.uuid4()}"


class Elector:
    """One replica's part in the election. `clock` gives monotonic seconds."""

    def __init__(
        self,
        api: Api,
        election: Election,
        identity: str,
        receiver: str,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._api = api
        self._election = election
        self._clock = clock
        self._receiver = receiver
        self.identity = identity
        self._seen: Obj = {}  # the Lease's spec, and since when it is so
        self._seen_at = NEVER
        self._seen_receiver = ""
        self._written: Obj | None = (
            None  # the Lease as this replica wrote it: the next write's base
        )
        self._newest = 0  # the Lease's last version
        self._until = NEVER  # so long the last renewal lets this replica lead
        self._task: asyncio.Task[None] | None = None
        self._told = ""

    @property
    def leading(self) -> bool:
        """Whether this replica leads; False at once when its time is over, whoever notices."""
        return self._task is not None and self._clock() < self._until

    @property
    def leader(self) -> str:
        """Who holds the Lease, as far as is known; empty: nobody."""
        seconds = self._seen.get("leaseDurationSeconds") or self._election.lease_seconds
        held = self._clock() < self._seen_at + seconds
        return str(self._seen.get("holderIdentity") or "") if held else ""

    @property
    def receiver(self) -> str | None:
        """Where another replica, which leads, takes reports."""
        return (self._seen_receiver or None) if self.leader not in ("", self.identity) else None

    async def run(self, lead: Callable[[], Awaitable[None]]) -> None:
        """Compete for ever, and run `lead` while leading. Its own end, or error, is the end here.

        A cancellation gives the Lease up. Raises StuckError where `lead` doesn't end in time,
        VersionsWentBackError where what is known is of no use.
        """
        while True:
            try:
                await self._compete()
                ended = await self._lead(lead)
            finally:
                # Also where a write was under way: it may have been heard.
                if self._task is None:
                    await self._release()
            if ended:
                return

    async def _compete(self) -> None:
        while not await self._try():
            pause = self._election.retry_seconds / LOOKS_PER_RETRY
            await asyncio.sleep(pause * random.uniform(1, JITTER))  # noqa: S311 - no secret

    async def _lead(self, lead: Callable[[], Awaitable[None]]) -> bool:
        """Lead until the Lease is lost (False) or `lead` ends (True, or its error)."""
        task = self._task = asyncio.ensure_future(_run(lead))
        log.info("leads as %s", self.identity)
        try:
            await self._hold(task)
            ended = task.done()
        finally:
            self._until = NEVER
            task.cancel()
            margin = self._election.margin_seconds
            await asyncio.wait({task}, timeout=margin)
            if not task.done():
                raise StuckError(f"what leads hasn't ended {margin} s after its cancellation")
            self._task = None
            log.info("leads no longer")
        if ended:
            task.result()
        return ended

    async def _hold(self, task: asyncio.Task[None]) -> None:
        """Renew until the time is over, the Lease another's, or the task done."""
        while (left := self._until - self._clock()) > 0:
            await asyncio.wait({task}, timeout=min(left, self._election.retry_seconds))
            if task.done():
                return
            if not await self._try() and self.leader not in ("", self.identity):
                log.warning("the Lease is held by %s", self.leader)
                return
        log.warning("the Lease wasn't renewed for %d s", self._election.renew_seconds)

    async def _try(self) -> bool:
        """Take or renew the Lease; False where it is another's, or there is no answer."""
        asked = self._clock()
        # Half the time that there is: a request that hangs leaves time for another.
        most = self._election.renew_seconds / 2
        if self._task is not None:
            most = min(most, self._until - asked)
        try:
            async with asyncio.timeout(most):
                if not await self._write():
                    return False
        except (ApiError, ApiUnreachableError, TimeoutError) as error:
            # Of 409 nothing is told: another one was quicker, and the next look shows who.
            if not isinstance(error, ApiError) or error.status != 409:
                self._tell(f"can't take or renew the Lease: {str(error) or 'no answer in time'}")
            return False
        # From before the request: the others count from when they see it.
        self._until = asked + self._election.renew_seconds
        self._told = ""
        return True

    async def _write(self) -> bool:
        """Write this replica's name, unless another's stands there."""
        written, self._written = self._written, None
        if written is not None:
            with contextlib.suppress(ApiError):  # somebody else has written it since: see who
                self._written = await self._api.replace(LEASES, self._taken(written))
        if self._written is None:
            lease = await self._read()
            if lease is not None:
                self._check(lease)
            if lease is None or self.leader not in ("", self.identity):
                return False
            self._written = await self._api.replace(LEASES, self._taken(lease))
        self._check(self._written)
        self._see(self._written)
        return True

    def _check(self, lease: Obj) -> None:
        """Raises VersionsWentBackError: only what is read tells so soon, a watch never. One from a
        version that there isn't yet is silent, and goes on from there as if nothing had been."""
        version = version_of(lease)
        if version < self._newest:
            raise VersionsWentBackError(
                f"the Lease has version {version}, and {self._newest} was known: the API server's "
                "data were put back to an older state"
            )
        self._newest = version

    async def _read(self) -> Obj | None:
        namespace, name = key = (self._election.namespace, self._election.name)
        lease = await self._api.get(LEASES, key)
        if lease is None:
            self._tell(f"there is no Lease {name} in namespace {namespace}: the chart makes it")
            return None
        self._see(lease)
        return lease

    def _see(self, lease: Obj) -> None:
        spec = dict(lease.get("spec") or {})
        if spec != self._seen:
            self._seen, self._seen_at = spec, self._clock()
        annotations = lease["metadata"].get("annotations") or {}
        self._seen_receiver = annotations.get(RECEIVER_ANNOTATION, "")

    def _taken(self, lease: Obj) -> Obj:
        spec = lease.get("spec") or {}
        now = _now()
        if spec.get("holderIdentity") != self.identity:
            transitions = (spec.get("leaseTransitions") or 0) + 1
            spec = {"acquireTime": now, "leaseTransitions": transitions}
        return _changed(
            lease,
            self._receiver,
            {
                **spec,
                "holderIdentity": self.identity,
                "leaseDurationSeconds": self._election.lease_seconds,
                "renewTime": now,
            },
        )

    async def _release(self) -> None:
        """Let another one lead at once, if the Lease is still in this replica's name."""
        try:
            async with asyncio.timeout(self._election.renew_seconds / 2):
                lease = await self._read()
                spec = (lease or {}).get("spec") or {}
                if lease is None or spec.get("holderIdentity") != self.identity:
                    return
                now = _now()
                given_up = {"holderIdentity": "", "leaseDurationSeconds": 1}
                times = {"acquireTime": now, "renewTime": now}
                self._see(
                    await self._api.replace(LEASES, _changed(lease, "", spec | given_up | times))
                )
        except (ApiError, ApiUnreachableError, TimeoutError) as error:
            log.warning(
                "can't give the Lease up, it runs out: %s", str(error) or "no answer in time"
            )

    def _tell(self, words: str) -> None:
        """Once, not at every look."""
        if words != self._told:
            self._told = words
            log.warning("%s", words)


async def _run(lead: Callable[[], Awaitable[None]]) -> None:
    await lead()


def _changed(lease: Obj, receiver: str, spec: Obj) -> Obj:
    metadata = dict(lease["metadata"])
    annotations = dict(metadata.get("annotations") or {})
    annotations.pop(RECEIVER_ANNOTATION, None)
    if receiver:
        annotations[RECEIVER_ANNOTATION] = receiver
    return {**lease, "metadata": metadata | {"annotations": annotations}, "spec": spec}


def _now() -> str:
    """metav1.MicroTime: for people, no decision looks at it."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
