"""How several GPUs share one model: DeepSpeed's stages and FSDP."""

import re
from typing import Any

from luthier_cli.convert.mapping import Group
from luthier_cli.convert.told import Fate
from luthier_cli.convert.values import is_on, table

TARGET = "training.parallel"
NAMES = "deepspeed fsdp fsdp_config"
# What isn't a matter of whole rows on each GPU.
BY_PARTS = "GPUs have rows of their own: training.parallel shares out a model, no row and no layer"
_STAGE = re.compile(r"(?i)(?:zero|z|stage)[-_]?([0-3])")
_AUTO = "Auto shares the model out where a whole one wouldn't fit"
OWN = "how it is shared out is the trainer's"


def shared(it: Group) -> None:
    """Whether each GPU holds the whole model, or a part."""
    deepspeed, fsdp = it.get("deepspeed"), it.get("fsdp")
    if fsdp or table(it.get("fsdp_config")):
        it.put(TARGET, "fsdp", "fsdp" if fsdp else "fsdp_config")
    elif deepspeed and not is_on(deepspeed):
        _by_stage(it, _stage(deepspeed))
    it.moot("deepspeed", _AUTO)
    it.rest(OWN)


def _by_stage(it: Group, stage: int | None) -> None:
    if stage in (1, 2, 3):
        it.put(TARGET, "fsdp", "deepspeed", "as ZeRO's third stage", fate=Fate.DIFFERS)
    elif stage == 0:
        it.put(TARGET, "ddp", "deepspeed")


def _stage(given: Any) -> int | None:
    """The stage of ZeRO, of a configuration or the name of one."""
    if isinstance(given, dict):
        found = table(given.get("zero_optimization")).get("stage")
        return found if isinstance(found, int) else None
    match = _STAGE.search(str(given))
    return int(match[1]) if match else None
