"""A run that searches: one worker of it, up to the import of torch."""

import os
from pathlib import Path

from luthier_api.result import ExitCode, RunResult
from luthier_api.searchspace import problem
from luthier_trainer.data import record
from luthier_trainer.data.examples import Examples
from luthier_trainer.distributed.place import INDEX
from luthier_trainer.errors import TrainerError
from luthier_trainer.finetune.run import Run
from luthier_trainer.models import cache as modelcache
from luthier_trainer.models.cache import BaseModel
from luthier_trainer.pod.claim import Start
from luthier_trainer.search.records import Records
from luthier_trainer.storage.objectstore import ObjectStore


class SearchRun(Run):
    """Makes trials until none is left. Who ends the last one publishes the best."""

    def _stages(self, folder: Path) -> RunResult:
        if found := problem(self.spec.fine_tuning):
            field, message = found
            raise TrainerError(ExitCode.INVALID_RUN_SPEC, "InvalidSearch", message, field)
        return super()._stages(folder)

    def _work(
        self,
        output: ObjectStore,
        base: BaseModel,
        examples: Examples,
        folder: Path,
        start: Start | None,
    ) -> RunResult:
        index = os.environ.get(INDEX, "")
        worker = int(index) if index.isdecimal() else 0
        made_from = (examples.digest, modelcache.identity(base), start)
        attempts = self.pod.claim(output, *made_from, part=worker)
        record.leave(output, examples)
        records = Records(output, self.spec.run, worker)
        # A pod that began a trial got further than its predecessors.
        self.pod.begin(records.taken(records.read()))
        model_folder = self.load_base(base)
        # Only now: the import of torch and transformers takes seconds.
        from luthier_trainer.search.shared import Shared
        from luthier_trainer.search.worker import Worker

        shared = Shared(self, attempts, records, output, folder)
        return Worker(shared).execute(base, model_folder)
