"""Whether the adapters of a package are the originals: their logits, their isolation, and their
own metric on their own rows."""

import hashlib
import traceback
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from luthier_trainer.bundle.index import Measured, Proof
from luthier_trainer.bundle.likeness import likeness
from luthier_trainer.bundle.members import unreadable
from luthier_trainer.bundle.package import Logits, Package
from luthier_trainer.bundle.reference import Reference
from luthier_trainer.bundle.rows import Rows
from luthier_trainer.bundle.verdict import judge_likeness
from luthier_trainer.evaluation.measure import measure
from luthier_trainer.log import log
from luthier_trainer.packages.genai import adapterfile
from luthier_trainer.packages.genai.adapterfile import Array
from luthier_trainer.packages.genai.unfit import UnfitError

# Prose, a number, code and a question: more kinds of tokens show more of an adapter.
_TEXT = (
    "The old lighthouse keeper counted the ships again, because one of them was late. In 1843 she "
    "wrote the first program; it had 25 lines. def area(r): return 3.14 * r ** 2. Question: what "
    "is the capital of Peru, and how far is it from the sea? Answer:"
)
_MOST_TOKENS = 64


@dataclass(frozen=True)
class Candidate:
    """An adapter to be proven: its file for onnxruntime-genai, and its folder as peft saved it."""

    name: str
    file: Path
    original: Path


def probe_tokens(tokenizer: Any) -> list[int]:
    """The tokens that all adapters are compared on."""
    found: list[int] = tokenizer(_TEXT)["input_ids"]
    return found[:_MOST_TOKENS]


def prove_likeness(
    candidates: Sequence[Candidate],
    package: Package,
    reference: Reference,
    ids: Sequence[int],
    precision: str,
) -> Iterator[tuple[str, Proof | UnfitError, str]]:
    """Name, proof and the fingerprint of the logits of each adapter, which the package has loaded
    under its name."""
    package_base, base = package.logits(ids, None), reference.logits(ids)
    for candidate in candidates:
        try:
            found = package.logits(ids, candidate.name)
            original, weights = reference.adapted(candidate.original, ids)
            _check_weights(adapterfile.read(candidate.file), weights)
            proof = likeness(found, original, package_base, base)
            judge_likeness(proof, precision)
        except UnfitError as refused:
            yield candidate.name, refused, ""
        except (OSError, MemoryError):
            raise
        except Exception as error:
            log(traceback.format_exc())
            yield candidate.name, unreadable(error), ""
        else:
            yield candidate.name, proof, fingerprint(found)


def _check_weights(file: Mapping[str, Array], original: Mapping[str, Array]) -> None:
    """Whether the file holds what peft applies. Raises UnfitError (NotEqual)."""
    if set(file) != set(original):
        odd = sorted(set(file) ^ set(original))[0]
        raise UnfitError("NotEqual", f"peft and the package disagree on {odd}", "save it again")
    for name, value in file.items():
        wanted = original[name].astype(value.dtype)
        if not np.allclose(value, wanted, rtol=1e-6, atol=0):
            raise UnfitError("NotEqual", f"{name} isn't what peft applies", "save it again")


def prove_isolation(
    package: Package, ids: Sequence[int], before: Mapping[str, str], others: Sequence[str]
) -> dict[str, bool]:
    """Whether each adapter's logits are those of before, bit by bit, after another was active.

    `before`: name → fingerprint; `others`: further adapters that the package has loaded.
    """
    names = list(before)
    isolated = {}
    for place, name in enumerate(names):
        another = [*names[place + 1 :], *names[:place], *others]
        # Alone, it is switched off and on.
        package.logits(ids, another[0] if another else None)
        isolated[name] = fingerprint(package.logits(ids, name)) == before[name]
    return isolated


def measured(model: Any, rows: Rows) -> Measured:
    """The metric of the adapter that `model` answers with."""
    items = rows.objective.encode(rows.examples)
    found = measure(
        model,
        rows.objective,
        items,
        rows.examples,
        [rows.metric],
        batch_size=rows.tuning.evaluation.batch_size,
    )
    return Measured(
        metric=rows.metric,
        higher_is_better=rows.higher_is_better,
        split=rows.split,
        examples=len(rows.examples),
        reported=rows.reported,
        value=round(found.values([rows.metric])[rows.metric], 6),
    )


def fingerprint(logits: Logits) -> str:
    """The same for the same bits alone."""
    return hashlib.sha256(np.ascontiguousarray(logits).tobytes()).hexdigest()
