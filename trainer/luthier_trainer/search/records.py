"""The trials of a search in storage: who works at which, how far it is, and what came of it.

Nothing else is shared: workers that come and go find here what is left to do. A trial is claimed
by a conditional write, and its record is written by the worker that holds it alone. A worker that
dies is followed by another pod of its index, which takes its trial back; what an earlier attempt
left behind is anybody's.
"""

import json
import os
import re
import uuid
from datetime import UTC, datetime
from typing import Literal

from pydantic import ValidationError

from luthier_api.meta import Model
from luthier_api.runspec import RunIdentity
from luthier_trainer.documents import DocumentError, parse
from luthier_trainer.errors import Superseded, output_unusable
from luthier_trainer.storage.objectstore import ObjectStore

FOLDER = "trials"
_CLOSING = f"{FOLDER}/closing.json"
_RECORD = re.compile(rf"{FOLDER}/(\d+)/trial\.json")
State = Literal["Running", "Complete", "Pruned", "Failed"]


class Take(Model):
    """A pod that worked at a trial. `step`: where it began; without an outcome it died, or is at
    it."""

    pod: str
    step: int = 0
    outcome: str | None = None


class Holder(Model):
    """Which worker of which attempt."""

    uid: str
    attempt: int
    worker: int


class Record(Model):
    """A trial. `rungs`: the objective by the step of each rung that it came to."""

    number: int
    settings: dict[str, float | str]
    held_by: Holder
    state: State = "Running"
    takes: list[Take] = []
    step: int = 0
    value: float | None = None
    rungs: dict[int, float] = {}
    metrics: dict[str, float] = {}
    error: str | None = None
    seconds: float = 0.0
    started: str
    ended: str | None = None

    @property
    def measured(self) -> bool:
        """Whether it ended with a value that others are compared with."""
        return self.state in ("Complete", "Pruned") and self.value is not None


class Closing(Model):
    """Which worker publishes, and the best trial's number."""

    held_by: Holder
    best: int


def folder_of(number: int) -> str:
    """Key of a trial's folder."""
    return f"{FOLDER}/{number:04d}"


class Records:
    """The records below a revision's folder, as one worker sees and writes them."""

    def __init__(self, store: ObjectStore, run: RunIdentity, worker: int) -> None:
        self._store = store
        self.holder = Holder(uid=run.uid, attempt=run.attempt, worker=worker)
        self._pod = os.environ.get("POD_NAME") or os.environ.get("POD_UID") or uuid.uuid4().hex
        self._known: dict[str, tuple[str, Record]] = {}

    def read(self) -> list[Record]:
        """All of them, by number; what hasn't changed isn't read again."""
        found = {}
        for entry in self._store.entries(f"{FOLDER}/"):
            if _RECORD.fullmatch(entry.key) is None:
                continue
            known = self._known.get(entry.key)
            if known is None or known[0] != entry.etag:
                data = self._store.read(entry.key)
                if data is None:  # given up meanwhile
                    continue
                known = (entry.etag, self._parsed(entry.key, data))
            found[entry.key] = known
        self._known = found
        return sorted((record for _, record in found.values()), key=lambda it: it.number)

    def may_take(self, record: Record) -> bool:
        """Whether it is this worker's to work at: a pod of its index began it and is gone, or an
        earlier attempt left it, ended by a failure or not at all."""
        if record.state not in ("Running", "Failed"):
            return False
        if self._is_of_this_attempt(record.held_by):
            return record.state == "Running" and record.held_by.worker == self.holder.worker
        return self._is_over(record.held_by)

    def _is_of_this_attempt(self, its: Holder) -> bool:
        return (its.uid, its.attempt) == (self.holder.uid, self.holder.attempt)

    def _is_over(self, its: Holder) -> bool:
        """Whether nobody of that attempt works any more: it is an earlier one, or another
        resource's, whose output this one has taken."""
        return its.uid != self.holder.uid or its.attempt < self.holder.attempt

    def claim(self, number: int, settings: dict[str, float | str]) -> Record | None:
        """Begin a trial; None where another worker was faster."""
        record = Record(
            number=number,
            settings=settings,
            held_by=self.holder,
            takes=[Take(pod=self._pod)],
            started=_now(),
        )
        return record if self._store.write_once(_key(number), _written(record)) else None

    def take(self, record: Record, step: int) -> Record | None:
        """Go on with one that `may_take` allows, from a checkpoint's step; None where another
        worker was faster. What failed in an earlier attempt is tried as if it were new."""
        tagged = self._store.read_tagged(_key(record.number))
        if tagged is None or self._parsed(_key(record.number), tagged[0]) != record:
            return None
        same = record.held_by == self.holder
        anew = {"step": 0, "rungs": {}, "value": None} if record.state == "Failed" else {}
        taken = record.model_copy(
            update={
                "state": "Running",
                "held_by": self.holder,
                "takes": [*(record.takes if same else []), Take(pod=self._pod, step=step)],
                "error": None,
                "ended": None,
                **anew,
            }
        )
        done = self._store.replace(_key(record.number), _written(taken), tagged[1])
        return taken if done else None

    def write(self, record: Record, **changes: object) -> Record:
        """Change the record of a trial that this pod holds. Raises Superseded where another one
        has taken it since."""
        key = _key(record.number)
        tagged = self._store.read_tagged(key)
        if tagged is None or self._parsed(key, tagged[0]) != record:
            raise Superseded
        changed = record.model_copy(update=changes)
        if not self._store.replace(key, _written(changed), tagged[1]):
            raise Superseded
        return changed

    def end(self, record: Record, state: State, **changes: object) -> Record:
        """Note how a trial ended."""
        takes = _with_outcome(record.takes, "Ended")
        return self.write(record, state=state, takes=takes, ended=_now(), **changes)

    def release(self, record: Record) -> Record:
        """Note that this pod was told to stop, and didn't die of the trial."""
        return self.write(record, takes=_with_outcome(record.takes, "Interrupted"))

    def drop(self, record: Record) -> None:
        """Give a claim up of which nothing came."""
        self._store.delete([_key(record.number)])

    def taken(self, records: list[Record]) -> int:
        """How often a pod of this worker began or took up a trial in this attempt."""
        return sum(len(it.takes) for it in records if it.held_by == self.holder)

    def closing(self) -> Closing | None:
        """Which worker publishes, once that is decided."""
        data = self._store.read(_CLOSING)
        return None if data is None else self._closing(data)

    def is_closing(self) -> bool:
        """Whether a worker of this attempt publishes."""
        closing = self.closing()
        return closing is not None and self._is_of_this_attempt(closing.held_by)

    def close(self, best: int) -> bool:
        """Whether it is this worker's to publish: at most one's."""
        wanted = Closing(held_by=self.holder, best=best)
        if self._store.write_once(_CLOSING, _written(wanted)):
            return True
        tagged = self._store.read_tagged(_CLOSING)
        if tagged is None:
            return False
        its = self._closing(tagged[0]).held_by
        if its == self.holder:  # of a pod before this one
            return True
        return self._is_over(its) and self._store.replace(_CLOSING, _written(wanted), tagged[1])

    def go_on(self) -> None:
        """Take the decision to publish back: a trial has begun meanwhile."""
        self._store.delete([_CLOSING])

    def prune(self, numbers: list[int]) -> None:
        """Delete all that trials have beside their records: checkpoints, and what is in them."""
        for number in numbers:
            prefix = f"{folder_of(number)}/"
            keys = [entry.key for entry in self._store.entries(prefix)]
            if beside := [key for key in keys if key != _key(number)]:
                # A checkpoint's manifest first: without it nobody reads the rest.
                self._store.delete(sorted(beside, key=lambda key: not key.endswith(".json")))

    def _parsed(self, key: str, data: bytes) -> Record:
        try:
            return Record.read(parse(data))
        except (DocumentError, ValidationError) as error:
            raise output_unusable(self._store.uri, key, error) from error

    def _closing(self, data: bytes) -> Closing:
        try:
            return Closing.read(parse(data))
        except (DocumentError, ValidationError) as error:
            raise output_unusable(self._store.uri, _CLOSING, error) from error


def _key(number: int) -> str:
    return f"{folder_of(number)}/trial.json"


def _written(document: Model) -> bytes:
    return json.dumps(document.to_json(), indent=2).encode()


def _with_outcome(takes: list[Take], outcome: str) -> list[Take]:
    return [*takes[:-1], *(it.model_copy(update={"outcome": outcome}) for it in takes[-1:])]


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
