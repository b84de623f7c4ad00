"""What luthier.yaml has to say about a run, before anything is created. Pure.

A list of checks, each about one thing. The operator tells the first that denies, the command line
all.
"""

import posixpath
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from luthier_api import reasons, terms
from luthier_api.platform import Allowed, NamespaceDefaults, Platform, Pool
from luthier_api.prefixes import ANYTHING, SCHEMES, HubKind, covers
from luthier_api.runsettings import RunSettings
from luthier_api.sources import Reads
from luthier_api.tracking import filled, is_below, servers


@dataclass(frozen=True)
class Denied:
    """What isn't allowed: the condition's reason, the field, what is wrong with it, the remedy."""

    reason: str
    field: str
    what: str
    remedy: str

    @property
    def message(self) -> str:
        """In one sentence."""
        return f"{self.field}: {self.what}: {self.remedy}."


@dataclass(frozen=True)
class Request:
    """What a run asks for, and who has a say in it."""

    spec: RunSettings
    reads: Reads
    namespace: str
    pool: Pool
    access: NamespaceDefaults
    platform: Platform

    def lists(self) -> Iterator[tuple[str, Allowed]]:
        """Where luthier.yaml says what may be named, as its reader finds it."""
        yield f"pool {self.pool.name!r}", self.pool.allowed
        yield f"namespace {self.namespace}", self.access.allowed


def denials(
    spec: RunSettings, reads: Reads, namespace: str, platform: Platform
) -> Iterator[Denied]:
    """What luthier.yaml doesn't allow, of each check the first; without a pool there is no more."""
    pool = _pool(spec, namespace, platform)
    if isinstance(pool, Denied):
        yield pool
        return
    access = platform.for_namespace(namespace)
    request = Request(spec, reads, namespace, pool, access, platform)
    yield from (denied for check in CHECKS if (denied := check(request)))


def _pool(spec: RunSettings, namespace: str, platform: Platform) -> Pool | Denied:
    name = terms.pool_name(spec.placement, namespace, platform)
    allowed = [
        pool.name for pool in platform.pools if not pool.namespaces or namespace in pool.namespaces
    ]
    field, choose = "spec.placement.pool", f"name one of: {', '.join(allowed) or '(none is yours)'}"
    pool = platform.pool(name)
    if pool is None:
        return Denied(reasons.POOL_NOT_FOUND, field, f"there is no pool {name!r}", choose)
    if name not in allowed:
        what = f"namespace {namespace} may not use pool {name!r}"
        return Denied(reasons.POOL_NOT_ALLOWED, field, what, choose)
    return pool


def _gpus(request: Request) -> Denied | None:
    asked, pool = request.spec.placement.gpus, request.pool
    if asked <= pool.max_gpus:
        return None
    return Denied(
        reasons.TOO_MANY_GPUS,
        "spec.placement.gpus",
        f"pool {pool.name!r} gives at most {pool.max_gpus}, not {asked}",
        "ask for fewer or choose another pool",
    )


def _nodes(request: Request) -> Denied | None:
    asked, pool = request.spec.placement.nodes, request.pool
    if asked <= pool.max_nodes:
        return None
    return Denied(
        reasons.TOO_MANY_NODES,
        "spec.placement.nodes",
        f"a run in pool {pool.name!r} has at most {pool.max_nodes}, not {asked}",
        "ask for fewer, choose another pool, or ask the platform team for a larger maxNodes in "
        "luthier.yaml",
    )


def _queue(request: Request) -> Denied | None:
    """Who names no queue goes to the platform's; another one must be on its lists."""
    asked, pool, access = request.spec.placement.queue_name, request.pool, request.access
    forced = terms.forced_queue(pool, access)
    allowed = [*([forced] if forced else []), *access.queues, *pool.queues]
    if asked is None or not allowed or asked in allowed:
        return None
    choose = "leave it out, or name" if forced else "name"
    return Denied(
        reasons.QUEUE_NOT_ALLOWED,
        "spec.placement.queueName",
        f"runs of namespace {request.namespace} in pool {pool.name!r} don't go to queue {asked}",
        f"{choose} one of: {', '.join(dict.fromkeys(allowed))}",
    )


def _priority(request: Request) -> Denied | None:
    field, asked = "spec.placement.priority", request.spec.placement.priority
    if asked is None:
        return None
    if terms.queue_of(request.spec, request.namespace, request.platform) is None:
        return Denied(
            reasons.PRIORITY_WITHOUT_QUEUE,
            field,
            "it is Kueue's, and this run goes to no queue",
            "name one in spec.placement.queueName, or remove it",
        )
    return _named(request, [(field, asked)], "priorities", reasons.PRIORITY_NOT_ALLOWED, "priority")


def _duration(request: Request) -> Denied | None:
    asked = request.spec.limits.active_deadline_seconds
    most = terms.longest(request.pool, request.access)
    if asked is None or most is None or asked <= most:
        return None
    return Denied(
        reasons.DURATION_TOO_LONG,
        "spec.limits.activeDeadlineSeconds",
        f"runs of namespace {request.namespace} in pool {request.pool.name!r} may take {most}, not "
        f"{asked}",
        "lower it, leave it out, or ask the platform team for a larger maxDurationSeconds in "
        "luthier.yaml",
    )


def _service_account(request: Request) -> Denied | None:
    named = [("spec.storage.serviceAccountName", request.spec.storage.service_account_name)]
    default = request.access.service_account_name
    return _named(
        request,
        named,
        "service_accounts",
        reasons.SERVICE_ACCOUNT_NOT_ALLOWED,
        "service account",
        default,
    )


def _secrets(request: Request) -> Denied | None:
    token = request.reads.hub_token
    named: list[tuple[str, str | None]] = [
        ("spec.storage.secretName", request.spec.storage.secret_name),
        (request.reads.hub_login_field, token.name if token else None),
    ]
    tracking = getattr(request.spec, "tracking", None)
    if tracking is not None:
        named += [(f"spec.tracking.{at}", ref.name) for _, at, ref in tracking.credentials()]
    default = request.access.storage_secret_name
    return _named(request, named, "secrets", reasons.SECRET_NOT_ALLOWED, "Secret", default)


def _claims(request: Request) -> Denied | None:
    named = request.reads.claims_by_field()
    return _named(request, named, "claims", reasons.CLAIM_NOT_ALLOWED, "claim")


def _config_maps(request: Request) -> Denied | None:
    named = [(field, name) for field, name, _ in request.reads.config_map_keys()]
    return _named(request, named, "config_maps", reasons.CONFIG_MAP_NOT_ALLOWED, "ConfigMap")


def _named(
    request: Request,
    named: Iterable[tuple[str, str | None]],
    of: str,
    reason: str,
    what: str,
    default: str | None = None,
) -> Denied | None:
    """`named`: fields and names; `of`: the list that they must be on; `default`: what the
    platform itself puts there, which is always allowed."""
    asked = [(field, name) for field, name in named if name not in (None, default)]
    for place, lists in request.lists():
        allowed: list[str] = getattr(lists, of)
        if not allowed or ANYTHING in allowed:
            continue
        for field, name in asked:
            if name not in allowed:
                return _off_list(field, f"{what} {name}", reason, place, of, allowed)
    return None


def _sources(request: Request) -> Denied | None:
    uris = [(f, uri) for f, uri in request.reads.uris if uri.partition("://")[0] in SCHEMES]
    return _below_one(request, uris, "sources", reasons.SOURCE_NOT_ALLOWED)


def _output(request: Request) -> Denied | None:
    uris = [("spec.output.uri", request.spec.output.uri)]
    return _below_one(request, uris, "outputs", reasons.OUTPUT_NOT_ALLOWED)


def _below_one(
    request: Request, uris: list[tuple[str, str]], of: str, reason: str
) -> Denied | None:
    """Denies a URI that lies below no prefix of a list that has any."""
    for place, lists in request.lists():
        allowed: list[str] = getattr(lists, of)
        for field, uri in uris if allowed else ():
            if not any(covers(prefix, uri, _hub_kind(field)) for prefix in allowed):
                return _off_list(field, uri, reason, place, of, allowed)
    return None


def _hub_kind(field: str) -> HubKind:
    return "datasets" if ".dataset." in field else "models"


def _off_list(
    field: str,
    what: str,
    reason: str,
    place: str,
    of: str,
    allowed: list[str],
) -> Denied:
    shown = ", ".join(allowed[:_SHOWN]) + (", …" if len(allowed) > _SHOWN else "")
    listed = Allowed.model_fields[of].alias
    return Denied(
        reason,
        field,
        f"{place} doesn't allow {what}",
        f"use one of {shown}, or ask the platform team for it in allowed.{listed} of luthier.yaml",
    )


def _code(request: Request) -> Denied | None:
    if {ANYTHING, request.namespace} & set(request.platform.consent.custom_code):
        return None
    for field, _ in request.reads.code:
        return Denied(
            reasons.CUSTOM_CODE_NOT_ALLOWED,
            field,
            f"namespace {request.namespace} may not run code of its own",
            "remove it, or ask the platform team to name the namespace in consent.customCode of "
            "luthier.yaml",
        )
    return None


def _trackers(request: Request) -> Denied | None:
    """A spec names no server of its own, unless the platform says so: whoever writes it could
    have a Secret's key sent there."""
    own = getattr(request.spec, "tracking", None)
    if own is None:
        return None
    defaults, consent = request.access.tracking, request.platform.consent.trackers
    asked = filled(own, defaults)
    assert asked
    if asked.mlflow and not asked.mlflow.uri:
        return Denied(
            reasons.TRACKER_NOT_NAMED,
            "spec.tracking.mlflow.uri",
            "luthier.yaml names no MLflow server",
            "name one, or remove spec.tracking.mlflow",
        )
    known = {uri for _, uri in servers(defaults)}
    for field, uri in servers(asked):
        if uri not in known and not any(is_below(prefix, uri) for prefix in consent):
            choose = ", ".join([*sorted(known), *consent][:_SHOWN]) or "none"
            return Denied(
                reasons.TRACKER_NOT_ALLOWED,
                f"spec.tracking.{field}",
                f"runs may not send to {uri} (allowed: {choose})",
                "name an allowed one, or ask the platform team for it in consent.trackers of "
                "luthier.yaml",
            )
    return None


def _files(request: Request) -> Denied | None:
    pool = request.pool
    for field, uri in request.reads.uris:
        if not uri.startswith("file://"):
            continue
        path = posixpath.normpath(uri.removeprefix("file://"))
        if not any(_below(path, root) for root in pool.file_roots):
            roots = ", ".join(pool.file_roots) or "none"
            return Denied(
                reasons.FILE_NOT_ALLOWED,
                field,
                f"{path} is outside the folders that pool {pool.name!r} allows ({roots})",
                "use s3://, or ask the platform team for fileRoots",
            )
    return None


def _below(path: str, root: str) -> bool:
    root = posixpath.normpath(root)
    return path == root or path.startswith(root.rstrip("/") + "/")


# Of a long list only so much is told.
_SHOWN = 8
CHECKS: tuple[Callable[[Request], Denied | None], ...] = (
    _gpus,
    _nodes,
    _queue,
    _priority,
    _duration,
    _service_account,
    _secrets,
    _claims,
    _config_maps,
    _sources,
    _output,
    _files,
    _code,
    _trackers,
)
