"""Checkpoints in the background: training stands still only while its state is copied."""

import threading
import time
from collections.abc import Callable
from pathlib import Path

from luthier_api.finetunejob import CheckpointRef
from luthier_api.progress import CheckpointCost
from luthier_trainer.distributed.world import World
from luthier_trainer.log import log
from luthier_trainer.storage.objectstore import ObjectStore
from luthier_trainer.training.checkpoint import Snapshot, write
from luthier_trainer.training.checkpointfolder import prune

# Copies of the state that are in memory at once: one that is uploaded, and one that waits.
MOST_SNAPSHOTS = 2


class CheckpointWriter:
    """Uploads one snapshot at a time. A newer one replaces one that still waits, unless that
    is the best so far: its weights may be the result. There are never more than MOST_SNAPSHOTS,
    if `make_room` is called before each is made.

    `grace_seconds`: how long a pod that is told to stop has for its last one. `fence` raises
    Superseded when this pod may no longer publish. `on_written` is called in the writer's thread
    after each upload.
    """

    def __init__(
        self,
        store: ObjectStore,
        keep_last: int,
        fence: Callable[[], None],
        on_written: Callable[[Snapshot], None],
        scratch: Path,
        found: CheckpointRef | None = None,
        grace_seconds: float | None = None,
        world: World | None = None,
    ) -> None:
        """`world`: the processes that write a part of each checkpoint; then none is left out, as
        each of them would have to leave out the same."""
        self.store = store
        self.scratch = scratch
        self._world = world
        self._keep_last = keep_last
        self._fence = fence
        self._on_written = on_written
        self._changed = threading.Condition()
        self._waiting: list[Snapshot] = []
        self._busy = self._closed = False
        self._failure: BaseException | None = None
        self._grace_seconds = grace_seconds
        self._warning: str | None = None
        self._cost = CheckpointCost()
        self._refs = [found] if found else []
        self._since = found.step if found else 0
        threading.Thread(target=self._run, name="checkpoints", daemon=True).start()

    @property
    def refs(self) -> list[CheckpointRef]:
        """Checkpoints that this pod wrote or went on from, newest last."""
        with self._changed:
            return list(self._refs)

    @property
    def cost(self) -> CheckpointCost:
        with self._changed:
            return self._cost

    @property
    def warning(self) -> str | None:
        """Why an eviction may cost work."""
        with self._changed:
            return self._warning

    def make_room(self, best_step: int | None) -> None:
        """For a newer snapshot: one that waits gives way, and where that is the best so far, of
        step `best_step`, what is uploaded before it is waited for. Raises what an upload failed
        with."""
        with self._changed:
            waiting = self._waiting
            if not self._world:
                self._waiting = [it for it in waiting if it.step == best_step]
            for older in waiting:
                if older not in self._waiting:
                    log(f"checkpoint of step {older.step} gives way to a newer one")
            self._changed.wait_for(
                lambda: self._failure or self._busy + len(self._waiting) < MOST_SNAPSHOTS
            )
            self._raise_failure()

    def submit(self, snapshot: Snapshot, blocked_seconds: float) -> None:
        """Hand over a snapshot. `blocked_seconds`: how long its copy took."""
        with self._changed:
            self._raise_failure()
            stays = (
                s
                for s in self._waiting
                if self._world or s.step == snapshot.best_step != snapshot.step
            )
            self._waiting = [*stays, snapshot]
            self._cost = self._cost.model_copy(
                update={"blocked_seconds": self._cost.blocked_seconds + blocked_seconds}
            )
            self._changed.notify_all()

    def check(self) -> None:
        """Raises what a background upload failed with."""
        with self._changed:
            self._raise_failure()

    def drain(self, timeout: float) -> bool:
        """Wait until all is uploaded; False if it takes longer. Raises what failed."""
        with self._changed:
            done = self._changed.wait_for(
                lambda: self._failure or not (self._busy or self._waiting), timeout
            )
            self._raise_failure()
            return bool(done)

    def close(self) -> None:
        """Nothing more will be handed over: its thread ends with what still waits, and lets go of
        the model."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _raise_failure(self) -> None:
        if self._failure:
            raise self._failure

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: bool(self._waiting) or self._closed)
                if not self._waiting:
                    return
                snapshot, self._busy = self._waiting.pop(0), True
            try:
                self._write(snapshot)
            except BaseException as failure:  # reported by the main thread
                with self._changed:
                    self._failure = failure
            del snapshot  # its memory, before the next one comes
            with self._changed:
                self._busy = False
                self._changed.notify_all()
                if self._failure:
                    return

    def _write(self, snapshot: Snapshot) -> None:
        started = time.monotonic()
        self._fence()
        ref, size = write(self.store, snapshot, self.scratch, self._world)
        if ref is None:
            return  # the first process tells of it
        seconds = time.monotonic() - started
        with self._changed:
            refs = [*(r for r in self._refs if r.step != ref.step), ref]
            pinned = [r for r in refs[: -self._keep_last] if r.step == snapshot.best_step]
            self._refs = [*pinned, *refs[-self._keep_last :]]
            self._cost = self._cost.model_copy(
                update={
                    "count": self._cost.count + 1,
                    "seconds": self._cost.seconds + seconds,
                    "bytes": self._cost.bytes + size,
                    "last_seconds": seconds,
                    "last_bytes": size,
                }
            )
        log(f"checkpoint of step {snapshot.step}: {size / 1e6:.1f} MB in {seconds:.2f} s")
        self._warn(size, seconds)
        self._on_written(snapshot)
        self._fence()
        written = [ref.step for ref in self.refs]
        prune(self.store, self._keep_last, self._since, written, snapshot.best_step)

    def _warn(self, size: int, seconds: float) -> None:
        """Once, where the last checkpoint of a pod that is told to stop wouldn't be uploaded."""
        grace = self._grace_seconds
        if grace is None or seconds <= grace or self._warning:
            return
        text = (
            f"a checkpoint of {size / 1e6:,.1f} MB took {seconds:,.1f} s to upload, and a pod that "
            f"is told to stop has {grace:,.1f} s, {seconds - grace:,.1f} too few: an eviction "
            "costs the steps since the last checkpoint. Use a pool with a longer "
            "terminationGracePeriodSeconds, a method that trains fewer weights (lora) or an "
            "optimizer with a smaller state; a lower saveEverySteps makes the loss smaller"
        )
        log(f"warning: {text}")
        with self._changed:
            self._warning = text
