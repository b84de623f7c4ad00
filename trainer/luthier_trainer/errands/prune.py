"""Which revisions go, and how one is deleted so that nothing half-deleted is taken for whole."""

from collections.abc import Iterable, Sequence
from datetime import timedelta
from functools import partial

from luthier_api.revision import revision_number
from luthier_api.runspec import KeepOrder
from luthier_trainer.errors import TrainerError
from luthier_trainer.log import log
from luthier_trainer.parallel import run_all
from luthier_trainer.pod.attempts import FOLDER as ATTEMPTS
from luthier_trainer.pod.attempts import all_ended
from luthier_trainer.pod.claim import CLAIM, read_claim
from luthier_trainer.pod.publish import MANIFEST
from luthier_trainer.pod.revisions import newest_first
from luthier_trainer.storage.objectstore import ObjectStore, join
from luthier_trainer.storage.open import open_store

_AT_ONCE = timedelta(0)


def by_revision(keys: Iterable[str]) -> dict[str, list[str]]:
    """The keys below the folder of all revisions, by revision, newest first; each relative to its
    revision's folder."""
    found: dict[str, list[str]] = {}
    for key in keys:
        name, _, rest = key.partition("/")
        if rest:
            found.setdefault(name, []).append(rest)
    return {name: found[name] for name in newest_first(found)}


def surplus(found: dict[str, list[str]], order: KeepOrder) -> list[str]:
    """The revisions that are to go, oldest first. Pure.

    Finished ones: all but what is in use, what `kept` names, and the `newest` newest beside these.
    Unfinished ones: those that the current revision has taken the place of. Nobody goes on from
    their checkpoints: whoever asks for the same again opens a new revision.
    """
    if order.everything:
        return list(reversed(found))
    if order.newest is None:
        return []
    kept = {order.run.revision, *order.kept}
    if order.in_use:
        # A result that was found again lies in the folder of the revision that made it.
        kept |= {order.in_use.revision, order.in_use.uri.rstrip("/").rpartition("/")[2]}
    others = [name for name in found if name not in kept]
    finished = [name for name in others if MANIFEST in found[name]]
    current = revision_number(order.run.revision)
    superseded = {
        name for name in others if name not in finished and revision_number(name) < current
    }
    gone = superseded.union(finished[order.newest :])
    return [name for name in reversed(found) if name in gone]


def delete(
    folder: ObjectStore, order: KeepOrder, name: str, keys: Sequence[str], *, stopped: bool
) -> bool:
    """Delete a revision's folder; False where it is left alone. May be repeated at any point.

    The manifest goes first: what has none isn't published. The records of pods and the claim go
    last: by them the next errand sees whose it is, and that nobody writes there. `folder`: of all
    revisions. `stopped`: no pod of it can be alive, whatever the records say.
    """
    store = open_store(join(order.output, name), order.storage, "output.uri")
    if not _is_ours(store, order):
        log(f"warning: {name} is left alone: it isn't claimed by this resource")
        return False
    if not stopped and MANIFEST not in keys and not all_ended(store):
        log(f"{name} is left alone: a pod may still write there")
        return False
    folder.delete([f"{name}/{MANIFEST}"])
    abort_uploads(store, _AT_ONCE)
    last = {key for key in keys if key.startswith(f"{ATTEMPTS}/")}
    for some in (set(keys) - last - {MANIFEST, CLAIM}, last, {CLAIM}):
        run_all(partial(folder.delete, [f"{name}/{key}"]) for key in sorted(some))
    log(f"deleted {name}: {len(keys)} objects")
    return True


def _is_ours(store: ObjectStore, order: KeepOrder) -> bool:
    """Whether this resource made it, or one of its name before."""
    try:
        claim = read_claim(store)
    except TrainerError as error:
        if error.error.code != "OutputUnusable":
            raise
        return False
    run = order.run
    owner = (run.kind, run.namespace, run.name)
    return claim is not None and (claim.kind, claim.namespace, claim.name) == owner


def abort_uploads(store: ObjectStore, older_than: timedelta) -> None:
    """End uploads that nobody finished. Who hasn't the right to still does the rest."""
    try:
        store.abort_uploads("", older_than)
    except TrainerError as error:
        if error.error.code == "StorageUnavailable":
            raise
        log(f"warning: unfinished uploads are left: {error}")
