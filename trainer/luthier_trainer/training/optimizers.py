"""What an optimiser needs before it is made, and after its state is restored."""

from typing import Any

from luthier_api.optimizers import of_bitsandbytes
from luthier_trainer.models.quantized import show_bitsandbytes

# As bitsandbytes has it: which states are paged, of weights of how many numbers.
_PAGED, _PAGED_FROM = {"state1", "state2"}, 100_000


def prepare_optimizer(name: str) -> None:
    """Bring bitsandbytes in for its optimisers, in a fresh state."""
    if not of_bitsandbytes(name):
        return
    show_bitsandbytes()
    from bitsandbytes.optim.optimizer import GlobalOptimManager

    # It remembers settings by the addresses of the weights of earlier trainings.
    GlobalOptimManager.get_instance().initialize()  # type: ignore[no-untyped-call]


def page_again(optimizer: Any) -> None:
    """Put restored states where a paged optimiser has them: bitsandbytes pages those that it
    makes, and leaves those that it loads in the GPU's memory."""
    optimizer = getattr(optimizer, "optimizer", optimizer)  # within accelerate's
    if not getattr(optimizer, "is_paged", False):
        return
    from bitsandbytes import functional

    for parameter, state in optimizer.state.items():
        if not parameter.is_cuda or parameter.numel() < _PAGED_FROM:
            continue
        for name in _PAGED & state.keys():
            loaded = state[name]
            state[name] = functional.get_paged(  # type: ignore[no-untyped-call]
                *loaded.shape, dtype=loaded.dtype, device=parameter.device
            )
            state[name].copy_(loaded)
            optimizer.page_mng.paged_tensors.append(state[name])
