"""An adapter merged into the weights of its base model, and the proof that it was."""

import json
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from luthier_api.result import ExitCode
from luthier_trainer.errors import TrainerError
from luthier_trainer.machine.runtime import resident_bytes
from luthier_trainer.methods.exact import exact
from luthier_trainer.methods.tuned import Merged
from luthier_trainer.models.files import has_experts, largest_layer, stored_bytes
from luthier_trainer.models.load import BaseSource, base_config, stored_type
from luthier_trainer.models.save import save_model
from luthier_trainer.models.written import WrittenWeights, convert

_ROWS, _TOKENS = 4, 16
_TOLERANCE = 1e-3  # relative to the largest logit
# Of what an adapter changes, the share that rounding may take, and below which it is none.
_MOST_LOST, _NOTHING = 0.5, 1e-4
# What merging needs, of the weights in the type that they are held in, where all are in memory:
# beside them there is a layer in fp32.
_ALL = 1.1
# Bytes by number of the largest layer, where one is in memory at a time: in fp32, and once more.
_A_LAYER = 8
_WIDTH = 4  # of a number in fp32


def merging_bytes(folder: Path) -> int:
    """What a merge into the base in `folder` needs of the machine's memory."""
    if has_experts(folder):
        return round(_ALL * stored_bytes(folder))
    return _A_LAYER * largest_layer(folder)


def merge_adapter(
    adapter: Path,
    source: BaseSource,
    folder: Path,
    dtype: torch.dtype | None = None,
    memory: int | None = None,
) -> Merged:
    """Merge a saved adapter into the unquantised base, save it as `dtype` (left out: the base's own
    type), load it again and compare. Where that type would round most of the adapter away, it is
    saved in fp32, unless that needs more than `memory`. Raises TrainerError (MergeMismatch).

    All is computed in fp32, a layer at a time. The weights lie in files, of the base and of the
    result, which the system maps; the base is written as it is, and then each merged weight in its
    place. Only where the weights of experts are changed are all of them in memory.
    """
    return _merge(adapter, source, folder, dtype, memory, whole=_changes_parameters(adapter))


def _merge(
    adapter: Path,
    source: BaseSource,
    folder: Path,
    dtype: torch.dtype | None,
    memory: int | None,
    *,
    whole: bool,
) -> Merged:
    """`whole`: with all weights in memory, in the type that they are saved in."""
    from peft import PeftModel

    stored = stored_type(source.folder)
    held = dtype or stored if whole else stored
    base = source.load_as(held)
    rows = _rows(base)
    untouched = _answers(base, rows)
    model = PeftModel.from_pretrained(base, adapter)
    expected = _answers(model, rows)
    _unwrap(model)
    layers = {} if whole else _updated(model)
    merged = _merged(model) if whole else model.base_model.unload()
    _untie(merged)
    dtype = dtype or getattr(base_config(source.folder), "dtype", None) or torch.float32
    save_model(merged, source.folder, folder)
    if dtype != held:
        convert(folder, dtype)
    written = WrittenWeights(folder)
    if not all(name in written for name in _names(layers)):
        del model, merged, base, layers  # its files have other names than its modules
        return _merge(adapter, source, folder, dtype, memory, whole=True)
    _put_merged(layers, written, dtype)
    del model, merged, base, layers
    reloaded = BaseSource(folder, source.head, source.longest, source.seed).load_as(dtype)
    # Rounding to the base's own type moves the logits by a few of its steps.
    tolerance = max(_TOLERANCE, 4 * torch.finfo(dtype).eps)
    found = _answers(reloaded, rows)
    merge = Merged(folder, _check(found, expected, tolerance))
    lost = _lost(found, expected, untouched)
    if lost <= _MOST_LOST:
        return merge
    if dtype == torch.float32:
        raise _mismatch(f"it lacks {lost:.0%} of what the adapter changes")
    kind = str(dtype).removeprefix("torch.")
    weights = sum(weight.numel() for weight in reloaded.parameters())
    del reloaded
    needed = round(_ALL * _WIDTH * weights) + resident_bytes()
    if whole and memory and needed > memory:
        return replace(
            merge,
            warning=f"the base's type, {kind}, rounds {lost:.0%} of the adapter's effect away, and "
            f"to keep it in float32 needs {needed / 1e9:.1f} GB of the machine's memory, of which "
            f"there are {memory / 1e9:.1f} GB: use the adapter, or a pool with more memory",
        )
    shutil.rmtree(folder)
    unrounded = _merge(adapter, source, folder, torch.float32, None, whole=whole)
    return replace(
        unrounded,
        warning=f"the base's type, {kind}, would round {lost:.0%} of the adapter's effect away: "
        "the merged model is in float32",
    )


def _changes_parameters(adapter: Path) -> bool:
    """Whether it changes weights that belong to no layer of their own, as those of experts."""
    document = json.loads((adapter / "adapter_config.json").read_bytes())
    return bool(document.get("target_parameters"))


def _rows(model: Any) -> dict[str, Tensor]:
    """A few rows of random tokens, each with one end of text, at its end."""
    config = model.config
    special = {getattr(config, f"{name}_token_id", None) for name in ("pad", "bos", "eos")}
    ends = config.eos_token_id
    special |= set(ends) if isinstance(ends, list) else set()
    ordinary = torch.tensor([i for i in range(config.vocab_size) if i not in special])
    generator = torch.Generator().manual_seed(0)
    ids = ordinary[torch.randint(len(ordinary), (_ROWS, _TOKENS), generator=generator)]
    end = ends[0] if isinstance(ends, list) else ends
    if end is not None and end < config.vocab_size:
        ids[:, -1] = end
    rows = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    if model.config.is_encoder_decoder and "Conditional" in type(model).__name__:
        rows["decoder_input_ids"] = ids
    return rows


def _answers(model: Any, rows: dict[str, Tensor]) -> Tensor:
    model.eval()
    with torch.no_grad():
        try:
            with exact(model):
                output = model(**rows)
        except RuntimeError:  # it uses weights beside the modules that have them: all at once
            output = model.float()(**rows)
    answers: Tensor = output.logits if "logits" in output else output.last_hidden_state
    return answers.float()


def _updated(model: Any) -> dict[str, Any]:
    """The layers with an update, by the names of the base's modules."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    modules = model.base_model.model.named_modules()
    return {name: module for name, module in modules if isinstance(module, BaseTunerLayer)}


def _names(layers: dict[str, Any]) -> Iterator[str]:
    for name, layer in layers.items():
        for own, _ in layer.get_base_layer().named_parameters(recurse=False):
            yield f"{name}.{own}"


def _put_merged(layers: dict[str, Any], written: WrittenWeights, dtype: torch.dtype) -> None:
    for name, layer in layers.items():
        weights = dict(layer.get_base_layer().named_parameters(recurse=False))
        with _in_fp32(weights.values()):
            layer.merge(safe_merge=True)
            for own, weight in weights.items():
                written.put(f"{name}.{own}", weight.data.to(dtype))


@contextmanager
def _in_fp32(weights: Iterable[Tensor]) -> Iterator[None]:
    """Within it they may be changed; afterwards they are as before."""
    before = [(weight, weight.data) for weight in weights]
    for weight, data in before:
        weight.data = data.float()
    try:
        yield
    finally:
        for weight, data in before:
            weight.data = data


def _merged(model: Any) -> Any:
    """The base model with the adapter in its weights, summed up in fp32, a module at a time."""
    for layer in _updated(model).values():
        weights = [*layer.get_base_layer().parameters(recurse=False)]
        types = [weight.dtype for weight in weights]
        for weight in weights:
            weight.data = weight.data.float()
        layer.merge(safe_merge=True)
        for weight, kind in zip(weights, types, strict=True):
            weight.data = weight.data.to(kind)
    return model.base_model.unload()


def _check(found: Tensor, expected: Tensor, tolerance: float) -> float:
    """The largest difference; raises TrainerError (MergeMismatch) above the tolerance."""
    difference = float((found - expected).abs().max())
    relative = difference / max(float(expected.abs().max()), 1e-9)
    if not relative <= tolerance:
        raise _mismatch(
            f"its logits differ by {relative:.1e} of the largest (allowed: {tolerance:.0e})"
        )
    return difference


def _lost(found: Tensor, expected: Tensor, untouched: Tensor) -> float:
    """How far the answers found are from those expected, as a share of how far these are from the
    base's: 1 where the adapter is gone. 0 where it changes next to nothing."""
    effect = float((expected - untouched).norm())
    if effect <= _NOTHING * float(expected.norm()):
        return 0.0
    return float((found - expected).norm()) / effect


def _mismatch(what: str) -> TrainerError:
    return TrainerError(
        ExitCode.INTERNAL,
        "MergeMismatch",
        f"the merged model answers otherwise than base and adapter: {what}; set merge to false and "
        "use the adapter, which isn't affected",
        "method.merge",
    )


def _unwrap(model: Any) -> None:
    """Put the modules that were trained in full in their places; peft can't with heads of
    several layers under IA³."""
    from peft.utils.other import ModulesToSaveWrapper

    wrappers = {n: m for n, m in model.named_modules() if isinstance(m, ModulesToSaveWrapper)}
    for name, wrapper in wrappers.items():
        parent, _, child = name.rpartition(".")
        setattr(model.get_submodule(parent), child, wrapper.modules_to_save["default"])


def _untie(model: Any) -> None:
    """Let the config say that output layer and embeddings differ, where training made them."""
    output, inputs = model.get_output_embeddings(), model.get_input_embeddings()
    tied = output is not None and output.weight is inputs.weight
    if output is not None and model.config.tie_word_embeddings and not tied:
        model.config.tie_word_embeddings = False
