"""A loss of the user's own. Whether it may run at all is decided before."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from luthier_trainer.pod.usercode import UserCode

_HOLDS = (Tensor, torch.nn.Module)
# Where a module keeps what Module.to moves.
_OF_TORCH = ("_parameters", "_buffers", "_modules")


class UserLoss:
    """What the objective calls: (outputs, batch) -> loss, one number or one of each example.

    A loss of pairs, with three parameters (output1, output2, label), is called with these.
    Raises TrainerError (UserCodeFailed), which names the user's file and line.
    """

    def __init__(
        self,
        call: Callable[..., Any],
        code: UserCode,
        parameters: int,
        held: Sequence[dict[str, Any]] = (),
    ) -> None:
        """`held`: where the code has its tensors and modules, by name."""
        self._call = call
        self._held = held
        self._code = code
        self.parameters = parameters

    @property
    def of_pairs(self) -> bool:
        return self.parameters == 3

    def to(self, device: torch.device) -> None:
        """Move what the code holds to where the outputs are: the weights of classes, say."""
        for _, names in _places(self._held):
            for name, value in _named(names):
                names[name] = _moved(value, device)

    def __call__(self, *arguments: Any) -> Tensor:
        """The loss, [] or [examples]."""
        with self._code.running():
            loss = self._call(*arguments)
        if not isinstance(loss, Tensor):
            raise self._code.refused(f"it returned {type(loss).__name__}: return a tensor")
        if torch.is_grad_enabled() and not loss.requires_grad:
            raise self._code.refused(
                "what it returned doesn't depend on the model: compute it from the outputs, "
                "without .item() and .detach()"
            )
        if loss.numel() == 1:
            return loss.reshape(())
        batch = arguments[-1]
        examples = len(batch["labels"] if isinstance(batch, Mapping) else batch)
        if loss.shape != (examples,):
            raise self._code.refused(
                f"it returned a tensor of shape {list(loss.shape)}: return one number, or one of "
                f"each of the {examples} examples"
            )
        return loss


def load_loss(source: Path, entrypoint: str) -> UserLoss:
    """The function, or an instance of the class, `entrypoint` in the file `source`.

    Raises TrainerError (UserCodeFailed).
    """
    code = UserCode(source, "loss", "training.loss")
    found = code.entrypoint(entrypoint)
    if inspect.isclass(found):
        with code.running():
            found = found()
    call = found if callable(found) else getattr(found, "forward", None)
    if not callable(call):
        raise code.refused(
            f"{entrypoint} can't be called: make it a function, or a class with forward"
        )
    held = [_own(found), code.names]
    _check_trains_nothing(held, code)
    return UserLoss(call, code, _parameters(call, entrypoint, code), held)


def _own(found: Any) -> dict[str, Any]:
    """What a loss itself keeps its tensors and modules in. Those of its class become its own: the
    class may be a library's."""
    if not hasattr(found, "__dict__"):
        return {}
    for kind in type(found).__mro__:
        for name, value in vars(kind).items():
            if name not in vars(found) and any(isinstance(it, _HOLDS) for it in _within(value)):
                vars(found)[name] = value
    return {"": found} if isinstance(found, torch.nn.Module) else vars(found)


def _places(held: Sequence[dict[str, Any]]) -> list[tuple[str, dict[str, Any]]]:
    """Where tensors and modules are kept, with what stands before their names: in `held`, and in
    attributes of the modules there, which Module.to doesn't move unless they are buffers."""
    found: list[tuple[str, dict[str, Any]]] = [("", names) for names in held]
    for names in held:
        for name, value in _named(names):
            for module in _within(value):
                if isinstance(module, torch.nn.Module):
                    inner = module.named_modules()
                    found += [(f"{name}.{path}".strip("."), vars(each)) for path, each in inner]
    return found


def _named(names: Mapping[str, Any]) -> list[tuple[str, Any]]:
    return [(name, value) for name, value in names.items() if name not in _OF_TORCH]


def _within(value: Any) -> list[Any]:
    """What a list, tuple or dict holds; of others themselves."""
    if isinstance(value, dict):
        return list(value.values())
    return list(value) if isinstance(value, list | tuple) else [value]


def _moved(value: Any, device: torch.device) -> Any:
    if isinstance(value, _HOLDS):
        return value.to(device)
    if not any(isinstance(it, _HOLDS) for it in _within(value)):
        return value
    moved = [it.to(device) if isinstance(it, _HOLDS) else it for it in _within(value)]
    if isinstance(value, dict):
        value.update(zip(value, moved, strict=True))
    elif isinstance(value, list):
        value[:] = moved
    else:  # a named tuple takes its fields one by one
        return value._make(moved) if hasattr(value, "_make") else type(value)(moved)
    return value


def _check_trains_nothing(held: Sequence[dict[str, Any]], code: UserCode) -> None:
    """Raises TrainerError (UserCodeFailed): what a loss learns would be in no optimiser, no
    checkpoint and no artifact."""
    tensors: dict[str, Tensor] = {}
    for where, names in _places(held):
        for name, value in _named(names):
            path = f"{where}.{name}".strip(".")
            for each in _within(value):
                if isinstance(each, torch.nn.Module):
                    tensors |= {f"{path}.{n}".lstrip("."): p for n, p in each.named_parameters()}
                elif isinstance(each, Tensor):
                    tensors[path] = each
    trained = [name for name, tensor in tensors.items() if tensor.requires_grad]
    if trained:
        raise code.refused(
            f"it has weights of its own ({', '.join(trained[:3])}), and only the model is "
            "trained: keep numbers that don't change by register_buffer, or set "
            "requires_grad_(False)"
        )


def _parameters(found: Callable[..., Any], entrypoint: str, code: UserCode) -> int:
    """2 or 3: how many arguments the loss takes."""
    target = found.forward if isinstance(found, torch.nn.Module) else found
    signature = inspect.signature(target)
    for count in (2, 3):
        try:
            signature.bind(*range(count))
        except TypeError:
            continue
        return count
    raise code.refused(
        f"{entrypoint}{signature} must take (outputs, batch), or (output1, output2, label)"
    )
