"""What an optimiser needs before it is made."""

from luthier_api.optimizers import of_bitsandbytes
from luthier_trainer.models.quantized import show_bitsandbytes


def prepare_optimizer(name: str) -> None:
    """Bring bitsandbytes in for its optimisers, in a fresh state."""
    if not of_bitsandbytes(name):
        return
    show_bitsandbytes()
    from bitsandbytes.optim.optimizer import GlobalOptimManager

    # It remembers settings by the addresses of the weights of earlier trainings.
    GlobalOptimManager.get_instance().initialize()  # type: ignore[no-untyped-call]
