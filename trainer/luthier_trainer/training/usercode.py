"""A loss of the user's own. Whether it may run at all is decided before."""

import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from luthier_trainer.usercode import UserCode


class UserLoss:
    """What the objective calls: (outputs, batch) -> loss, one number or one of each example.

    A loss of pairs, with three parameters (output1, output2, label), is called with these.
    Raises TrainerError (UserCodeFailed), which names the user's file and line.
    """

    def __init__(self, call: Callable[..., Any], code: UserCode, parameters: int) -> None:
        self._call = call
        self._code = code
        self.parameters = parameters

    @property
    def of_pairs(self) -> bool:
        return self.parameters == 3

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
    if not callable(found):
        found = getattr(found, "forward", None)
    if not callable(found):
        raise code.refused(
            f"{entrypoint} can't be called: make it a function, or a class with forward"
        )
    return UserLoss(found, code, _parameters(found, entrypoint, code))


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
