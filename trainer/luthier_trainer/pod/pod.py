"""What every run needs in its pod, whatever it makes."""

import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from luthier_api.readable import readable_part
from luthier_api.result import RunEnd
from luthier_api.runspec import RunOrder
from luthier_api.runstatus import ArtifactRef, Usage
from luthier_trainer.errors import TrainerError, output_unusable
from luthier_trainer.log import log
from luthier_trainer.machine.runtime import cpu_seconds
from luthier_trainer.pod.attempts import Attempts
from luthier_trainer.pod.claim import Start, take_claim
from luthier_trainer.pod.interrupt import Interrupt
from luthier_trainer.pod.progress import Reporter
from luthier_trainer.pod.publish import MANIFEST
from luthier_trainer.storage import uploaded
from luthier_trainer.storage.objectstore import ObjectStore

End = TypeVar("End", bound=RunEnd)


class Pod:
    """This pod of a run: its interrupt, its reports, its record in storage."""

    def __init__(self, order: RunOrder) -> None:
        self.order = order
        self.interrupt = Interrupt(order.grace_seconds)
        name = os.environ.get("POD_NAME", "local")
        self.reporter = Reporter(order.run, name, order.progress, self.interrupt.supersede)
        self.attempts: Attempts | None = None
        self.began: datetime | None = None  # this revision, in whichever attempt
        self.started_from: Start | None = None  # this revision, likewise
        self.trained_tokens = 0
        self._started = time.monotonic()

    @contextmanager
    def scratch(self) -> Iterator[Path]:
        """A folder of this pod's own, which is gone afterwards."""
        base = Path(self.order.scratch_dir)
        base.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix="luthier-", dir=base))
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def claim(
        self,
        output: ObjectStore,
        digest: str,
        base: str | None = None,
        start: Start | None = None,
        part: int | None = None,
    ) -> Attempts:
        """Take the output for this run. `digest`, `base`, `start`: what the run is made from;
        `part`: which of its pods this is, where several work beside each other.

        Raises TrainerError (OutputClaimed, RevisionTaken, DatasetChanged, SourceChanged,
        BaseChanged, AdapterChanged) or Superseded.
        """
        attempts = Attempts(output, self.order.run, part)
        self.attempts = attempts
        claim = take_claim(output, self.order, digest, attempts, base, start)
        self.began, self.started_from = claim.began, claim.started_from
        return attempts

    def begin(self, reached: int) -> None:
        """Record in storage that this pod goes on from there: checkpoints' steps, or parts that
        are finished. Raises TrainerError (NoProgress)."""
        assert self.attempts
        self.attempts.begin(reached)
        self.reporter.set(restarts=self.attempts.restarts)

    def usage(self) -> Usage:
        """Of this pod so far."""
        seconds = time.monotonic() - self._started
        return Usage(
            cpu_seconds=round(cpu_seconds(), 1),
            gpu_seconds=round(self.order.gpus * self.order.nodes * seconds, 1),
            trained_tokens=self.trained_tokens,
            stored_bytes=uploaded.total(),
        )

    def record_end(self, outcome: str, code: str | None) -> None:
        """Leave word in storage of how this pod ended; failing that, in the log."""
        self.reporter.close()
        if self.attempts and self.attempts.began:
            try:
                self.attempts.end(outcome, code, self.usage())
            except Exception as error:  # the end itself must not fail
                log(f"the attempt's record could not be written: {error}")

    def end(self, outcome: str, failure: TrainerError | None) -> dict[str, Any]:
        """The fields of a RunEnd."""
        return {
            "revision": self.order.run.revision,
            "attempt": self.order.run.attempt,
            "outcome": outcome,
            "error": failure.error if failure else None,
            "usage": self.attempts.usage if self.attempts else None,
            "restarts": self.attempts.restarts if self.attempts else None,
        }

    def again(self, kind: type[End], manifest: dict[str, Any], artifact: ArtifactRef) -> End:
        """The result of an output that was finished before. What it took was told then."""
        log("the output is finished already: its result again")
        self.reporter.close()
        try:
            result = readable_part(kind, manifest["result"])
        except ValidationError as error:
            raise output_unusable(artifact.uri, MANIFEST, error) from error
        run = self.order.run
        return result.model_copy(
            update={
                "revision": run.revision,
                "attempt": run.attempt,
                "artifact": artifact,
                "usage": None,
            }
        )
