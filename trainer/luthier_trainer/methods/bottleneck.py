"""Bottleneck adapters: small layers on the outputs of a frozen model's attentions and MLPs.

Houlsby et al., https://arxiv.org/abs/1902.00751; Pfeiffer et al.,
https://arxiv.org/abs/2005.00247. An adapter sits on the last linear layer of its block, before
the residual sum. `load` puts a saved set of them on a plain transformers model.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from luthier_api.methods import Bottleneck as Settings
from luthier_trainer.errors import unsupported
from luthier_trainer.methods.blocks import find_blocks
from luthier_trainer.methods.exchange import exchanged
from luthier_trainer.methods.savedweights import check_saved_weights
from luthier_trainer.methods.targets import trained_in_full
from luthier_trainer.methods.tuned import Merged

_CONFIG, _WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
_CHILD = "bottleneck"
_ACTIVATIONS: dict[str, type[nn.Module]] = {
    "relu": nn.ReLU,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "tanh": nn.Tanh,
}


@dataclass(frozen=True)
class Placement:
    """What adapter_config.json says: where the adapters are, and their form.

    `sizes`: full name of the linear layer that an adapter sits on → the adapter's hidden size.
    `modules_to_save`: modules that are trained in full.
    """

    sizes: dict[str, int]
    activation: str
    modules_to_save: list[str]
    base_model_name_or_path: str
    adapter_type: str = "bottleneck"


class Bottleneck(nn.Module):
    """y = x + up(activation(down(x))), for x [..., width]; at first y = x."""

    def __init__(self, width: int, size: int, activation: str) -> None:
        super().__init__()
        self.down = nn.Linear(width, size)
        self.up = nn.Linear(size, width)
        self.activation = _ACTIVATIONS[activation]()
        self.enabled = True
        nn.init.zeros_(self.up.weight)
        nn.init.zeros_(self.up.bias)

    def forward(self, x: Tensor) -> Tensor:
        if not self.enabled:
            return x
        change = self.up(self.activation(self.down(x.to(self.down.weight.dtype))))
        y: Tensor = x + change.to(x.dtype)
        return y


class BottleneckTuned:
    """A frozen base model with bottleneck adapters in training."""

    artifact = "adapter"

    def __init__(self, model: Any, settings: Settings, seed: int, base_uri: str) -> None:
        placement = _place(model, settings, base_uri)
        model.requires_grad_(False)
        # The seed decides the initial weights whatever was drawn before.
        torch.manual_seed(seed)
        _attach(model, placement)
        for name in placement.modules_to_save:
            model.get_submodule(name).requires_grad_(True).float()
        self.model = model
        self.resolved = {"adapters": f"{len(placement.sizes)} ({settings.placement})"}
        self._placement = placement
        self.beside = {n: t.detach().clone() for n, t in _saved_modules(model, placement)}

    @contextmanager
    def base(self) -> Iterator[Any]:
        saved = _saved_modules(self.model, self._placement)
        with exchanged((t, self.beside[n]) for n, t in saved), _off(self.model):
            yield self.model

    def take(self, folder: Path) -> None:
        document = json.loads((folder / _CONFIG).read_text())
        if document.get("activation") != self._placement.activation:
            raise ValueError(f"method.adapter.activation is {document.get('activation')} there")
        own, tensors = self._weights(), load_file(folder / _WEIGHTS)
        check_saved_weights(own, tensors)
        with torch.no_grad():
            for name, parameter in own.items():
                parameter.copy_(tensors[name])

    def _weights(self) -> dict[str, Tensor]:
        weights = {n: t for n, t in self.model.named_parameters() if f".{_CHILD}." in n}
        return weights | dict(_saved_modules(self.model, self._placement))

    def settle(self) -> None:
        """It is written in fp32, as it is."""

    def collect(self, folder: Path) -> None:
        """What is saved is whole in each process."""

    def save(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        weights = self._weights()
        tensors = {n: t.detach().to("cpu", copy=True).contiguous() for n, t in weights.items()}
        save_file(tensors, folder / _WEIGHTS, metadata={"format": "pt"})
        (folder / _CONFIG).write_text(json.dumps(asdict(self._placement), indent=2))

    def merge(self, folder: Path, memory: int | None = None) -> Merged:  # noqa: ARG002 - a Tuned's
        raise unsupported(
            "NotMergeable",
            "bottleneck adapters are layers of their own, so they can't be merged into the "
            "base's weights: set merge to false",
            "method.merge",
        )


def load(model: Any, folder: Path) -> Any:
    """Put saved adapters on a plain transformers model of the same base; returns the model.

    Raises ValueError if they don't fit.
    """
    document = json.loads((folder / _CONFIG).read_text())
    if document.get("adapter_type") != Placement.adapter_type:
        raise ValueError(f"{folder / _CONFIG} describes no bottleneck adapters")
    placement = Placement(**document)
    _attach(model, placement)
    tensors = load_file(folder / _WEIGHTS)
    found = model.load_state_dict(tensors, strict=False)
    lacking = [key for key in found.missing_keys if f".{_CHILD}." in key]
    if found.unexpected_keys or lacking:
        raise ValueError(f"the adapters don't fit: {[*found.unexpected_keys, *lacking][:5]}")
    return model


def _place(model: Any, settings: Settings, base_uri: str) -> Placement:
    blocks = find_blocks(model)
    if {block.kind for block in blocks} != {"attention", "mlp"}:
        raise unsupported(
            "WrongArchitecture",
            "bottleneck adapters sit on attentions and MLPs of linear layers, which the model "
            "lacks: use lora or full",
            "method.type",
        )
    kinds = ("mlp",) if settings.placement == "pfeiffer" else ("attention", "mlp")
    sizes = {
        block.output: max(1, _width(model, block.output) // settings.reduction_factor)
        for block in blocks
        if block.kind in kinds
    }
    return Placement(sizes, settings.activation, trained_in_full(model), base_uri)


def _attach(model: Any, placement: Placement) -> None:
    for name, size in placement.sizes.items():
        try:
            linear = model.get_submodule(name)
        except AttributeError:
            raise ValueError(f"the adapters don't fit: the model has no layer {name}") from None
        adapter = Bottleneck(_width(model, name), size, placement.activation)
        linear.add_module(_CHILD, adapter.to(linear.weight.device))
        linear.register_forward_hook(lambda module, _, output: getattr(module, _CHILD)(output))


def _width(model: Any, name: str) -> int:
    """Size of a linear layer's output; Conv1D names it otherwise."""
    linear = model.get_submodule(name)
    width: int = linear.out_features if isinstance(linear, nn.Linear) else linear.nf
    return width


def _saved_modules(model: Any, placement: Placement) -> Iterator[tuple[str, nn.Parameter]]:
    for module in placement.modules_to_save:
        for name, parameter in model.get_submodule(module).named_parameters():
            yield f"{module}.{name}", parameter


@contextmanager
def _off(model: nn.Module) -> Iterator[None]:
    adapters = [module for module in model.modules() if isinstance(module, Bottleneck)]
    for adapter in adapters:
        adapter.enabled = False
    try:
        yield
    finally:
        for adapter in adapters:
            adapter.enabled = True
