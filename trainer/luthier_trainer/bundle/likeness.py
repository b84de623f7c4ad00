"""How near an adapter's logits in the package are to peft's."""

import numpy as np

from luthier_trainer.bundle.index import Proof
from luthier_trainer.bundle.package import Logits

# Below this an effect is none: an adapter that was never trained.
_NOTHING = 1e-4


def likeness(package: Logits, peft: Logits, package_base: Logits, base: Logits) -> Proof:
    """All are [tokens, vocabulary] of the same tokens; `base`s are without the adapter, peft's of
    the unquantised base.

    What is kept of the adapter's effect is what the package changes, projected on what peft
    changes: so the precision's noise, which points elsewhere, drops out.
    """
    effect = (peft - base).astype(np.float64)
    changed = (package - package_base).astype(np.float64)
    largest = float(np.abs(effect).max())
    return Proof(
        logits_difference=float(np.abs(package - peft).max()),
        base_difference=float(np.abs(package_base - base).max()),
        effect=largest,
        kept=float((changed * effect).sum() / (effect**2).sum()) if largest > _NOTHING else None,
    )
