"""Weights saved from a model within a wrapper: none that transformers or peft would load."""

from collections.abc import Mapping

from luthier_trainer.models.header import Tensor

# What torch.compile, DataParallel, FSDP and checkpointed activations put into names.
_WRAPPERS = frozenset(
    {
        "_orig_mod",
        "module",
        "_fsdp_wrapped_module",
        "_fpw_module",
        "_flat_param",
        "_checkpoint_wrapped_module",
    }
)
REMEDY = "it was saved from a compiled or sharded model: save it again from the plain one"


def saved_wrapped(tensors: Mapping[str, Tensor]) -> str | None:
    """What tells so of weights, by name; None: nothing does."""
    for key, tensor in tensors.items():
        wrapper = next((part for part in key.split(".") if part in _WRAPPERS), None)
        if wrapper:
            return f"{key[:200]} has {wrapper!r} in its name"
        if 0 in tensor.shape:  # a shard of DeepSpeed's, or of FSDP's, that lies elsewhere
            return f"{key[:200]} is empty, its shape {list(tensor.shape)}"
    return None
