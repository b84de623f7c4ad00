"""Whether a package for a device can be proven here: each is run before it is published."""

from luthier_api.adapterbundle import Bundling
from luthier_trainer.errors import unsupported


def require_target(bundling: Bundling) -> None:
    """Raises TrainerError (TargetNotSupported)."""
    device = bundling.target.device
    if device != "cpu":
        raise unsupported(
            "TargetNotSupported",
            f"a bundle's adapters are proven where they are built, and this trainer's "
            f"onnxruntime-genai runs on the CPU alone, not on {device}; set target.device to cpu",
            "target.device",
        )
