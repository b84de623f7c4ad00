"""What every pod of a run leaves in storage: who ran, from where, and how it ended.

The records tell failures from disruptions (Kubernetes' own states don't have them all),
end a run whose pods die without progress, and fence off a pod that was replaced but
still runs.
"""

import json
import os
import time
import uuid
from datetime import UTC, datetime
from itertools import chain
from typing import Protocol

from pydantic import ValidationError

from luthier_api.meta import Model
from luthier_api.result import ExitCode
from luthier_api.runspec import RunIdentity
from luthier_api.runstatus import Restarts, Usage
from luthier_trainer.documents import DocumentError, parse
from luthier_trainer.errors import OUT_OF_MEMORY, Superseded, TrainerError, output_unusable
from luthier_trainer.storage.objectstore import ObjectStore

FOLDER = "attempts"
POLL_SECONDS = 2.0
_PODS_WITHOUT_PROGRESS = 2
# Where pods died that came no further, by the kind of run.
_NO_FURTHER = {
    "FineTuneJob": "after step {reached} without a newer checkpoint",
    "OptimizeJob": "after {reached} finished candidates without finishing another",
    "AdapterBundle": "after {reached} finished parts without finishing another",
}


class AttemptRecord(Model):
    """One pod. `ordinal` rises with every pod that starts on this output. A step is one of
    training, or a part of the work that is finished, such as a candidate."""

    uid: str
    pod: str
    attempt: int
    ordinal: int
    started_at: str
    resumed_from_step: int = 0
    step: int = 0
    usage: Usage = Usage()
    ended_at: str | None = None
    outcome: str | None = None  # Succeeded, Failed or Interrupted
    code: str | None = None


class Ledger(Protocol):
    """Where a training notes how far it is, and learns that it isn't its turn any more."""

    @property
    def usage(self) -> Usage: ...

    def fence(self) -> None: ...

    def resume_from(self, step: int) -> None: ...

    def advance(self, step: int, usage: Usage) -> None: ...

    def end(self, outcome: str, code: str | None, usage: Usage) -> None: ...


class Attempts:
    """The records below an output, and this pod's own."""

    def __init__(self, store: ObjectStore, run: RunIdentity, part: int | None = None) -> None:
        """`part`: which of a run's pods that work beside each other it is, where it has several."""
        self._store = store
        self._run = run
        self._folder = FOLDER if part is None else f"{FOLDER}/{part}"
        self._names = self._listed()
        self.earlier = self._read_all()
        # Of the other parts, by their folder, as of when they were last read.
        self.beside: dict[str, list[AttemptRecord]] = {}
        if part is not None:
            self.read_beside()
        if any(r.uid == run.uid and r.attempt > run.attempt for r in self.earlier):
            raise Superseded
        pod = os.environ.get("POD_UID") or uuid.uuid4().hex
        self._name = f"{self._folder}/{pod}.json"
        if self._name in self._names:  # the container was restarted in its pod
            self._name = f"{self._folder}/{pod}-{uuid.uuid4().hex[:8]}.json"
        self.own = AttemptRecord(
            uid=run.uid,
            pod=os.environ.get("POD_NAME") or pod,
            attempt=run.attempt,
            ordinal=1 + max((record.ordinal for record in self.earlier), default=0),
            started_at=_now(),
        )
        self._began = False

    @property
    def restarts(self) -> Restarts:
        """Earlier pods by how they ended; one without an end died."""
        ended = [*self.earlier]
        for records in self.beside.values():
            ended += [*records[:-1], *(it for it in records[-1:] if it.outcome is not None)]
        outcomes = [record.outcome for record in ended]
        failures = sum(outcome in (None, "Failed") for outcome in outcomes)
        disruptions = outcomes.count("Interrupted")
        return Restarts(failures=failures, disruptions=disruptions, total=failures + disruptions)

    @property
    def usage(self) -> Usage:
        """Summed over all pods, this one too."""
        records = [*self.earlier, *chain(*self.beside.values()), self.own]
        return Usage(
            cpu_seconds=round(sum(record.usage.cpu_seconds for record in records), 1),
            gpu_seconds=round(sum(record.usage.gpu_seconds for record in records), 1),
            trained_tokens=sum(record.usage.trained_tokens for record in records),
            stored_bytes=sum(record.usage.stored_bytes for record in records),
        )

    def read_beside(self) -> None:
        """Read the records of the other parts of the run."""
        found: dict[str, list[AttemptRecord]] = {}
        for entry in self._store.entries(f"{FOLDER}/"):
            folder = entry.key.rpartition("/")[0]
            if folder != self._folder:
                found.setdefault(folder, []).append(self._read(entry.key))
        self.beside = {
            folder: sorted(records, key=lambda record: record.ordinal)
            for folder, records in found.items()
        }

    def others_ended(self) -> bool:
        """Whether no pod of another resource may still write here."""
        records = (*self.earlier, *chain(*self.beside.values()))
        return all(r.outcome is not None for r in records if r.uid != self._run.uid)

    def await_others(self, seconds: float) -> None:
        """Wait until no pod of another resource may still write here, at most so long."""
        until = time.monotonic() + seconds
        while not self.others_ended() and time.monotonic() < until:
            time.sleep(min(POLL_SECONDS, max(0.0, until - time.monotonic())))
            self.earlier = self._read_all()
            if self.beside:
                self.read_beside()

    @property
    def began(self) -> bool:
        """Whether this pod's record has been written."""
        return self._began

    def begin(self, resumed_from_step: int) -> None:
        """Write this pod's record. Raises TrainerError (NoProgress) when its predecessors of
        this attempt died at the same step."""
        died = [
            record.resumed_from_step
            for record in self.earlier
            if record.uid == self._run.uid
            and record.attempt == self._run.attempt
            and record.outcome in (None, "Failed")
        ][-_PODS_WITHOUT_PROGRESS:]
        self._update(resumed_from_step=resumed_from_step, step=resumed_from_step)
        self._began = True
        if died == [resumed_from_step] * _PODS_WITHOUT_PROGRESS:
            where = _NO_FURTHER[self._run.kind].format(reached=resumed_from_step)
            remedy, param = OUT_OF_MEMORY[self._run.kind]
            raise TrainerError(
                ExitCode.NO_PROGRESS,
                "NoProgress",
                f"{len(died)} pods died {where}. If they ran out of memory (OOMKilled): {remedy}. "
                "Else read the log of the last pod. Then change the spec or retry",
                param,
            )

    def resume_from(self, step: int) -> None:
        """Correct where this pod goes on from: the newest checkpoint may be damaged."""
        if step != self.own.resumed_from_step:
            self._update(resumed_from_step=step, step=step)

    def advance(self, step: int, usage: Usage) -> None:
        """Record how far this pod came."""
        self._update(step=step, usage=usage)

    def end(self, outcome: str, code: str | None, usage: Usage) -> None:
        """Record how this pod ended."""
        self._update(outcome=outcome, code=code, usage=usage, ended_at=_now())

    def fence(self) -> None:
        """Raises Superseded when a pod started on this output after this one."""
        for key in self._listed() - self._names - {self._name}:
            if self._read(key).ordinal >= self.own.ordinal:
                raise Superseded
            self._names.add(key)

    def _listed(self) -> set[str]:
        """The records' keys."""
        return {entry.key for entry in self._store.entries(f"{self._folder}/")}

    def _update(self, **changes: object) -> None:
        self.own = self.own.model_copy(update=changes)
        self._store.write(self._name, json.dumps(self.own.to_json(), indent=2).encode())

    def _read_all(self) -> list[AttemptRecord]:
        records = (self._read(name) for name in self._names)
        return sorted(records, key=lambda record: record.ordinal)

    def _read(self, name: str) -> AttemptRecord:
        return _read(self._store, name)


def all_ended(store: ObjectStore) -> bool:
    """Whether every pod that began on an output has said how it ended."""
    names = [entry.key for entry in store.entries(f"{FOLDER}/")]
    return all(_read(store, name).outcome is not None for name in names)


def _read(store: ObjectStore, name: str) -> AttemptRecord:
    data = store.read(name)
    if data is None:
        raise FileNotFoundError(f"{store.uri}/{name} has just been deleted")
    try:
        return AttemptRecord.read(parse(data))
    except (DocumentError, ValidationError) as error:
        raise output_unusable(store.uri, name, error) from error


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
