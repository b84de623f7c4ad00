"""Old packages, deleted once a newer one is published."""

from luthier_api.runspec import BundleOrder
from luthier_trainer.errors import TrainerError
from luthier_trainer.log import log
from luthier_trainer.pod.claim import read_claim
from luthier_trainer.pod.publish import MANIFEST
from luthier_trainer.storage.open import open_store


def may_go(order: BundleOrder) -> list[str]:
    """Of the packages that the order calls expendable, those that lie beside the new one: never
    that itself, nor the one before, which others may still read."""
    own = order.output.rstrip("/")
    kept = {own, (order.previous or "").rstrip("/")}
    found = [uri.rstrip("/") for uri in order.expendable]
    return [uri for uri in found if uri not in kept and _folder(uri) == _folder(own)]


def prune(order: BundleOrder) -> None:
    """Delete them. What can't be deleted now is told again as expendable next time."""
    for uri in may_go(order):
        try:
            _delete(uri, order)
        except TrainerError as failure:
            log(f"warning: the old package {uri} stays: {failure}")


def _delete(uri: str, order: BundleOrder) -> None:
    store = open_store(uri, order.storage, "output.uri")
    keys = [entry.key for entry in store.entries()]
    if not keys:
        return
    claim = read_claim(store)
    if claim is None or claim.uid != order.run.uid:
        log(f"warning: {uri} isn't this bundle's: it stays")
        return
    # First what makes it a package, last what says whose it is: half deleted, it is seen as
    # none, and can still be deleted.
    last = [key for key in keys if key == "claim.json"]
    store.delete([key for key in keys if key == MANIFEST])
    store.delete([key for key in keys if key != MANIFEST and key not in last])
    store.delete(last)
    log(f"deleted the old package {uri}")


def _folder(uri: str) -> str:
    return uri.rpartition("/")[0]
