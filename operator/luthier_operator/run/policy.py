"""What luthier.yaml has to say about a run, before anything is created. Pure.

A list of checks, each about one thing; the first that refuses is told.
"""

import posixpath
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from luthier_api import reasons
from luthier_api.platform import Allowed, NamespaceDefaults, Platform, Pool
from luthier_api.prefixes import ANYTHING, SCHEMES, HubKind, covers
from luthier_api.runsettings import RunSettings
from luthier_api.sources import Reads
from luthier_operator.errors import Refusal
from luthier_operator.run import terms


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


def check(spec: RunSettings, reads: Reads, namespace: str, platform: Platform) -> Refusal | None:
    """The first thing that luthier.yaml doesn't allow, with the remedy."""
    pool = _pool(spec, namespace, platform)
    if isinstance(pool, Refusal):
        return pool
    access = platform.for_namespace(namespace)
    request = Request(spec, reads, namespace, pool, access, platform)
    return next((refusal for each in CHECKS if (refusal := each(request))), None)


def _pool(spec: RunSettings, namespace: str, platform: Platform) -> Pool | Refusal:
    name = terms.pool_name(spec.placement, namespace, platform)
    allowed = [
        pool.name for pool in platform.pools if not pool.namespaces or namespace in pool.namespaces
    ]
    choose = f"set spec.placement.pool to one of: {', '.join(allowed) or '(none is yours)'}"
    pool = platform.pool(name)
    if pool is None:
        return Refusal(reasons.POOL_NOT_FOUND, f"There is no pool {name!r}: {choose}.", True)
    if name not in allowed:
        return Refusal(
            reasons.POOL_NOT_ALLOWED,
            f"Namespace {namespace} may not use pool {name!r}: {choose}.",
            True,
        )
    return pool


def _gpus(request: Request) -> Refusal | None:
    asked, pool = request.spec.placement.gpus, request.pool
    if asked <= pool.max_gpus:
        return None
    return Refusal(
        reasons.TOO_MANY_GPUS,
        f"spec.placement.gpus is {asked}, pool {pool.name!r} gives at most {pool.max_gpus}: ask "
        "for fewer or choose another pool.",
        True,
    )


def _queue(request: Request) -> Refusal | None:
    """Who names no queue goes to the platform's; another one must be on its lists."""
    asked, pool, access = request.spec.placement.queue_name, request.pool, request.access
    forced = terms.forced_queue(pool, access)
    allowed = [*([forced] if forced else []), *access.queues, *pool.queues]
    if asked is None or not allowed or asked in allowed:
        return None
    choose = "leave it out, or name" if forced else "name"
    return Refusal(
        reasons.QUEUE_NOT_ALLOWED,
        f"spec.placement.queueName: runs of namespace {request.namespace} in pool {pool.name!r} "
        f"don't go to queue {asked}: {choose} one of: {', '.join(dict.fromkeys(allowed))}.",
        True,
    )


def _priority(request: Request) -> Refusal | None:
    asked = request.spec.placement.priority
    if asked is None:
        return None
    if terms.queue_of(request.spec, request.namespace, request.platform) is None:
        return Refusal(
            reasons.PRIORITY_WITHOUT_QUEUE,
            "spec.placement.priority is Kueue's, and this run goes to no queue: name one in "
            "spec.placement.queueName, or remove it.",
            True,
        )
    named = [("spec.placement.priority", asked)]
    return _named(request, named, "priorities", reasons.PRIORITY_NOT_ALLOWED, "priority")


def _duration(request: Request) -> Refusal | None:
    asked = request.spec.limits.active_deadline_seconds
    most = terms.longest(request.pool, request.access)
    if asked is None or most is None or asked <= most:
        return None
    return Refusal(
        reasons.DURATION_TOO_LONG,
        f"spec.limits.activeDeadlineSeconds is {asked}, runs of namespace {request.namespace} in "
        f"pool {request.pool.name!r} may take {most}: lower it, leave it out, or ask the platform "
        "team for a larger maxDurationSeconds in luthier.yaml.",
        True,
    )


def _service_account(request: Request) -> Refusal | None:
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


def _secrets(request: Request) -> Refusal | None:
    token = request.reads.hub_token
    named = [
        ("spec.storage.secretName", request.spec.storage.secret_name),
        (request.reads.hub_login_field, token.name if token else None),
    ]
    default = request.access.storage_secret_name
    return _named(request, named, "secrets", reasons.SECRET_NOT_ALLOWED, "Secret", default)


def _claims(request: Request) -> Refusal | None:
    named = request.reads.claims_by_field()
    return _named(request, named, "claims", reasons.CLAIM_NOT_ALLOWED, "claim")


def _config_maps(request: Request) -> Refusal | None:
    named = [(field, name) for field, name, _ in request.reads.config_map_keys()]
    return _named(request, named, "config_maps", reasons.CONFIG_MAP_NOT_ALLOWED, "ConfigMap")


def _named(
    request: Request,
    named: Iterable[tuple[str, str | None]],
    of: str,
    reason: str,
    what: str,
    default: str | None = None,
) -> Refusal | None:
    """`named`: fields and names; `of`: the list that they must be on; `default`: what the
    platform itself puts there, which is always allowed."""
    asked = [(field, name) for field, name in named if name not in (None, default)]
    for place, lists in request.lists():
        allowed: list[str] = getattr(lists, of)
        if not allowed or ANYTHING in allowed:
            continue
        for field, name in asked:
            if name not in allowed:
                return _refused(field, f"{what} {name}", reason, place, of, allowed)
    return None


def _sources(request: Request) -> Refusal | None:
    uris = [(f, uri) for f, uri in request.reads.uris if uri.partition("://")[0] in SCHEMES]
    return _below_one(request, uris, "sources", reasons.SOURCE_NOT_ALLOWED)


def _output(request: Request) -> Refusal | None:
    uris = [("spec.output.uri", request.spec.output.uri)]
    return _below_one(request, uris, "outputs", reasons.OUTPUT_NOT_ALLOWED)


def _below_one(
    request: Request, uris: list[tuple[str, str]], of: str, reason: str
) -> Refusal | None:
    """Refuses a URI that lies below no prefix of a list that has any."""
    for place, lists in request.lists():
        allowed: list[str] = getattr(lists, of)
        for field, uri in uris if allowed else ():
            if not any(covers(prefix, uri, _hub_kind(field)) for prefix in allowed):
                return _refused(field, uri, reason, place, of, allowed)
    return None


def _hub_kind(field: str) -> HubKind:
    return "datasets" if ".dataset." in field else "models"


def _refused(
    field: str,
    what: str,
    reason: str,
    place: str,
    of: str,
    allowed: list[str],
) -> Refusal:
    shown = ", ".join(allowed[:_SHOWN]) + (", …" if len(allowed) > _SHOWN else "")
    listed = Allowed.model_fields[of].alias
    return Refusal(
        reason,
        f"{field}: {place} doesn't allow {what}: use one of {shown}, or ask the platform team "
        f"for it in allowed.{listed} of luthier.yaml.",
        True,
    )


def _code(request: Request) -> Refusal | None:
    if {ANYTHING, request.namespace} & set(request.platform.consent.custom_code):
        return None
    for field, _ in request.reads.code:
        return Refusal(
            reasons.CUSTOM_CODE_NOT_ALLOWED,
            f"{field}: namespace {request.namespace} may not run code of its own: remove it, or "
            "ask the platform team to name the namespace in consent.customCode of luthier.yaml.",
            True,
        )
    return None


def _files(request: Request) -> Refusal | None:
    pool = request.pool
    for field, uri in request.reads.uris:
        if not uri.startswith("file://"):
            continue
        path = posixpath.normpath(uri.removeprefix("file://"))
        if not any(_below(path, root) for root in pool.file_roots):
            roots = ", ".join(pool.file_roots) or "none"
            return Refusal(
                reasons.FILE_NOT_ALLOWED,
                f"{field}: {path} is outside the folders that pool {pool.name!r} allows "
                f"({roots}): use s3://, or ask the platform team for fileRoots.",
                True,
            )
    return None


def _below(path: str, root: str) -> bool:
    root = posixpath.normpath(root)
    return path == root or path.startswith(root.rstrip("/") + "/")


# Of a long list only so much is told.
_SHOWN = 8
CHECKS: tuple[Callable[[Request], Refusal | None], ...] = (
    _gpus,
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
)
