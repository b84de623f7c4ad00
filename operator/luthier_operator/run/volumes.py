"""The volumes of a trainer's pod. Pure."""

from collections.abc import Mapping, Sequence

from luthier_api.platform import Pool
from luthier_api.runspec import (
    CA_PATH,
    CACHE_PATH,
    CLAIMS_PATH,
    CONFIG_MAPS_PATH,
    PROGRESS_AUDIENCE,
    PROGRESS_TOKEN_PATH,
    RUNSPEC_ANNOTATION,
    RUNSPEC_PATH,
    SCRATCH_PATH,
)
from luthier_operator.resources import Obj

# The shortest that the API server grants: reports go by plain HTTP, and whoever reads one on its
# way can speak for that pod until its token ends. The kubelet renews the file in time.
TOKEN_SECONDS = 600

# /dev/shm, through which the processes of several GPUs talk (NCCL): a container has 64 MiB of it
# otherwise. What is written there counts as the pod's memory.
SHARED_BY_GPUS = "1Gi"


def _folder(path: str) -> str:
    return path.rsplit("/", 1)[0]


def pod_volumes(
    pool: Pool,
    *,
    config_map: str | None,
    runspec_key: str,
    reports: bool,
    claims: Sequence[str],
    config_maps: Mapping[str, Sequence[str]],
    optional: bool,
    gpus: int = 0,
) -> tuple[list[Obj], list[Obj]]:
    """Volumes and mounts: the order, scratch, cache, token and CA; then the pool's and the spec's.

    What the spec names is read-only, and must exist (the kubelet says what is missing) but for
    `optional` ConfigMaps.
    """
    volumes: list[Obj] = []
    mounts: list[Obj] = []

    def add(name: str, path: str, source: Obj, *, read_only: bool = False) -> None:
        volumes.append({"name": name, **source})
        mounts.append({"name": name, "mountPath": path, "readOnly": read_only})

    # A file, never env or args: the kubelet expands $(NAME) there, and a template
    # with $(AWS_SECRET_ACCESS_KEY) would pull the secret in.
    annotation = {
        "path": runspec_key,
        "fieldRef": {"fieldPath": f"metadata.annotations['{RUNSPEC_ANNOTATION}']"},
    }
    order: Obj = (
        {"configMap": {"name": config_map}}
        if config_map
        else {"downwardAPI": {"items": [annotation]}}
    )
    add("run", _folder(RUNSPEC_PATH), order, read_only=True)
    add("tmp", SCRATCH_PATH, {"emptyDir": {"sizeLimit": pool.scratch_size}})
    add(
        "cache",
        CACHE_PATH,
        {"persistentVolumeClaim": {"claimName": pool.cache_claim}}
        if pool.cache_claim
        else {"emptyDir": {"sizeLimit": pool.cache_size}},
    )
    if size := pool.shared_memory or (SHARED_BY_GPUS if gpus > 1 else None):
        memory = {"medium": "Memory", "sizeLimit": size}
        add("shm", "/dev/shm", {"emptyDir": memory})  # noqa: S108 - the pod's, not ours
    if reports:
        token = {
            "audience": PROGRESS_AUDIENCE,
            "expirationSeconds": TOKEN_SECONDS,
            "path": PROGRESS_TOKEN_PATH.rsplit("/", 1)[1],
        }
        source = {"projected": {"sources": [{"serviceAccountToken": token}]}}
        add("progress-token", _folder(PROGRESS_TOKEN_PATH), source, read_only=True)
    if pool.ca:
        item = {"key": pool.ca.key, "path": CA_PATH.rsplit("/", 1)[1]}
        add(
            "ca",
            _folder(CA_PATH),
            {"configMap": {"name": pool.ca.name, "items": [item]}},
            read_only=True,
        )
    for index, (name, keys) in enumerate(config_maps.items()):
        items = [{"key": key, "path": key} for key in keys]
        code_or_rows: Obj = {"configMap": {"name": name, "items": items, "optional": optional}}
        add(f"config-map-{index}", f"{CONFIG_MAPS_PATH}/{name}", code_or_rows, read_only=True)
    more_volumes, more_mounts = _claims(pool, claims)
    return volumes + more_volumes, mounts + more_mounts


def _claims(pool: Pool, claims: Sequence[str]) -> tuple[list[Obj], list[Obj]]:
    """One volume a claim, however many of its folders are mounted, and by whomever."""
    named = dict.fromkeys([*(mount.claim for mount in pool.mounts), *claims])
    names = {claim: f"claim-{index}" for index, claim in enumerate(named)}
    if pool.cache_claim in names:
        names[pool.cache_claim] = "cache"
    pools = {mount.claim for mount in pool.mounts}
    volumes: list[Obj] = [
        {
            "name": name,
            "persistentVolumeClaim": {
                "claimName": claim,
                # Of a volume that is read-only the kubelet changes no owner (fsGroup).
                **({} if claim in pools else {"readOnly": True}),
            },
        }
        for claim, name in names.items()
        if name != "cache"
    ]
    mounts: list[Obj] = [
        {
            "name": names[mount.claim],
            "mountPath": mount.mount_path,
            "readOnly": mount.read_only,
            **({"subPath": mount.sub_path} if mount.sub_path else {}),
        }
        for mount in pool.mounts
    ]
    mounts += [
        {"name": names[claim], "mountPath": f"{CLAIMS_PATH}/{claim}", "readOnly": True}
        for claim in claims
    ]
    return volumes, mounts
