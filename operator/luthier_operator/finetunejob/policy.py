"""What luthier.yaml has to say about a spec, before anything is created."""

import posixpath

from luthier_api import sources
from luthier_api.finetunejob import FineTuneJobSpec
from luthier_api.platform import Platform, Pool
from luthier_operator.errors import Refusal


def check(spec: FineTuneJobSpec, namespace: str, platform: Platform) -> Refusal | None:
    """The first thing that luthier.yaml doesn't allow, with the remedy."""
    name = spec.placement.pool or platform.for_namespace(namespace).pool or platform.default_pool
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
    if spec.placement.gpus > pool.max_gpus:
        return Refusal(
            "TooManyGpus",
            f"spec.placement.gpus is {spec.placement.gpus}, pool {name!r} gives at most "
            f"{pool.max_gpus}: ask for fewer or choose another pool.",
            True,
        )
    return _check_files(spec, pool) or _check_code(spec, namespace, platform)


def _check_code(spec: FineTuneJobSpec, namespace: str, platform: Platform) -> Refusal | None:
    if {"*", namespace} & set(platform.consent.custom_code):
        return None
    for field, _ in sources.code(spec):
        return Refusal(
            "CustomCodeNotAllowed",
            f"spec.{field}: namespace {namespace} may not run code of its own: remove it, or ask "
            "the platform team to name the namespace in consent.customCode of luthier.yaml.",
            True,
        )
    return None


def _check_files(spec: FineTuneJobSpec, pool: Pool) -> Refusal | None:
    for field, uri in sources.uris(spec):
        if not uri.startswith("file://"):
            continue
        path = posixpath.normpath(uri.removeprefix("file://"))
        if not any(_below(path, root) for root in pool.file_roots):
            roots = ", ".join(pool.file_roots) or "none"
            return Refusal(
                "FileNotAllowed",
                f"spec.{field}: {path} is outside the folders that pool {pool.name!r} allows "
                f"({roots}): use s3://, or ask the platform team for fileRoots.",
                True,
            )
    return None


def _below(path: str, root: str) -> bool:
    root = posixpath.normpath(root)
    return path == root or path.startswith(root.rstrip("/") + "/")
