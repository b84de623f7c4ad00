"""The hashes that decide whether a spec asks for a new result, and for another attempt at it.

They leave out fields equal to their default, so that a field added later (with its default)
changes no hash: an upgrade of the operator must not retrain the fleet. A golden test guards them.
A field added later shapes the result unless it is named here (docs/adr/0014).
"""

import hashlib
import json
import re
from typing import Any

from luthier_api.adapterbundle import Bundling
from luthier_api.finetuning import FineTuning
from luthier_api.optimizejob import Optimizing, SourceRef
from luthier_api.runsettings import RunSettings

# How a run is carried out, and how a hub is logged in to, is no part of what comes out.
_NOT_SHAPING = {
    "model": {"token_secret_ref"},
    "training": {
        "dataloader_workers",
        "gradient_checkpointing",
        "log_every_steps",
        "parallel",
        "save_every_steps",
    },
    "evaluation": {"batch_size"},
    # How many trials run at a time, how many may fail, and what a retraining does.
    "search": {"parallelism", "max_failed_trials", "again"},
}
_NOT_SHAPING_OTHERS: dict[str, Any] = {
    "base": {"token_secret_ref"},
    "evaluation": {"batch_size"},
}
# What no attempt could come out otherwise for: it is about before and after.
NOT_OF_AN_ATTEMPT: dict[str, Any] = {
    "limits": {"ttl_seconds_after_finished"},
    "suspend": True,
    "deletion_policy": True,
    "promote": True,
    "retrain": True,
    "keep_last": True,
    "keep_revisions": True,
    "tracking": True,
    "serve": True,
}


def shape_hash(fine_tuning: FineTuning, output_uri: str, start: SourceRef | None = None) -> str:
    """sha256 (hex) over the canonical JSON of what was set to other than its default. `start`: the
    result of a FineTuneJob that model.adapter names, as it is now."""
    left_out = dict(_NOT_SHAPING)
    if fine_tuning.training.in_batch_negatives or fine_tuning.training.kto:
        del left_out["evaluation"]  # its loss measures a row by the others of its batch
    shape = {
        name: part.model_dump(
            mode="json", by_alias=True, exclude_defaults=True, exclude=left_out.get(name)
        )
        for name in ("model", "dataset", "method", "training", "evaluation", "search")
        if (part := getattr(fine_tuning, name)) is not None
    }
    document = {
        "task": fine_tuning.task,
        "output": {"uri": output_uri},
        **{name: value for name, value in shape.items() if value},
        **({"start": start.to_json()} if start else {}),
    }
    return _digest(document)


def optimize_hash(optimizing: Optimizing, sources: list[SourceRef], output_uri: str) -> str:
    """As `shape_hash`; `sources`: the model, and an adapter, as they are now."""
    return _digest(_shaped(optimizing, sources, output_uri))


def bundle_hash(bundling: Bundling, adapters: dict[str, SourceRef], output_uri: str) -> str:
    """As `shape_hash`; `adapters`: by name, as they are now."""
    ordered = [adapters[name] for name in sorted(adapters)]
    return _digest({**_shaped(bundling, ordered, output_uri), "names": sorted(adapters)})


def attempt_hash(spec: RunSettings) -> str:
    """As `shape_hash`, over all that may make another attempt at the same result end otherwise:
    what shapes it, where it runs, with which limits, credentials and workers."""
    document = spec.model_dump(
        mode="json", by_alias=True, exclude_defaults=True, exclude=NOT_OF_AN_ATTEMPT
    )
    # Of an object may be left what equals its default.
    return _digest({name: value for name, value in document.items() if value != {}})


def _shaped(
    shape: Optimizing | Bundling, sources: list[SourceRef], output_uri: str
) -> dict[str, object]:
    return {
        "shape": shape.model_dump(
            mode="json",
            by_alias=True,
            exclude_defaults=True,
            exclude=_NOT_SHAPING_OTHERS,
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


_REVISION = re.compile(r"r([1-9][0-9]{0,8})-[0-9a-z]{1,32}")


def is_revision(name: str) -> bool:
    """Whether it is the name of a revision."""
    return _REVISION.fullmatch(name) is not None


def is_sibling(folder: str, other: str) -> bool:
    """Whether `folder` is where another revision of the same shape has its result, and `other` the
    folder of the one that found it again: of a resource that was deleted and created again, r1 may
    find what r7 has made."""
    above, _, name = folder.rpartition("/")
    beside, _, newer = other.rpartition("/")
    if above != beside or not (is_revision(name) and is_revision(newer)):
        return False
    return name != newer and name.partition("-")[2] == newer.partition("-")[2]


def maker_of(uri: str) -> str | None:
    """The revision whose folder a result lies in; None where its last part names none."""
    name = uri.rstrip("/").rpartition("/")[2]
    return name if is_revision(name) else None


def revision_number(name: str) -> int:
    """The number in a revision's name. Raises ValueError for anything else."""
    found = _REVISION.fullmatch(name)
    if found is None:
        raise ValueError(f"not a revision: {name[:64]!r}")
    return int(found[1])
