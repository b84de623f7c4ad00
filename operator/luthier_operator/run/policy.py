"""What luthier.yaml has to say about a run, before anything is created."""

import posixpath

from luthier_api.placement import Placement
from luthier_api.platform import Platform, Pool
from luthier_api.sources import Reads
from luthier_operator.errors import Refusal


def check(placement: Placement, reads: Reads, namespace: str, platform: Platform) -> Refusal | None:
    """The first thing that luthier.yaml doesn't allow, with the remedy."""
    name = placement.pool or platform.for_namespace(namespace).pool or platform.default_pool
    allowed = [
        pool.name for pool in platform.pools if not pool.namespaces or namespace in pool.namespaces
    ]
    choose = f"set spec.placement.pool to one of: {', '.join(allowed) or '(none is yours)'}"
    pool = platform.pool(name)
    if pool is None:
        return Refusal("PoolNotFound", f"There is no pool {name!r}: {choose}.", True)
    if name not in allowed:
        return Refusal(
            "PoolNotAllowed", f"Namespace {namespace} may not use pool {name!r}: {choose}.", True
        )
    if placement.gpus > pool.max_gpus:
        return Refusal(
            "TooManyGpus",
            f"spec.placement.gpus is {placement.gpus}, pool {name!r} gives at most "
            f"{pool.max_gpus}: ask for fewer or choose another pool.",
            True,
        )
    return _check_files(reads, pool) or _check_code(reads, namespace, platform)


def _check_code(reads: Reads, namespace: str, platform: Platform) -> Refusal | None:
    if {"*", namespace} & set(platform.consent.custom_code):
        return None
    for field, _ in reads.code:
        return Refusal(
            "CustomCodeNotAllowed",
            f"{field}: namespace {namespace} may not run code of its own: remove it, or ask "
            "the platform team to name the namespace in consent.customCode of luthier.yaml.",
            True,
        )
    return None


def _check_files(reads: Reads, pool: Pool) -> Refusal | None:
    for field, uri in reads.uris:
        if not uri.startswith("file://"):
            continue
        path = posixpath.normpath(uri.removeprefix("file://"))
        if not any(_below(path, root) for root in pool.file_roots):
            roots = ", ".join(pool.file_roots) or "none"
            return Refusal(
                "FileNotAllowed",
                f"{field}: {path} is outside the folders that pool {pool.name!r} allows "
                f"({roots}): use s3://, or ask the platform team for fileRoots.",
                True,
            )
    return None


def _below(path: str, root: str) -> bool:
    root = posixpath.normpath(root)
    return path == root or path.startswith(root.rstrip("/") + "/")
