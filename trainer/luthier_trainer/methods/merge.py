"""An adapter merged into the weights of its base model, and the proof that it was."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from luthier_api.result import ExitCode
from luthier_trainer.errors import TrainerError
from luthier_trainer.methods.exact import exact
from luthier_trainer.methods.tuned import Merged
from luthier_trainer.models.load import BaseSource, base_config, stored_type
from luthier_trainer.models.save import save_model
from luthier_trainer.runtime import resident_bytes

_ROWS, _TOKENS = 4, 16
_TOLERANCE = 1e-3  # relative to the largest logit
# Of what an adapter changes, the share that rounding may take, and below which it is none.
_MOST_LOST, _NOTHING = 0.5, 1e-4
# What merging needs, of the weights in the type that they are held in: beside them there is a layer
# in fp32.
MERGING = 1.1
_WIDTH = 4  # of a number in fp32


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

    All is computed in fp32, but the weights are held in the type that they are stored in: one copy
    of them, and a layer. Only where the result is in fp32 are all of them.
    """
    from peft import PeftModel

    held = dtype or stored_type(source.folder)
    base = source.load_as(held)
    rows = _rows(base)
    untouched = _answers(base, rows)
    model = PeftModel.from_pretrained(base, adapter)
    expected = _answers(model, rows)
    _unwrap(model)
    merged = _merged(model)
    if held == torch.float32:  # else it is rounded already
        _check(_answers(merged, rows), expected, _TOLERANCE)
    _untie(merged)
    dtype = dtype or getattr(base_config(source.folder), "dtype", None) or torch.float32
    save_model(merged.to(dtype), source.folder, folder)
    del model, merged, base
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
    needed = round(MERGING * _WIDTH * sum(weight.numel() for weight in reloaded.parameters()))
    del reloaded
    needed += resident_bytes()
    if memory and needed > memory:
        return replace(
            merge,
            warning=f"the base's type, {kind}, rounds {lost:.0%} of the adapter's effect away, and "
            f"to keep it in float32 needs {needed / 1e9:.1f} GB of the machine's memory, of which "
            f"there are {memory / 1e9:.1f} GB: use the adapter, or a pool with more memory",
        )
    shutil.rmtree(folder)
    unrounded = merge_adapter(adapter, source, folder, torch.float32)
    return replace(
        unrounded,
        warning=f"the base's type, {kind}, would round {lost:.0%} of the adapter's effect away: "
        "the merged model is in float32",
    )


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


def _merged(model: Any) -> Any:
    """The base model with the adapter in its weights, summed up in fp32, a module at a time."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    for layer in [m for m in model.modules() if isinstance(m, BaseTunerLayer)]:
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
