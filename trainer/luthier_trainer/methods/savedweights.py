"""Whether saved weights are those of a model with the same settings."""

from collections.abc import Mapping

from torch import Tensor

_SHOWN = 3


def check_saved_weights(own: Mapping[str, Tensor], saved: Mapping[str, Tensor]) -> None:
    """The same names, and the same shapes. Raises ValueError."""
    for words, names in (
        ("lacks weights for", own.keys() - saved.keys()),
        ("has weights that the settings don't ask for, of", saved.keys() - own.keys()),
    ):
        if names:
            shown = ", ".join(sorted(names)[:_SHOWN])
            raise ValueError(f"it {words} {shown}{' ...' if len(names) > _SHOWN else ''}")
    for name, tensor in own.items():
        if saved[name].shape != tensor.shape:
            sizes = ["x".join(map(str, it.shape)) for it in (saved[name], tensor)]
            raise ValueError(f"{name} is {sizes[0]} there, and {sizes[1]} by the settings")
