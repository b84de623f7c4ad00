"""Whether an output is finished already, and may be given as this order's result."""

from typing import Any

from luthier_api.runspec import RunOrder
from luthier_api.runstatus import ArtifactRef
from luthier_trainer.claim import read_claim
from luthier_trainer.publish import read_published
from luthier_trainer.storage.objectstore import ObjectStore


def finished(
    output: ObjectStore, order: RunOrder, digest: str | None = None, base: str | None = None
) -> tuple[dict[str, Any], ArtifactRef] | None:
    """The manifest and reference of what lies there: published by this resource, or by another
    that was ordered the same and made it from the same. Else None.

    `digest` and `base`: what this run is made from, as it claims its output; None before it knows.
    Who says one makes sure that its sources can be read: nobody is given what it couldn't make.
    """
    published = read_published(output)
    claim = read_claim(output) if published else None
    if published is None or claim is None:
        return None
    own = claim.uid == order.run.uid
    same = (
        published[0]["shapeHash"] == order.shape_hash
        and claim.dataset_digest == digest
        and claim.base in (None, base)
    )
    return published if own or same else None
