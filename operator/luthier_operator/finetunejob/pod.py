"""The trainer's pod, at the `restricted` Pod Security level."""

from luthier_api.meta import SecretKeyRef
from luthier_api.platform import Pool, Proxy
from luthier_api.runspec import (
    CA_PATH,
    CACHE_PATH,
    PROGRESS_AUDIENCE,
    PROGRESS_TOKEN_PATH,
    RUNSPEC_ANNOTATION,
    RUNSPEC_PATH,
    SCRATCH_PATH,
    TERMINATION_LOG_PATH,
)
from luthier_operator.resources import Obj

CONTAINER = "trainer"
TOKEN_SECONDS = 3600
S3_KEYS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")


def pod_spec(
    pool: Pool,
    *,
    config_map: str | None,
    runspec_key: str,
    secret: str | None,
    service_account: str | None,
    hub_token: SecretKeyRef | None,
    gpus: int,
    reports: bool,
) -> Obj:
    """The `spec` of the pod template.

    The run spec is read from the template's annotation, or from `config_map`.
    `secret` holds the S3 keys; without one the service account's identity is used.
    """
    volumes, mounts = _volumes(pool, config_map, runspec_key, reports)
    container: Obj = {
        "name": CONTAINER,
        "image": pool.image,
        "imagePullPolicy": pool.image_pull_policy,
        "command": [*pool.command, RUNSPEC_PATH],
        "env": _environment(pool, secret, hub_token),
        "resources": _resources(pool, gpus),
        "volumeMounts": mounts,
        # Only what the trainer writes there: never log text, which may quote data.
        "terminationMessagePath": TERMINATION_LOG_PATH,
        "terminationMessagePolicy": "File",
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
        },
    }
    spec: Obj = {
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": pool.termination_grace_period_seconds,
        "serviceAccountName": service_account or "default",
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": pool.run_as_user,
            "runAsGroup": pool.run_as_user,
            "fsGroup": pool.run_as_user,
            "fsGroupChangePolicy": "OnRootMismatch",
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [container],
        "volumes": volumes,
    }
    if pool.node_selector:
        spec["nodeSelector"] = pool.node_selector
    if pool.tolerations:
        spec["tolerations"] = [toleration.to_json() for toleration in pool.tolerations]
    if pool.priority_class_name:
        spec["priorityClassName"] = pool.priority_class_name
    if pool.image_pull_secrets:
        spec["imagePullSecrets"] = [{"name": name} for name in pool.image_pull_secrets]
    return spec


def _resources(pool: Pool, gpus: int) -> Obj:
    resources: Obj = {
        "requests": dict(pool.resources.requests),
        "limits": dict(pool.resources.limits),
    }
    if gpus:
        resources["limits"][pool.gpu_resource] = str(gpus)
    return resources


def _environment(pool: Pool, secret: str | None, hub_token: SecretKeyRef | None) -> list[Obj]:
    plain = {
        "HOME": SCRATCH_PATH,
        # Programs ask who they are; the pool's uid need not have a name in the image.
        "LOGNAME": "luthier",
        "LUTHIER_IMAGE": pool.image,  # for the manifest of the result
        "TMPDIR": SCRATCH_PATH,
        "PYTHONUNBUFFERED": "1",
        **_proxy(pool.proxy),
        **pool.env,
    }
    environment: list[Obj] = [{"name": name, "value": value} for name, value in plain.items()]
    for name, path in (("POD_NAME", "metadata.name"), ("POD_UID", "metadata.uid")):
        environment.append({"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}})
    keys = [(name, secret, name) for name in S3_KEYS] if secret else []
    if hub_token:
        keys.append(("HF_TOKEN", hub_token.name, hub_token.key))
    for name, source, key in keys:
        reference = {"name": source, "key": key, "optional": False}
        environment.append({"name": name, "valueFrom": {"secretKeyRef": reference}})
    return environment


def _proxy(proxy: Proxy) -> dict[str, str]:
    values = {"HTTP_PROXY": proxy.http, "HTTPS_PROXY": proxy.https, "NO_PROXY": proxy.no_proxy}
    # Programs read either spelling; boto3 and urllib prefer the small one.
    return {
        spelling: value
        for name, value in values.items()
        if value
        for spelling in (name, name.lower())
    }


def _folder(path: str) -> str:
    return path.rsplit("/", 1)[0]


def _volumes(
    pool: Pool, config_map: str | None, runspec_key: str, reports: bool
) -> tuple[list[Obj], list[Obj]]:
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
    if pool.shared_memory:
        memory = {"medium": "Memory", "sizeLimit": pool.shared_memory}
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
    # One volume a claim, however many of its folders are mounted.
    claims = {mount.claim: f"claim-{index}" for index, mount in enumerate(pool.mounts)}
    volumes += [
        {"name": name, "persistentVolumeClaim": {"claimName": claim}}
        for claim, name in claims.items()
    ]
    mounts += [
        {
            "name": claims[mount.claim],
            "mountPath": mount.mount_path,
            "readOnly": mount.read_only,
            **({"subPath": mount.sub_path} if mount.sub_path else {}),
        }
        for mount in pool.mounts
    ]
    return volumes, mounts
