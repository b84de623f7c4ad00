"""Checkpoints in the background: training stands still only while its state is copied."""

import threading
import time
from collections.abc import Callable

from luthier_api.finetunejob import CheckpointRef
from luthier_api.progress import CheckpointCost
from luthier_trainer.checkpoint import Snapshot, write
from luthier_trainer.checkpointfolder import prune
from luthier_trainer.log import log
from luthier_trainer.objectstore import ObjectStore


class CheckpointWriter:
    """Uploads one snapshot at a time. A newer one replaces one that still waits.

    `fence` raises Superseded when this pod may no longer publish. `on_written` is called
    in the writer's thread after each upload.
    """

    def __init__(
        self,
        store: ObjectStore,
        keep_last: int,
        fence: Callable[[], None],
        on_written: Callable[[Snapshot], None],
        found: CheckpointRef | None = None,
    ) -> None:
        self._store = store
        self._keep_last = keep_last
        self._fence = fence
        self._on_written = on_written
        self._changed = threading.Condition()
        self._waiting: Snapshot | None = None
        self._busy = False
        self._failure: BaseException | None = None
        self._cost = CheckpointCost()
        self._refs = [found] if found else []
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

    def submit(self, snapshot: Snapshot, blocked_seconds: float) -> None:
        """Hand over a snapshot. `blocked_seconds`: how long its copy took."""
        with self._changed:
            self._raise_failure()
            if self._waiting:
                log(f"checkpoint of step {self._waiting.step} gives way to a newer one")
            self._waiting = snapshot
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

    def _raise_failure(self) -> None:
        if self._failure:
            raise self._failure

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting is not None)
                snapshot, self._waiting, self._busy = self._waiting, None, True
            assert snapshot is not None
            try:
                self._write(snapshot)
            except BaseException as failure:  # reported by the main thread
                with self._changed:
                    self._failure = failure
            with self._changed:
                self._busy = False
                self._changed.notify_all()
                if self._failure:
                    return

    def _write(self, snapshot: Snapshot) -> None:
        started = time.monotonic()
        self._fence()
        ref, size = write(self._store, snapshot)
        seconds = time.monotonic() - started
        with self._changed:
            self._refs = [*(r for r in self._refs if r.step != ref.step), ref][-self._keep_last :]
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
        self._on_written(snapshot)
        self._fence()
        prune(self._store, self._keep_last)
