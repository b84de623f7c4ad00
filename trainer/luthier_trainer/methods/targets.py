"""Which modules of a model get an update, and which are trained in full."""

import re
from collections.abc import Collection, Iterable, Sequence
from typing import Any

from luthier_api.methods import Lora
from luthier_trainer.errors import unsupported
from luthier_trainer.methods.blocks import is_linear
from luthier_trainer.models.heads import head_modules, new_modules

_ROUTERS = {"gate", "router"}
_IN_LAYER = re.compile(r"\.\d+\.")


def resolve_targets(base: Any, lora: Lora) -> list[str] | str:
    """The modules that get an update, as peft's target_modules; none found is an error.

    auto and all-linear: every linear layer (Linear or GPT-2's Conv1D) but heads and output
    layers; auto leaves out what isn't inside a layer of a stack (poolers, projections) and the
    routers of mixtures of experts. Names are as short as they can be without meaning others.
    """
    linear = _linear_names(base)
    heads = trained_in_full(base, lora)
    free = [name for name in linear if not within(name, heads)]
    if lora.target_pattern is not None:
        return _by_pattern(base, lora.target_pattern, free)
    wish = lora.target_modules
    if wish == ["auto"]:
        chosen = [n for n in free if _IN_LAYER.search(n) and _leaf(n) not in _ROUTERS]
    elif wish == ["all-linear"]:
        chosen = free
    else:
        for name in wish:
            if not any(matches(n, name) for n in free):
                raise unsupported(
                    "UnknownModule",
                    f"the model has no linear layer {name!r}; it has: {_leaves(free)}",
                    "method.lora.targetModules",
                )
        chosen = [n for n in free if any(matches(n, name) for name in wish)]
    if not chosen:
        raise unsupported(
            "UnknownModule", "the model has no linear layer to adapt", "method.lora.targetModules"
        )
    return shortest_names(chosen, [name for name, _ in base.named_modules()])


def trained_in_full(base: Any, lora: Lora | None = None) -> list[str]:
    """Modules that are trained in full and saved: a task's head, what the checkpoint has no
    weights for, and those that are named. Raises TrainerError (UnknownModule,
    AmbiguousModule)."""
    names = [name for name, _ in base.named_modules() if name]
    named = lora.modules_to_save if lora else []
    for wish in named:
        found = [name for name in names if matches(name, wish)]
        if not found:
            raise unsupported(
                "UnknownModule",
                f"the model has no module {wish!r} to train in full; it has: {_leaves(names)}",
                "method.lora.modulesToSave",
            )
        # peft takes every name with this end, also in the middle of a word.
        others = [name for name in names if name.endswith(wish) and name not in found]
        if others:
            raise unsupported(
                "AmbiguousModule",
                f"{wish!r} would train {_leaves(others)} in full too: write more of the name, as "
                f"in {found[0]}, or leave it out",
                "method.lora.modulesToSave",
            )
    new = [name for name in new_modules(base) if not within(name, task_head(base))]
    return [*dict.fromkeys([*task_head(base), *new, *named])]


def task_head(base: Any) -> list[str]:
    """The layers that a task put on the model; a language model's output layer is none."""
    output = base.get_output_embeddings()
    return [name for name in head_modules(base) if base.get_submodule(name) is not output]


def check_patterns(patterns: Iterable[str], targets: Collection[str], param: str) -> None:
    """Raises TrainerError unless each key of rankPattern or alphaPattern means a module.

    `targets`: full names of the modules with an update. Keys match as in peft.
    """
    for pattern in patterns:
        try:
            found = any(re.match(rf"(.*\.)?({pattern})$", name) for name in targets)
        except re.error as error:
            raise _bad_pattern(pattern, error, param) from error
        if not found:
            raise unsupported(
                "UnknownModule",
                f"{pattern!r} matches none of the modules that get an update, which are: "
                f"{_leaves(targets)}",
                param,
            )


def matched(base: Any, targets: list[str] | str) -> list[str]:
    """Full names of the linear layers that peft's target_modules means."""
    names = _linear_names(base)
    if isinstance(targets, str):
        return [name for name in names if re.fullmatch(targets, name)]
    return [name for name in names if any(matches(name, target) for target in targets)]


def matches(name: str, wish: str) -> bool:
    """Whether peft takes module `name` for `wish`: the same, or its end."""
    return name == wish or name.endswith(f".{wish}")


def within(name: str, modules: Iterable[str]) -> bool:
    """Whether a module is one of `modules` or inside one."""
    parents = [name, *(name[:i] for i, letter in enumerate(name) if letter == ".")]
    return any(matches(parent, module) for parent in parents for module in modules)


def shortest_names(chosen: Collection[str], every: Iterable[str]) -> list[str]:
    """The shortest ends of names that mean all of `chosen` and no other of `every`."""
    others = {end for name in every if name not in chosen for end in _ends(name)}
    return sorted({next(end for end in _ends(name) if end not in others) for name in chosen})


def _ends(name: str) -> list[str]:
    parts = name.split(".")
    return [".".join(parts[i:]) for i in reversed(range(len(parts)))]


def _by_pattern(base: Any, pattern: str, free: list[str]) -> list[str] | str:
    param = "method.lora.targetPattern"
    try:
        expression = re.compile(pattern)
    except re.error as error:
        raise _bad_pattern(pattern, error, param) from error
    every = [name for name, _ in base.named_modules()]
    found = [name for name in every if expression.fullmatch(name)]
    chosen = [name for name in found if name in set(free)]
    if not chosen:
        raise unsupported(
            "UnknownModule",
            f"{pattern!r} matches no linear layer's whole name; names are like "
            f"{', '.join(free[:3])}",
            param,
        )
    others = [name for name in found if name not in chosen and _has_weights(base, name)]
    if others:
        raise unsupported(
            "NoUpdate",
            f"{pattern!r} matches {_some(others)}: only linear layers that aren't trained in full "
            "get an update, and no output layer; let the pattern leave them out (a whole embedding "
            "or norm is trained by modulesToSave)",
            param,
        )
    # What else it matches (their parents, activations) peft would refuse.
    return pattern if chosen == found else shortest_names(chosen, every)


def _has_weights(base: Any, name: str) -> bool:
    """Whether it is a layer with weights of its own, and not one that holds others."""
    module = base.get_submodule(name)
    return not any(module.children()) and any(True for _ in module.parameters())


def _some(names: Sequence[str]) -> str:
    rest = len(names) - 3
    return ", ".join(names[:3]) + (f" and {rest} more" if rest > 0 else "")


def _linear_names(base: Any) -> list[str]:
    head = base.get_output_embeddings()
    return [
        name for name, module in base.named_modules() if is_linear(module) and module is not head
    ]


def _bad_pattern(pattern: str, error: re.error, param: str) -> Exception:
    return unsupported("BadPattern", f"{pattern!r} is no regular expression: {error}", param)


def _leaf(name: str) -> str:
    return name.rpartition(".")[2]


def _leaves(names: Iterable[str]) -> str:
    return ", ".join(sorted({_leaf(name) for name in names})[:40])
