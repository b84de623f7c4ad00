"""What luthier.yaml adds to a spec where it leaves something out. Pure; never written to a spec."""

from luthier_api.finetunejob import FineTuneJobSpec
from luthier_api.finetuning import FineTuning
from luthier_api.placement import Limits, Placement
from luthier_api.platform import NamespaceDefaults, Platform, Pool
from luthier_api.runsettings import RunSettings
from luthier_api.tracking import Tracking, filled


def pool_name(placement: Placement, namespace: str, platform: Platform) -> str:
    """The pool of a run, which need not be there."""
    return placement.pool or platform.for_namespace(namespace).pool or platform.default_pool


def errand_pool(placement: Placement, namespace: str, platform: Platform) -> Pool | None:
    """Where the small Jobs beside a run go: never to where GPUs are, if there is anything else."""
    if platform.errands.pool:
        return platform.pool(platform.errands.pool)
    own = platform.pool(pool_name(placement, namespace, platform))
    if own is not None and not own.max_gpus:
        return own
    usable = (it for it in platform.pools if not it.namespaces or namespace in it.namespaces)
    return next((it for it in usable if not it.max_gpus), own)


def queue_of(spec: RunSettings, namespace: str, platform: Platform) -> str | None:
    """The LocalQueue of a run; None: it needs none."""
    pool, access = _said_by(spec, namespace, platform)
    return spec.placement.queue_name or forced_queue(pool, access)


def forced_queue(pool: Pool | None, access: NamespaceDefaults) -> str | None:
    """Where runs go that name no queue: the namespace's word is the more special one."""
    return access.queue or (pool.queue if pool else None)


def longest(pool: Pool | None, access: NamespaceDefaults) -> int | None:
    """The most seconds that a run may take; None: any number."""
    caps = (pool.max_duration_seconds if pool else None, access.max_duration_seconds)
    return min((cap for cap in caps if cap is not None), default=None)


def deadline_of(spec: RunSettings, namespace: str, platform: Platform) -> int | None:
    """The deadline of a run's Job: its own, else the longest."""
    own = spec.limits.active_deadline_seconds
    return longest(*_said_by(spec, namespace, platform)) if own is None else own


def ttl_of(spec: RunSettings, platform: Platform, namespace: str) -> int | None:
    """The time after which a finished Job goes; None: never."""
    own = spec.limits.ttl_seconds_after_finished
    return platform.for_namespace(namespace).ttl_seconds_after_finished if own is None else own


def tracking_of(spec: RunSettings, namespace: str, platform: Platform) -> Tracking | None:
    """The trackers of a run: those that its spec names, else those of luthier.yaml."""
    if not isinstance(spec, FineTuneJobSpec):
        return None
    return filled(spec.tracking, platform.for_namespace(namespace).tracking)


def limits_of(spec: RunSettings, namespace: str, platform: Platform) -> Limits:
    """The spec's limits, with what luthier.yaml says where they are left out.

    A trial that kills its pods costs a search that trial alone: twice, and it has failed.
    """
    search = spec.search if isinstance(spec, FineTuning) else None
    deaths = 2 * (search.max_failed_trials + 1) if search else 0
    return spec.limits.model_copy(
        update={
            "max_restarts": spec.limits.max_restarts + deaths,
            "active_deadline_seconds": deadline_of(spec, namespace, platform),
            "ttl_seconds_after_finished": ttl_of(spec, platform, namespace),
        }
    )


def _said_by(
    spec: RunSettings, namespace: str, platform: Platform
) -> tuple[Pool | None, NamespaceDefaults]:
    """The pool, if there is one of that name, and the namespace."""
    pool = platform.pool(pool_name(spec.placement, namespace, platform))
    return pool, platform.for_namespace(namespace)
