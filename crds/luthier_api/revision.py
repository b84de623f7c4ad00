"""The hash that decides whether a spec asks for a new result.

It covers what shapes the result, and leaves out fields equal to their default, so
that a field added later (with its default) changes no hash: an upgrade of the
operator must not retrain the fleet. A golden test guards it.
"""

import hashlib
import json

from luthier_api.adapterbundle import Bundling
from luthier_api.finetuning import FineTuning
from luthier_api.optimizejob import Optimizing, SourceRef

# How a hub is logged in to changes nothing in the result.
_NOT_SHAPING = {"model": {"token_secret_ref"}}


def shape_hash(fine_tuning: FineTuning, output_uri: str) -> str:
    """sha256 (hex) over the canonical JSON of what was set to other than its default."""
    shape = {
        name: getattr(fine_tuning, name).model_dump(
            mode="json", by_alias=True, exclude_defaults=True, exclude=_NOT_SHAPING.get(name)
        )
        for name in ("model", "dataset", "method", "training", "evaluation")
    }
    document = {
        "task": fine_tuning.task,
        "output": {"uri": output_uri},
        **{name: value for name, value in shape.items() if value},
    }
    return _digest(document)


def optimize_hash(optimizing: Optimizing, sources: list[SourceRef], output_uri: str) -> str:
    """As `shape_hash`; `sources`: the model, and an adapter, as they are now."""
    return _digest(_shaped(optimizing, sources, output_uri))


def bundle_hash(bundling: Bundling, adapters: dict[str, SourceRef], output_uri: str) -> str:
    """As `shape_hash`; `adapters`: by name, as they are now."""
    ordered = [adapters[name] for name in sorted(adapters)]
    return _digest({**_shaped(bundling, ordered, output_uri), "names": sorted(adapters)})


def _shaped(
    shape: Optimizing | Bundling, sources: list[SourceRef], output_uri: str
) -> dict[str, object]:
    return {
        "shape": shape.model_dump(
            mode="json",
            by_alias=True,
            exclude_defaults=True,
            exclude={"base": {"token_secret_ref"}},
        ),
        "sources": [source.to_json() for source in sources],
        "output": {"uri": output_uri},
    }


def _digest(document: dict[str, object]) -> str:
    canonical = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(canonical.encode()).hexdigest()


def revision_name(number: int, shape_sha256: str) -> str:
    """`r<number>-<first 8 hex digits>`."""
    return f"r{number}-{shape_sha256[:8]}"


def revision_number(name: str) -> int:
    """The number in a revision's name. Raises ValueError for anything else."""
    head, _, tail = name.partition("-")
    if not (head.startswith("r") and head[1:].isdigit() and tail):
        raise ValueError(f"not a revision: {name!r}")
    return int(head[1:])
