"""The errand that brings in order what lies in storage: in-use.json, and what is kept."""

from datetime import timedelta

from luthier_api.result import KeepResult
from luthier_api.revision import revision_number
from luthier_api.runspec import KeepOrder
from luthier_trainer.errands import prune
from luthier_trainer.errors import TrainerError
from luthier_trainer.log import log
from luthier_trainer.pod.attempts import FOLDER as ATTEMPTS
from luthier_trainer.pod.inuse import IN_USE, write_in_use
from luthier_trainer.pod.pod import Pod
from luthier_trainer.storage.objectstore import ObjectStore
from luthier_trainer.storage.open import open_store

# No upload that somebody still works at is as old.
_FORGOTTEN = timedelta(days=1)
_MOST = 1000  # of KeepResult.deleted


class Keep:
    """The state of this pod's errand."""

    def __init__(self, order: KeepOrder) -> None:
        self.order = order
        self.pod = Pod(order)
        self._deleted: list[str] = []
        self._in_use: str | None = None

    def execute(self) -> KeepResult:
        """All of it; whoever does it again goes on. Raises TrainerError, Interrupted."""
        folder = open_store(self.order.output, self.order.storage, "output.uri")
        # Before what it may have named so far goes.
        self._tell_in_use(folder)
        self._prune(folder)
        return self.result("Succeeded")

    def result(self, outcome: str, failure: TrainerError | None = None) -> KeepResult:
        """What is known now, as the end of this pod."""
        return KeepResult(
            **self.pod.end(outcome, failure),
            deleted=self._deleted[:_MOST],
            in_use=self._in_use,
        )

    def _tell_in_use(self, folder: ObjectStore) -> None:
        wanted = None if self.order.everything else self.order.in_use
        if wanted is None:
            folder.delete([IN_USE])
        else:
            written = write_in_use(folder, wanted)
            log(f"{IN_USE}: {wanted.revision} {'is' if written else 'was already'} in use")
            self._in_use = wanted.revision

    def _prune(self, folder: ObjectStore) -> None:
        order = self.order
        if order.newest is None and not order.everything:
            return
        found = prune.by_revision(entry.key for entry in folder.entries())
        # The operator starts no pod before those of earlier revisions have stopped, and deletes
        # no resource whose pods run.
        began = (name for name, keys in found.items() if any(map(_is_record, keys)))
        newest = max(map(revision_number, began), default=0)
        for name in prune.surplus(found, order):
            stopped = order.everything or revision_number(name) < newest
            if prune.delete(folder, order, name, found[name], stopped=stopped):
                self._deleted.append(name)
        prune.abort_uploads(folder, _FORGOTTEN)


def _is_record(key: str) -> bool:
    return key.startswith(f"{ATTEMPTS}/")
