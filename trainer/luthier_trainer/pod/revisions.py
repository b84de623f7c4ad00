"""The folder of all revisions of a resource: NAMESPACE/NAME/ below its output."""

from collections.abc import Iterable

from luthier_api.revision import is_revision, revision_number
from luthier_api.runspec import RunOrder
from luthier_trainer.storage.objectstore import ObjectStore
from luthier_trainer.storage.open import open_store


def beside(order: RunOrder) -> ObjectStore | None:
    """The folder of all revisions of the resource that a run is of; None where its output isn't
    named by its revision, and so has no others beside it."""
    parent, _, last = order.output.rstrip("/").rpartition("/")
    if last != order.run.revision or not is_revision(last):
        return None
    return open_store(parent, order.storage, "output.uri")


def newest_first(names: Iterable[str]) -> list[str]:
    """The names of revisions among `names`, by their numbers."""
    return sorted(filter(is_revision, names), key=revision_number, reverse=True)
