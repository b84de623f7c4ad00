"""The hash that decides whether a spec asks for a new result.

It covers what shapes the result, and leaves out fields equal to their default, so
that a field added later (with its default) changes no hash: an upgrade of the
operator must not retrain the fleet. A golden test guards it.
"""

import hashlib
import json

from luthier_api.finetuning import FineTuning

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
