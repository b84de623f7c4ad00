"""What came of a run, in a few words: a column of `kubectl get`. Pure."""

from collections.abc import Sequence

from luthier_api.adapterbundle import BundledRevision, BundleProof
from luthier_api.amounts import size
from luthier_api.finetunejob import EvaluationResult
from luthier_api.optimizejob import Candidate

MOST = 64


def of_model(evaluation: EvaluationResult | None, first: Sequence[str]) -> str | None:
    """accuracy 0.41→0.88. `first`: the metrics that say most, in this order."""
    if evaluation is None or not evaluation.tuned:
        return None
    tuned, base = evaluation.tuned, evaluation.base
    # A metric of the task says more than the loss, which all have.
    names = [*first, *(it for it in sorted(tuned) if it not in ("loss", "perplexity")), *tuned]
    name = next(it for it in names if it in tuned)
    before = f"{base[name]:.3g}→" if name in base else ""
    numbers = f"{before}{tuned[name]:.3g}"
    return f"{name[: MOST - len(numbers) - 1]} {numbers}"


def of_package(candidates: Sequence[Candidate]) -> str | None:
    """int8 135.1 MiB 52 tokens/s"""
    chosen = next((it for it in candidates if it.verdict == "Chosen"), None)
    if chosen is None:
        return None
    parts = [chosen.precision]
    parts += [size(chosen.size_bytes)] if chosen.size_bytes else []
    parts += [f"{chosen.tokens_per_second:.3g} tokens/s"] if chosen.tokens_per_second else []
    return " ".join(parts)[:MOST]


def of_bundle(adapters: Sequence[BundledRevision], proof: BundleProof | None) -> str | None:
    """3 adapters 262.1 MiB, 1 left out"""
    if proof is None:
        return None
    count = f"{proof.adapters} adapter{'' if proof.adapters == 1 else 's'}"
    left_out = sum(it.state == "LeftOut" for it in adapters)
    parts = [count, *([size(proof.size_bytes)] if proof.size_bytes else [])]
    return (" ".join(parts) + (f", {left_out} left out" if left_out else ""))[:MOST]
