"""The processor that a run computes on: decided once, by what its spec asks for.

A GPU that is visible but not asked for (a workstation's, or a device plugin that shows all) isn't
used: precision, placement and estimates would each go by another of the two. Of several visible
ones a run has the first.
"""

from pathlib import Path
from typing import Literal

from luthier_api.result import ExitCode
from luthier_trainer.errors import TrainerError
from luthier_trainer.log import log

_NVIDIA = Path("/dev/nvidia0")
# What the run asked for; None where none did (tests and benches of parts): any GPU will do.
_asked: bool | None = None


def decide(gpus: int) -> None:
    """Compute on a GPU from now on, or on the CPU. Raises TrainerError (NoGpu)."""
    global _asked
    _asked = None
    if gpus and not on_gpu():
        raise TrainerError(
            ExitCode.INTERNAL,
            "NoGpu",
            f"placement.gpus is {gpus}, and torch finds no GPU it can use: the node's driver may "
            "be older than the image's CUDA, or the pool's image is one for CPUs; set "
            "placement.gpus to 0 to run on the CPU",
            "placement.gpus",
        )
    if not gpus and _NVIDIA.exists():
        log("a GPU is here, but placement.gpus is 0: computing on the CPU")
    _asked = gpus > 0


def on_gpu() -> bool:
    """Whether tensors go to a GPU."""
    import torch

    return _asked is not False and torch.cuda.is_available()


def name() -> Literal["cuda", "cpu"]:
    """Where models and batches go, in torch's words."""
    return "cuda" if on_gpu() else "cpu"


def visible(gpus: int) -> dict[str, str]:
    """Settings of a process that is to see no GPU where none was asked for: libraries look for
    one themselves."""
    return {} if gpus else {"CUDA_VISIBLE_DEVICES": ""}


def multiplies_bf16() -> bool:
    """Whether the GPU has bfloat16 arithmetic. Cards before Ampere (T4, V100, RTX 20) emulate it,
    slower than fp32; torch counts that as support unless told not to."""
    import torch

    return on_gpu() and torch.cuda.is_bf16_supported(including_emulation=False)
