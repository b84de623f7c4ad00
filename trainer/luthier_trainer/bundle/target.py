"""Whether a package for a device can be proven here: each is run before it is published."""

from luthier_api.adapterbundle import Bundling
from luthier_trainer.errors import unsupported
from luthier_trainer.optimize.genai.build import PRECISIONS


def require_target(bundling: Bundling) -> None:
    """Raises TrainerError (TargetNotSupported, PrecisionNotSupported)."""
    device = bundling.target.device
    if device != "cpu":
        raise unsupported(
            "TargetNotSupported",
            f"a bundle's adapters are proven where they are built, and this trainer's "
            f"onnxruntime-genai runs on the CPU alone, not on {device}; set target.device to cpu",
            "target.device",
        )
    if bundling.precision not in PRECISIONS[device]:
        raise unsupported(
            "PrecisionNotSupported",
            f"{bundling.precision} can't be built for {device}: choose from "
            f"{', '.join(PRECISIONS[device])}",
            "precision",
        )
