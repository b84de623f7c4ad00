"""What of a spec and its pool a Job was made of, so that a later edit is noticed. Pure.

Digests of what went in, not of the Job that came out: an operator of another version may build the
same order into another Job, and that is no reason to take a waiting one out of its queue.
"""

import hashlib
import json
from collections.abc import Mapping

from luthier_api.platform import Pool
from luthier_api.revision import NOT_OF_AN_ATTEMPT
from luthier_api.runsettings import RunSettings
from luthier_api.tracking import Tracking

# Changed on the Job itself (workload.py), or no run's at all.
_OF_THE_JOB = NOT_OF_AN_ATTEMPT | {"suspend": True, "limits": True}
# What luthier.yaml says of a pool that isn't about its pods.
OF_NO_POD = {
    "name",
    "description",
    "namespaces",
    "gpus",
    "max_gpus",
    "max_nodes",
    "queue",
    "queues",
    "max_duration_seconds",
    "max_runs",
    "allowed",
}
_MOST = 64


def settings_of(
    spec: RunSettings,
    pool: Pool,
    *,
    queued: bool,
    secret: str | None,
    service_account: str | None,
    tracking: Tracking | None = None,
) -> dict[str, str]:
    """A short digest of each part: the fields of the spec that aren't left out, the pool, and the
    Secret, service account and trackers that the pod gets."""
    parts = spec.model_dump(mode="json", by_alias=True, exclude_defaults=True, exclude=_OF_THE_JOB)
    parts.pop("storage", None)
    placement = parts.pop("placement", {})
    parts["placement.gpus"] = placement.get("gpus")
    parts["placement.nodes"] = placement.get("nodes")
    # A JobSet's restarts are settled when it is made.
    several = spec.placement.nodes > 1
    parts["limits.maxRestarts"] = spec.limits.max_restarts if several else None
    # Another queue is another label; into a queue, or out of it, takes another Job.
    parts["placement.queueName"] = queued
    parts["placement.priority"] = placement.get("priority") if queued else None
    parts["placement.pool"] = pool.model_dump(
        mode="json", by_alias=True, exclude_defaults=True, exclude=OF_NO_POD
    ) | {"name": pool.name}
    parts["storage"] = [secret, service_account]
    parts["tracking"] = tracking.to_json() if tracking else None
    return {name: _digest(value) for name, value in sorted(parts.items()) if value}


def changed(before: Mapping[str, str], now: Mapping[str, str]) -> tuple[str, ...]:
    """The parts that differ; none where it isn't known what the Job was made of."""
    if not before:
        return ()
    return tuple(name for name in sorted({*before, *now}) if before.get(name) != now.get(name))


def format_settings(settings: Mapping[str, str]) -> str:
    """The text of the annotation."""
    return " ".join(f"{name}={digest}" for name, digest in settings.items())


def parse_settings(text: str | None) -> dict[str, str]:
    """What `format_settings` wrote; nothing of what it didn't."""
    pairs = (part.partition("=") for part in (text or "").split(" ")[:_MOST])
    return {name: digest for name, _, digest in pairs if name and digest}


def _digest(value: object) -> str:
    text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:6]
