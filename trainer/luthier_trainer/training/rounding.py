"""Weights in bf16 that learn: what an optimiser makes of them is rounded up or down by chance.

A step of 1e-5 is less than half of what two neighbouring numbers of bf16 differ by, so that
rounding to the nearest would lose it each time. Rounded by chance, with the nearer one as likely as
it is near, weights move as much as they should on the average (Zamirai et al., Revisiting BFloat16
Training, https://arxiv.org/abs/2010.06192).
"""

import hashlib
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

# Numbers that are rounded at once: what chance needs is 4 bytes each.
_PART = 1 << 24
_COUNT = "rounded_steps"


class StochasticRounding(torch.optim.Optimizer):
    """An optimiser whose weights in bf16 are fp32 while it steps, one weight at a time; so are its
    states, but for those in 8 bits.

    Chance is a function of the seed, of how many steps there were, which stands in the groups, and
    of the weight's place: a training that goes on rounds as it would have.
    """

    def __init__(self, optimizer: torch.optim.Optimizer, seed: int | str) -> None:
        # What an optimiser has is the wrapped one's.
        self.optimizer, self._seed = optimizer, seed

    @property
    def param_groups(self) -> Any:
        return self.optimizer.param_groups

    @param_groups.setter
    def param_groups(self, groups: Any) -> None:
        self.optimizer.param_groups = groups

    @property
    def state(self) -> Any:
        return self.optimizer.state

    @state.setter
    def state(self, state: Any) -> None:
        self.optimizer.state = state

    @property
    def defaults(self) -> Any:
        return self.optimizer.defaults

    @defaults.setter
    def defaults(self, defaults: Any) -> None:
        self.optimizer.defaults = defaults

    def state_dict(self) -> Any:
        return self.optimizer.state_dict()

    def zero_grad(self, set_to_none: bool = True) -> None:
        self.optimizer.zero_grad(set_to_none)

    def load_state_dict(self, state_dict: Any) -> None:
        """States come in the type of their weights, which is fp32 while they are used."""
        weights = [(p, p.data) for p in self._weights() if p.dtype == torch.bfloat16]
        for parameter, data in weights:
            parameter.data = data.new_empty(0, dtype=torch.float32)
        try:
            self.optimizer.load_state_dict(state_dict)
        finally:
            for parameter, data in weights:
                parameter.data = data

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> None:  # type: ignore[override]
        assert closure is None
        first = self.param_groups[0]
        first[_COUNT] = first.get(_COUNT, 0) + 1
        learnt = [(place, p) for place, p in enumerate(self._weights()) if p.grad is not None]
        gradients = {p: p.grad for _, p in learnt if p.grad is not None}
        small = [(place, p) for place, p in learnt if p.dtype == torch.bfloat16]
        for _, parameter in small:
            parameter.grad = None
        if len(small) < len(learnt):
            self.optimizer.step()
        for _, parameter in learnt:
            parameter.grad = None
        for place, parameter in small:
            data = parameter.data
            parameter.data = data.float().contiguous()
            parameter.grad = gradients[parameter].float()
            self.optimizer.step()
            parameter.grad = None
            _round(parameter.data, self._generator(place, data.device))
            data.copy_(parameter.data)
            parameter.data = data
        for parameter, gradient in gradients.items():
            parameter.grad = gradient

    def _weights(self) -> Iterable[Tensor]:
        return (p for group in self.param_groups for p in group["params"])

    def _generator(self, place: int, device: torch.device) -> torch.Generator:
        name = f"{self._seed}/{self.param_groups[0][_COUNT]}/{place}"
        digest = hashlib.sha256(name.encode()).digest()
        return torch.Generator(device).manual_seed(int.from_bytes(digest[:7], "little"))


def with_rounding(optimizer: torch.optim.Optimizer, seed: int | str) -> torch.optim.Optimizer:
    """As it is, where none of its weights is in bf16."""
    weights = (p for group in optimizer.param_groups for p in group["params"])
    if any(parameter.dtype == torch.bfloat16 for parameter in weights):
        return StochasticRounding(optimizer, seed)
    return optimizer


def step_bytes(trained: Iterable[Tensor]) -> int:
    """What a step holds at once beside weights, gradients and states: of the largest weight itself
    and its gradient in fp32, and chance."""
    largest = max((p.numel() for p in trained if p.dtype == torch.bfloat16), default=0)
    return 8 * largest + 4 * min(largest, _PART)


def _round(weights: Tensor, generator: torch.Generator) -> None:
    """fp32 to numbers that bf16 has, in place: up as likely as it is far on the way there.

    bf16 is the upper half of fp32's bits: a number of 16 bits is added to the lower one, which is
    then cut off.
    """
    bits = weights.view(-1).view(torch.int32)
    for part in torch.split(bits, _PART):
        chance = torch.empty_like(part).random_(0, 1 << 16, generator=generator)
        part.add_(chance).bitwise_and_(-(1 << 16))
