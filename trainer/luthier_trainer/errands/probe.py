"""A look at the data of a revision: whether it is what that was made from (docs/adr/0023).

First by what needs no download: names, sizes and ETags, a hub's commit, times of files. Only where
these have moved are the rows read, and checked as a run would; what is found is remembered.
"""

from pathlib import Path
from typing import Any

from luthier_api.result import ProbeResult
from luthier_api.retraining import RowChanges
from luthier_api.runspec import ProbeOrder
from luthier_trainer.data import prepare as data
from luthier_trainer.data import record
from luthier_trainer.data.hashes import compare
from luthier_trainer.data.record import DataRecord, Seen
from luthier_trainer.errors import TrainerError
from luthier_trainer.log import log
from luthier_trainer.pod.claim import read_claim
from luthier_trainer.pod.pod import Pod
from luthier_trainer.storage.objectstore import ObjectStore
from luthier_trainer.storage.open import open_store


class Probe:
    """The look of one pod."""

    def __init__(self, order: ProbeOrder) -> None:
        self.order = order
        self.pod = Pod(order)
        self._found: dict[str, Any] = {}

    def execute(self) -> ProbeResult:
        """Raises TrainerError or Interrupted."""
        with self.pod.scratch() as folder:
            self._look(folder)
        self.pod.reporter.close()
        result = self.result("Succeeded")
        log(f"data: {'changed' if result.changed else 'unchanged'}, {result.dataset_digest}")
        return result

    def result(self, outcome: str, failure: TrainerError | None = None) -> ProbeResult:
        """What is known now."""
        return ProbeResult(**self.pod.end(outcome, failure), **self._found)

    def _look(self, folder: Path) -> None:
        output = open_store(self.order.output, self.order.storage, "output.uri")
        before = record.left(output)
        validators = data.look(self.order)
        if validators is not None and before and validators == before.validators:
            self._tell(before, before.digest, RowChanges(total=before.rows))
            return
        seen = record.remembered(output)
        if validators is None or seen is None or validators != seen.validators:
            seen = self._read(output, before, folder)
        self._tell(before or self._claimed(output), seen.digest, seen.rows)

    def _read(self, output: ObjectStore, before: DataRecord | None, folder: Path) -> Seen:
        examples = data.load(self.order, folder / "data")
        self._found["rows_read"] = True
        rows = record.left_rows(output, before) if before else None
        seen = Seen(
            digest=examples.digest,
            validators=examples.validators or {},
            rows=compare(rows, examples.hashes) if rows else None,
        )
        if examples.validators is not None:
            record.remember(output, seen)
        return seen

    def _claimed(self, output: ObjectStore) -> DataRecord | None:
        """Of a revision that left no record: the digest that it told, or claimed its folder with;
        one whose data couldn't be used has none."""
        digest = self.order.dataset_digest
        if digest is None and (claim := read_claim(output)):
            digest = claim.dataset_digest
        return DataRecord(digest=digest) if digest else None

    def _tell(self, before: DataRecord | None, digest: str, rows: RowChanges | None) -> None:
        changed = before is None or digest != before.digest
        self._found |= {"changed": changed, "dataset_digest": digest, "rows": rows}
