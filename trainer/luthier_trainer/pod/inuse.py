"""in-use.json, below the folder of all revisions: which of them is in use, for programs that read
results where they lie, without a cluster."""

import json

from pydantic import ValidationError

from luthier_api.runspec import InUseOrder
from luthier_trainer.documents import DocumentError, parse
from luthier_trainer.errors import output_unusable
from luthier_trainer.storage.objectstore import ObjectStore

IN_USE = "in-use.json"
_TRIES = 5  # of others that write at the same moment


def read_in_use(folder: ObjectStore) -> InUseOrder | None:
    """What is in use, if it is told. Raises TrainerError (OutputUnusable)."""
    data = folder.read(IN_USE)
    return _parsed(folder, data) if data is not None else None


def write_in_use(folder: ObjectStore, wanted: InUseOrder) -> bool:
    """Let in-use.json say `wanted`; False where it says so already, and nothing is written.

    Who writes last wins: the operator, which alone knows what is in use, asks again whenever it
    isn't what it wants. What is there is replaced only as it was read.
    """
    document = {"apiVersion": "luthier.dev/v1alpha1", **wanted.to_json()}
    data = json.dumps(document, indent=2).encode()
    for _ in range(_TRIES):
        tagged = folder.read_tagged(IN_USE)
        if tagged is None:
            if folder.write_once(IN_USE, data):
                return True
        elif _same(_parsed(folder, tagged[0]), wanted):
            return False
        elif folder.replace(IN_USE, data, tagged[1]):
            return True
    raise RuntimeError(f"{folder.uri}/{IN_USE} changes faster than it can be written")


def _same(one: InUseOrder, other: InUseOrder) -> bool:
    """A run that publishes and the operator note its time apart: it is the same result in use."""
    return one.model_copy(update={"since": ""}) == other.model_copy(update={"since": ""})


def _parsed(folder: ObjectStore, data: bytes) -> InUseOrder:
    try:
        return InUseOrder.read(parse(data))
    except (DocumentError, ValidationError) as error:
        raise output_unusable(folder.uri, IN_USE, error) from error
