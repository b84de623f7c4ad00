"""LoRA and its relatives, as tools call their settings."""

import re
from typing import Any

from luthier_cli.convert.mapping import Said, UnsaidError
from luthier_cli.convert.told import Fate
from luthier_cli.convert.values import number, table, whole, words

_PATTERN = re.compile(r"[*\\|()\[\]+?^$]")
INITIALISED = "adapters begin as peft's own: gaussian A, zero B"
SPLIT_RATES = "one learning rate is for all that is trained"
LAYERS = "all layers get an update: targetPattern chooses some, e.g. .*\\.(1[2-9])\\..*_proj"
EIGHT_BITS = "a base in 8 bits is no method here: lora has it in bf16, qlora in 4 bits"
TOKENS = "the tokenizer is the model's own: no tokens are added"
AUTO = "peft's choice by the architecture, often of attention alone; auto is every linear layer"


def modules(value: Any) -> Any:
    """Names of modules; a pattern is targetPattern's."""
    names = words(value)
    if len(names) == 1 and names[0].lower() in ("all", "all-linear", "all_linear"):
        return ["all-linear"]
    if any(_PATTERN.search(it) for it in names):
        raise UnsaidError("it is a pattern: set method.lora.targetPattern")
    return names


def ranks(value: Any) -> dict[str, int]:
    """Ranks by module."""
    return {str(name): whole(it) for name, it in table(value).items()}


def alphas(value: Any) -> dict[str, float]:
    """Alphas by module."""
    return {str(name): number(it) for name, it in table(value).items()}


def initial(value: Any) -> Any:
    """init_lora_weights: true is peft's own."""
    if value is True or str(value).lower() in ("true", "default"):
        return Said(None, "so it is here, too", Fate.MOOT)
    raise UnsaidError(INITIALISED)
