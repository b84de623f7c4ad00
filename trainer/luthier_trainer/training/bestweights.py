"""The weights of the best evaluation, from its checkpoint."""

from typing import Any

from luthier_api.result import ExitCode
from luthier_trainer.errors import TrainerError
from luthier_trainer.log import log
from luthier_trainer.training import checkpoint
from luthier_trainer.training.best import Best
from luthier_trainer.training.checkpoint import Snapshot
from luthier_trainer.training.session import Session

_DRAIN_SECONDS = 60


def take_best(model: Any, session: Session, found: Best | None, step: int) -> None:
    """Give the model the weights of the best evaluation, unless they are those of `step`, which it
    has. Raises TrainerError (BestCheckpointLost), PeersLost."""
    if found is None or found.step == step:
        return
    log(f"the best {session.watched} was at step {found.step}: its weights are the result")
    while not session.writer.drain(_DRAIN_SECONDS):
        log("waiting for the last checkpoints to be uploaded")
    session.world.share()  # once all have uploaded theirs
    try:
        checkpoint.restore_weights(session.writer.store, found.step, session.scratch, model)
    except (ValueError, KeyError) as error:
        raise TrainerError(
            ExitCode.NOT_FOUND,
            "BestCheckpointLost",
            f"the checkpoint of step {found.step}, whose weights are the result, can't be read: "
            f"{error}; nobody but the trainer may delete below checkpoints/. Change the spec to "
            "train anew",
            "training.earlyStopping",
        ) from error


def best_of(snapshot: Snapshot | None) -> Best | None:
    """What a checkpoint says of it."""
    document = snapshot.document.get("best") if snapshot else None
    return Best.read(document) if document else None
