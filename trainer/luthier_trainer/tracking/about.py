"""Which run it is, and what it is made from. Pure."""

import hashlib
import os
import time
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from luthier_api.release import release
from luthier_api.runspec import RunSpec
from luthier_trainer.models.cache import BaseModel, identity
from luthier_trainer.pod.claim import Start
from luthier_trainer.tracking.tracker import About

# Whom a hub is logged in to with is nothing that a run is made of.
_LEFT_OUT = {"model": {"token_secret_ref"}}


def about(spec: RunSpec, began: datetime | None, trial: int | None = None) -> About:
    """By the resource's uid, revision and trial: what goes on is the same run, in whichever pod
    and attempt. One of the same name that is created anew is another."""
    run = spec.run
    whole = _key(f"{run.uid}/{run.revision}")
    number = "" if trial is None else f"/trial-{trial}"
    document = spec.fine_tuning.model_dump(
        mode="json", by_alias=True, exclude_none=True, exclude=_LEFT_OUT
    )
    return About(
        key=whole if trial is None else _key(f"{run.uid}/{run.revision}{number}"),
        name=f"{run.name}/{run.revision}{number}",
        namespace=run.namespace,
        job=run.name,
        began=began.timestamp() if began else time.time(),
        spec=document,
        group=None if trial is None else whole,
    )


def lineage(
    spec: RunSpec, dataset_digest: str, base: BaseModel, start: Start | None
) -> dict[str, str]:
    """What the run is made from, where its result goes, and who makes it."""
    run, tuning = spec.run, spec.fine_tuning
    found: Mapping[str, Any] = {
        "kind": run.kind,
        "namespace": run.namespace,
        "name": run.name,
        "uid": run.uid,
        "revision": run.revision,
        "attempt": run.attempt,
        "shapeHash": spec.shape_hash,
        "base.uri": tuning.model.uri,
        "base.digest": identity(base),
        "base.revision": base.commit,
        "dataset.uri": tuning.dataset.uri,
        "dataset.digest": dataset_digest,
        "startedFrom.uri": start.uri if start else None,
        "startedFrom.revision": start.revision if start else None,
        "startedFrom.manifestSha256": start.manifest_sha256 if start else None,
        "inUseBefore": spec.incumbent.uri if spec.incumbent else None,
        "output": spec.output,
        "image": os.environ.get("LUTHIER_IMAGE"),
        "version": release(),
    }
    return {name: str(it) for name, it in found.items() if it is not None}


def _key(identity: str) -> str:
    return hashlib.sha256(identity.encode()).hexdigest()[:32]
