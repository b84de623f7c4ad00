"""Who may write an output: one resource, with one state of the data or of the sources, and on
one base."""

import json
from datetime import UTC, datetime

from pydantic import ValidationError

from luthier_api.meta import Model
from luthier_api.optimizejob import SourceRef
from luthier_api.result import ExitCode
from luthier_api.runspec import RunOrder, RunSpec
from luthier_trainer.documents import DocumentError, parse
from luthier_trainer.errors import TrainerError, data_error, output_unusable
from luthier_trainer.log import log
from luthier_trainer.pod.attempts import Attempts
from luthier_trainer.storage.objectstore import ObjectStore

CLAIM = "claim.json"
REVISION_TAKEN = "RevisionTaken"


class Start(SourceRef):
    """What a training goes on from. `digest`: of an adapter's files, where no manifest tells."""

    digest: str | None = None


def identity_of(start: Start | None) -> str | None:
    """What tells one start from another, wherever it lies."""
    return (start.manifest_sha256 or start.digest) if start else None


class Claim(Model):
    """Contents of claim.json. `dataset_digest`: of the dataset, or of the sources that the run
    makes something else of. `base`: identity of the model that is fine-tuned (cache.identity);
    claims of older versions have none. `began`: when the revision did, which chat templates that
    write the date see in every attempt; older claims don't say. `started_from`: what the training
    began with, in place of new weights: its attempts go on from that, whatever is in use by then.
    """

    kind: str = "FineTuneJob"
    uid: str
    namespace: str
    name: str
    shape_hash: str
    dataset_digest: str
    base: str | None = None
    began: datetime | None = None
    started_from: Start | None = None

    def made_from(self, digest: str | None, base: str | None, start: Start | None) -> bool:
        """Whether a run on this data, base and start comes to the same."""
        return (
            self.dataset_digest == digest
            and self.base in (None, base)
            and identity_of(self.started_from) == identity_of(start)
        )


def read_claim(store: ObjectStore, revision: str = "") -> Claim | None:
    """The claim on an output, if there is one; or on that of a revision below a folder of all."""
    data = store.read(f"{revision}/{CLAIM}" if revision else CLAIM)
    return _parsed(store, data) if data else None


def began_of(store: ObjectStore) -> datetime | None:
    """When the run began whose output it is; None where no claim tells.

    Raises TrainerError where storage is down.
    """
    try:
        claim = read_claim(store)
    except TrainerError as error:
        if error.error.code == "StorageUnavailable":
            raise
        return None
    return claim.began if claim else None


def take_claim(
    store: ObjectStore,
    order: RunOrder,
    digest: str,
    attempts: Attempts,
    base: str | None = None,
    start: Start | None = None,
) -> Claim:
    """Claim the output for this resource, or take it over from one that has ended.

    Raises TrainerError: DatasetChanged, SourceChanged, BaseChanged, AdapterChanged, OutputClaimed,
    RevisionTaken.
    """
    wanted = Claim(
        kind=order.run.kind,
        uid=order.run.uid,
        namespace=order.run.namespace,
        name=order.run.name,
        shape_hash=order.shape_hash,
        dataset_digest=digest,
        base=base,
        began=datetime.now(UTC).replace(microsecond=0),
        started_from=start,
    )
    if store.write_once(CLAIM, _written(wanted)):
        return wanted
    tagged = store.read_tagged(CLAIM)
    if tagged is None:
        raise _claimed(store, "another resource")
    held = _parsed(store, tagged[0])
    owner = f"{held.kind} {held.namespace}/{held.name} (uid {held.uid})"
    same_owner = held.uid == wanted.uid
    if (held.kind, held.namespace, held.name) == (wanted.kind, wanted.namespace, wanted.name):
        # Deleted and applied again. What was made from something else stays where it lies.
        if (
            not same_owner
            and isinstance(order, RunSpec)
            and not held.made_from(digest, base, start)
        ):
            raise revision_taken(store)
        # The pod of before has its grace to end in.
        attempts.await_others(order.grace_seconds)
    takeable = (
        held.shape_hash == wanted.shape_hash
        and identity_of(held.started_from) == identity_of(start)
        and attempts.others_ended()
    )
    if not (same_owner or takeable):
        raise _claimed(store, owner)
    if held.dataset_digest != digest:
        raise _changed(order, digest, held.dataset_digest)
    if base and held.base not in (None, base):
        raise base_changed(f"the base model is {base} now", held.base)
    if start and start.digest and identity_of(held.started_from) != start.digest:
        raise _start_changed(start, held.started_from)
    if not same_owner:
        held = wanted.model_copy(update={"began": held.began})
        if not store.replace(CLAIM, _written(held), tagged[1]):
            raise _claimed(store, "another resource")
        log(f"output: taken over from {owner}, whose pods have ended")
    return held


def _written(claim: Claim) -> bytes:
    return json.dumps(claim.to_json(), indent=2).encode()


def _parsed(store: ObjectStore, data: bytes) -> Claim:
    try:
        return Claim.read(parse(data))
    except (DocumentError, ValidationError) as error:
        raise output_unusable(store.uri, CLAIM, error) from error


def _changed(order: RunOrder, found: str, began: str) -> TrainerError:
    if order.run.kind == "FineTuneJob":
        return data_error(
            "DatasetChanged",
            f"the data is {found} now, but this revision began with {began}; put the old data "
            "back, or change the spec (e.g. dataset.uri) to train on the new",
        )
    return data_error(
        "SourceChanged",
        f"the sources are {found} now, but this revision began with {began}; put the old files "
        "back, or change the spec (e.g. the source's URI) to take the new",
        "source",
    )


def base_changed(found: str, began: str | None) -> TrainerError:
    """The base can't be had as it was when the run began."""
    return data_error(
        "BaseChanged",
        f"{found}, but this revision began with {began}; put the old files back, or change the "
        "spec (model.uri or model.revision) to train on the new",
        "model.uri",
    )


def revision_taken(store: ObjectStore) -> TrainerError:
    """A resource of this name that was deleted began the revision with something else."""
    return TrainerError(
        ExitCode.OUTPUT_CLAIMED,
        REVISION_TAKEN,
        f"{store.uri} holds what a resource of this name, deleted since, made from other data or "
        "of another base: it stays there, and this one goes on with a revision that is free",
        "output.uri",
    )


def _start_changed(found: Start, began: Start | None) -> TrainerError:
    return data_error(
        "AdapterChanged",
        f"{found.uri}: the adapter is {found.digest} now, but this revision began with "
        f"{identity_of(began)}; put the old files back, or change the spec (model.adapter.uri)",
        "model.adapter.uri",
    )


def _claimed(store: ObjectStore, owner: str) -> TrainerError:
    return TrainerError(
        ExitCode.OUTPUT_CLAIMED,
        "OutputClaimed",
        f"{store.uri} belongs to {owner}, which may still write there; choose another "
        "output.uri, or delete what lies there",
        "output.uri",
    )
