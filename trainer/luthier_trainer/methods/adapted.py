"""A base model with an adapter of peft: lora, qlora, ia3, prefix and prompt."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from luthier_trainer.errors import unsupported
from luthier_trainer.methods.exchange import exchanged
from luthier_trainer.methods.merge import merge_adapter
from luthier_trainer.methods.savedweights import check_saved_weights
from luthier_trainer.methods.tuned import Merged
from luthier_trainer.models.load import BaseSource

_WEIGHTS = "adapter_model.safetensors"
# What changes the effect of the same weights, and the field that sets it.
_SCALES = {
    "r": "method.lora.rank",
    "lora_alpha": "method.lora.alpha",
    "use_rslora": "method.lora.rankStabilized",
    "use_dora": "method.lora.dora",
    "bias": "method.lora.bias",
    "rank_pattern": "method.lora.rankPattern",
    "alpha_pattern": "method.lora.alphaPattern",
    "num_virtual_tokens": "method.virtualTokens.count",
}


class Adapted:
    """A PeftModel in training."""

    artifact = "adapter"

    def __init__(
        self,
        model: Any,
        source: BaseSource,
        resolved: dict[str, str],
        *,
        base_uri: str,
        originals: dict[str, Tensor],
        mergeable: bool,
    ) -> None:
        """`originals`: the base's own weights that are trained where they are, by name."""
        self.model = model
        self.resolved = resolved
        self._source = source
        self.beside = originals
        self._mergeable = mergeable
        # As peft names one of a hub, so that its own loaders find it.
        model.peft_config["default"].base_model_name_or_path = base_uri.removeprefix("hf://")

    @contextmanager
    def base(self) -> Iterator[Any]:
        parameters = dict(self.model.named_parameters())
        pairs = [(parameters[name], original) for name, original in self.beside.items()]
        if self.model.active_peft_config.is_prompt_learning:
            # The tokens are put before the text outside of it.
            with _saved_modules_off(self.model):
                yield self.model.get_base_model()
        else:
            with exchanged(pairs), self.model.disable_adapter():
                yield self.model

    def take(self, folder: Path) -> None:
        from peft import PeftConfig, get_peft_model_state_dict, set_peft_model_state_dict

        saved, own = PeftConfig.from_pretrained(folder), self.model.active_peft_config
        for name, field in _SCALES.items():
            there, here = getattr(saved, name, None), getattr(own, name, None)
            if there != here:
                raise ValueError(f"{field} is {there} there, and {here} here")
        tensors = load_file(folder / _WEIGHTS)
        check_saved_weights(
            get_peft_model_state_dict(self.model, save_embedding_layers=False), tensors
        )
        set_peft_model_state_dict(self.model, tensors)

    def settle(self) -> None:
        """It is written in fp32, as it is."""

    def collect(self, folder: Path) -> None:
        """What is saved is whole in each process."""

    def save(self, folder: Path) -> None:
        # save_embedding_layers: without it peft looks for the base model on a hub.
        self.model.save_pretrained(folder, safe_serialization=True, save_embedding_layers=False)
        (folder / "README.md").unlink(missing_ok=True)  # the artifact has a card of its own

    def merge(self, folder: Path, memory: int | None = None) -> Merged:
        if not self._mergeable:
            raise unsupported(
                "NotMergeable",
                "virtual tokens are no change of weights, so they can't be merged: set merge to "
                "false",
                "method.merge",
            )
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent) as adapter:
            self.save(Path(adapter))
            return merge_adapter(Path(adapter), self._source, folder, memory=memory)


def adapt(base: Any, config: Any, seed: int) -> tuple[Any, dict[str, Tensor]]:
    """(PeftModel, copies of the base's weights that it trains in place, by name).

    Trainable weights are in fp32 and drawn from `seed`.
    """
    from peft import get_peft_model

    # The seed decides the initial weights whatever was drawn before.
    torch.manual_seed(seed)
    before = {id(parameter) for parameter in base.parameters()}
    model = get_peft_model(base, config, autocast_adapter_dtype=True)
    trained = {n: p for n, p in model.named_parameters() if p.requires_grad}
    for parameter in trained.values():
        parameter.data = parameter.data.float()
    own = {n: p.detach().clone() for n, p in trained.items() if id(p) in before}
    return model, own


@contextmanager
def _saved_modules_off(model: Any) -> Iterator[None]:
    """peft leaves the modules that are trained in full on, where it turns virtual tokens off."""
    from peft.utils.other import ModulesToSaveWrapper

    wrappers = [
        module
        for module in model.modules()
        if isinstance(module, ModulesToSaveWrapper) and not module.disable_adapters
    ]
    for wrapper in wrappers:
        wrapper.enable_adapters(False)
    try:
        yield
    finally:
        for wrapper in wrappers:
            wrapper.enable_adapters(True)
