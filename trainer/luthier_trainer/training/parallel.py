"""How the processes of a training share its memory: each holds all (ddp), or a part (fsdp)."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from luthier_api.finetuning import FineTuning
from luthier_api.methods import Method
from luthier_api.optimizers import WHOLE_WEIGHTS, state_bytes_per_weight
from luthier_api.training import FSDP_METHODS, Training
from luthier_trainer.distributed.world import World
from luthier_trainer.errors import unsupported
from luthier_trainer.log import log
from luthier_trainer.machine import memory
from luthier_trainer.machine.device import on_gpu
from luthier_trainer.methods.apply import trained_type
from luthier_trainer.models.architecture import Architecture, describe
from luthier_trainer.models.files import has_experts, main_type, stored_bytes
from luthier_trainer.models.precision import Precision

# Of a device's memory; the rest is for what a batch needs.
_ROOM = 0.75
_STORED = {"BF16": 2, "F16": 2, "F64": 8}


@dataclass(frozen=True)
class Parallel:
    """`shared`: whether the model is shared out. `notes`: of it, for people."""

    shared: bool
    notes: dict[str, str]


def choose_parallel(
    tuning: FineTuning,
    folder: Path,
    precision: Precision,
    world: World,
    memory_bytes: int | None,
) -> Parallel:
    """For all processes, as the first one finds. Raises TrainerError (NotShared), PeersLost."""
    if world.size == 1:
        return Parallel(shared=False, notes={})
    method, training = tuning.method, tuning.training
    alone = held(folder, method, training, precision)
    why_not = hindrance(method, training, describe(folder), folder, precision)
    shared = is_shared(training.parallel, alone, device_bytes(memory_bytes), why_not)
    shared = world.share(shared)
    each = f"ddp {alone / 1e9:.2f} GB, fsdp {alone / world.size / 1e9:.2f} GB"
    log(f"each of {world.size} processes holds of weights, gradients and optimizer: {each}")
    return Parallel(shared, {"parallel": "fsdp" if shared else "ddp", "heldByEach": each})


def held(folder: Path, method: Method, training: Training, precision: Precision) -> int:
    """Bytes of weights, gradients and optimiser that one process alone would hold, by the headers
    of the model's files; what an adapter has of its own left out."""
    numbers = stored_bytes(folder) // _STORED.get(main_type(folder), 4)
    if method.type != "full":
        return numbers * precision.frozen_dtype.itemsize
    each = 2 * trained_type(method).itemsize + state_bytes_per_weight(training.optimizer)
    return int(numbers * each)


def is_shared(wish: str, alone: int, room: int, hindrance: str | None) -> bool:
    """Whether the model is shared out. `alone`: bytes that each process holds where it isn't;
    `room`: of its device. Raises TrainerError (NotShared) where it is wished for and can't be."""
    if wish == "fsdp" and hindrance:
        raise unsupported(
            "NotShared",
            f"parallel is fsdp, and {hindrance}: set it to Auto or ddp",
            "training.parallel",
        )
    if wish != "Auto":
        return wish == "fsdp"
    large = alone > _ROOM * room
    if large and hindrance:
        log(
            f"warning: each process holds {alone / 1e9:.1f} GB of {room / 1e9:.1f} GB, which fsdp "
            f"would share among them; but {hindrance}"
        )
    return large and not hindrance


def hindrance(
    method: Method,
    training: Training,
    architecture: Architecture,
    folder: Path,
    precision: Precision,
) -> str | None:
    """Why the model can't be shared out; None: it can."""
    if method.type not in FSDP_METHODS:
        return f"the method {method.type} isn't shared out, only {_listed(FSDP_METHODS)}"
    if architecture.kind == "encoder-decoder":
        return "an encoder-decoder isn't shared out: its encoder answers by itself"
    if method.type == "full":
        if training.optimizer in WHOLE_WEIGHTS:
            return f"{training.optimizer} goes by whole weights"
        if precision.name == "fp16":
            return "full fine-tuning in fp16 isn't shared out"
    if training.kto:
        return "kto asks about other rows' answers, as many times as each process has rows"
    if method.type != "full" and has_experts(folder):
        return "updates of experts' weights aren't shared out"
    return None


def device_bytes(given: int | None) -> int:
    """All that there is for a process, whatever is in use now: the same each time."""
    if on_gpu():
        return int(torch.cuda.get_device_properties(0).total_memory)
    return memory.machine_bytes(given)


def _listed(names: Sequence[str]) -> str:
    return " and ".join(names)
