"""How long pods have run, as they are seen to. Pure.

What a node's clock says counts within the time since the last look only: it may be off by a day.
"""

from collections.abc import Callable
from datetime import datetime

from luthier_operator.resources import Obj
from luthier_operator.run.observe import parse_pod
from luthier_operator.usage.holding import Holding, Payer

# The payer, from when, until when, GPUs, CPUs.
Charge = Callable[[Payer, datetime, datetime, float, float], None]


class Meter:
    """Charges the time of each pod once. All before `until` has been charged before."""

    def __init__(self, until: datetime, charge: Charge) -> None:
        self._until, self._charge = until, charge
        self._open: dict[str, tuple[Holding, datetime]] = {}
        self._over: set[str] = set()

    @property
    def payers(self) -> set[Payer]:
        """Of the pods that run."""
        return {holding.payer for holding, _ in self._open.values()}

    def see(self, obj: Obj, holding: Holding, now: datetime) -> None:
        """What a pod is like now."""
        pod = parse_pod(obj)
        if pod.uid in self._over:
            return
        if pod.uid not in self._open and pod.started is not None:
            self._open[pod.uid] = (holding, self._within(pod.started, now) or now)
        if not pod.running and (pod.finished is not None or not pod.alive):
            self._close(pod.uid, self._within(pod.finished, now) or now)
            self._over.add(pod.uid)

    def gone(self, uid: str, now: datetime) -> None:
        """A pod isn't there any more."""
        self._close(uid, now)
        self._over.discard(uid)

    def advance(self, now: datetime) -> None:
        """Charge all that runs up to now."""
        for uid, (holding, since) in self._open.items():
            if now > since:
                self._charge(holding.payer, since, now, holding.gpus, holding.cpus)
                self._open[uid] = (holding, now)
        self._until = max(self._until, now)

    def _close(self, uid: str, end: datetime) -> None:
        holding, since = self._open.pop(uid, (None, end))
        if holding is not None and end > since:
            self._charge(holding.payer, since, end, holding.gpus, holding.cpus)

    def _within(self, text: str | None, now: datetime) -> datetime | None:
        """A time by a node's clock, no earlier than what has been charged, no later than now."""
        try:
            told = datetime.fromisoformat(text) if text else None
        except ValueError:
            return None
        if told is None or told.tzinfo is None:
            return None
        return min(max(told, self._until), max(now, self._until))
