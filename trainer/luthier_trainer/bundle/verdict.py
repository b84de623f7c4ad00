"""What a proof must show for an adapter to be in the package."""

from luthier_trainer.bundle.index import Proof
from luthier_trainer.packages.genai.unfit import UnfitError

# Of an unquantised base: what the order of sums in fp32 comes to, with a margin.
EXACT = 1e-3
# Of a quantised one: the share of an adapter's effect that must be there. None of it is, of an
# adapter that isn't active; twice, of one with a scale that is wrong by a factor of two.
_LEAST, _MOST = 0.5, 1.5


def judge_likeness(found: Proof, precision: str) -> None:
    """Raises UnfitError (NotEqual) where the package's adapter isn't the original.

    Where a precision changes logits more than the adapter does, the share of its effect says
    little and is told only: that the file holds what peft applies is proven without it.
    """
    if precision == "fp32":
        if not found.logits_difference <= EXACT:
            raise _unlike(
                f"its logits differ from peft's by {found.logits_difference:.2g}, at most {EXACT}"
            )
    elif found.kept is None:
        if not found.logits_difference <= found.base_difference + EXACT:
            raise _unlike("it changes logits that peft leaves alone")
    elif found.effect > found.base_difference and not _LEAST <= found.kept <= _MOST:
        raise _unlike(f"{found.kept:.0%} of its effect are left in {precision}")


def judge_metric(proof: Proof, allowed: float | None) -> None:
    """Raises UnfitError (MetricDropped) where an adapter lost more than is allowed.

    `allowed` None: nothing is judged. Losses are told only.
    """
    found = proof.measured
    if allowed is None or found is None or not found.higher_is_better:
        return
    if found.reported - found.value > allowed:
        raise UnfitError(
            "MetricDropped",
            f"its {found.metric} is {found.value:.4g} in the package on {found.examples} "
            f"{found.split} rows, and its run reported {found.reported:.4g}",
            "choose a finer precision, or raise maxMetricDrop",
        )


def _unlike(what: str) -> UnfitError:
    return UnfitError(
        "NotEqual", what, "choose a finer precision, or train it on this bundle's base"
    )
