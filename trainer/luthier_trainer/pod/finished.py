"""Whether what an order asks for is finished already, and may be given as its result."""

from typing import Any

from luthier_api.runspec import RunOrder
from luthier_api.runstatus import ArtifactRef
from luthier_trainer.errors import TrainerError
from luthier_trainer.log import log
from luthier_trainer.pod.claim import Start, read_claim
from luthier_trainer.pod.publish import read_published
from luthier_trainer.pod.revisions import beside, newest_first
from luthier_trainer.storage.objectstore import ObjectStore, join
from luthier_trainer.storage.open import open_store

Found = tuple[dict[str, Any], ArtifactRef]
# Of earlier revisions that are looked at: a nightly training makes many of one shape.
_MOST = 100


def finished(
    output: ObjectStore,
    order: RunOrder,
    digest: str | None = None,
    base: str | None = None,
    start: Start | None = None,
) -> Found | None:
    """The manifest and reference of what lies there: published by this resource, or by another
    that was ordered the same and made it from the same. Else None.

    `digest`, `base` and `start`: what this run is made from, as it claims its output; None before
    it knows. Who says them makes sure that its sources can be read: nobody is given what it
    couldn't make.
    """
    published = read_published(output)
    claim = read_claim(output) if published else None
    if published is None or claim is None:
        return None
    own = claim.uid == order.run.uid
    same = published[0]["shapeHash"] == order.shape_hash and claim.made_from(digest, base, start)
    return published if own or same else None


def found_again(
    order: RunOrder, digest: str, base: str | None, start: Start | None
) -> Found | None:
    """As `finished`, of an earlier revision of this resource, or of one of its name before: the
    newest that was ordered the same and made from the same. A spec that is edited and edited back
    isn't trained again, nor one that is deleted and applied again."""
    folder = beside(order)
    if folder is None:
        return None
    run = order.run
    alike = [
        name
        for name in newest_first(folder.folders())
        if name.endswith(f"-{order.shape_hash[:8]}") and name != run.revision
    ]
    for name in alike[:_MOST]:
        try:
            claim = read_claim(folder, name)
            if claim is None or not claim.made_from(digest, base, start):
                continue
            owner = (claim.kind, claim.namespace, claim.name)
            if owner != (run.kind, run.namespace, run.name):
                continue
            store = open_store(join(folder.uri, name), order.storage, "output.uri")
            published = read_published(store)
        except TrainerError as error:
            if error.error.code != "OutputUnusable":
                raise
            continue
        if published is not None and published[0]["shapeHash"] == order.shape_hash:
            log(f"revision {name} was made from the same: its result is this one's")
            return published
    return None
