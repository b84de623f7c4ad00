"""The trainer's pod, at the `restricted` Pod Security level."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType

from luthier_api.meta import SecretKeyRef
from luthier_api.platform import Pool, Proxy
from luthier_api.runspec import RUNSPEC_PATH, SCRATCH_PATH, TERMINATION_LOG_PATH
from luthier_operator.resources import Obj
from luthier_operator.run.volumes import pod_volumes

CONTAINER = "trainer"
S3_KEYS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
THREADS = "OMP_NUM_THREADS"
MOST_DEVICES = 8  # kinds of them that are read of a pod


def pod_spec(
    pool: Pool,
    *,
    config_map: str | None,
    runspec_key: str,
    secret: str | None,
    service_account: str | None,
    hub_token: SecretKeyRef | None,
    trackers: Mapping[str, SecretKeyRef] = MappingProxyType({}),
    claims: Sequence[str] = (),
    config_maps: Mapping[str, Sequence[str]] = MappingProxyType({}),
    optional: bool = False,
    gpus: int,
    reports: bool,
) -> Obj:
    """The `spec` of the pod template.

    The run spec is read from the template's annotation, or from `config_map`.
    `secret` holds the S3 keys; without one the service account's identity is used.
    `claims` and `config_maps` (with their keys) are those that the user's spec names;
    `optional`: the pod starts without those ConfigMaps. `trackers`: credentials by the name of
    their variable; without their Secrets it starts, too.
    """
    volumes, mounts = pod_volumes(
        pool,
        config_map=config_map,
        runspec_key=runspec_key,
        reports=reports,
        claims=claims,
        config_maps=config_maps,
        optional=optional,
        gpus=gpus,
    )
    container: Obj = {
        "name": CONTAINER,
        "image": pool.image,
        "imagePullPolicy": pool.image_pull_policy,
        "command": [*pool.command, RUNSPEC_PATH],
        "env": _environment(pool, secret, hub_token, trackers),
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


def held(spec: Obj) -> list[Obj]:
    """Of a pod's spec the trainer's container, with the CPUs and devices that it keeps others from
    having."""
    for container in spec.get("containers") or []:
        if container.get("name") == CONTAINER:
            resources = container.get("resources") or {}
            cpu = {"cpu": it} if (it := (resources.get("requests") or {}).get("cpu")) else {}
            limits = resources.get("limits") or {}
            devices = [name for name in limits if "/" in name][:MOST_DEVICES]
            kept = {name: limits[name] for name in ("cpu", *devices) if name in limits}
            return [{"resources": {"requests": cpu, "limits": kept}}]
    return []


def _resources(pool: Pool, gpus: int) -> Obj:
    resources: Obj = {
        "requests": dict(pool.resources.requests),
        "limits": dict(pool.resources.limits),
    }
    if gpus:
        resources["limits"][pool.gpu_resource] = str(gpus)
    return resources


def _environment(
    pool: Pool,
    secret: str | None,
    hub_token: SecretKeyRef | None,
    trackers: Mapping[str, SecretKeyRef],
) -> list[Obj]:
    plain = {
        "HOME": SCRATCH_PATH,
        # Programs ask who they are; the pool's uid need not have a name in the image.
        "LOGNAME": "luthier",
        "LUTHIER_IMAGE": pool.image,  # for the manifest of the result
        "TMPDIR": SCRATCH_PATH,
        "PYTHONUNBUFFERED": "1",
        "PYTHONSAFEPATH": "1",  # nothing is imported from the current folder, in any image
        **_proxy(pool.proxy),
        **pool.env,
    }
    environment: list[Obj] = [{"name": name, "value": value} for name, value in plain.items()]
    if _threads_by_request(pool):
        request = {"containerName": CONTAINER, "resource": "requests.cpu", "divisor": "1"}
        environment.append({"name": THREADS, "valueFrom": {"resourceFieldRef": request}})
    for name, path in (("POD_NAME", "metadata.name"), ("POD_UID", "metadata.uid")):
        environment.append({"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}})
    keys = [(name, secret, name, False) for name in S3_KEYS] if secret else []
    if hub_token:
        keys.append(("HF_TOKEN", hub_token.name, hub_token.key, False))
    keys += [(name, ref.name, ref.key, True) for name, ref in trackers.items()]
    for name, source, key, optional in keys:
        reference = {"name": source, "key": key, "optional": optional}
        environment.append({"name": name, "valueFrom": {"secretKeyRef": reference}})
    return environment


def _threads_by_request(pool: Pool) -> bool:
    """Without a limit the trainer sees the whole node's CPUs: what it asked for is its share.

    The kubelet rounds the request up.
    """
    asks = "cpu" in pool.resources.requests and "cpu" not in pool.resources.limits
    return asks and THREADS not in pool.env


def _proxy(proxy: Proxy) -> dict[str, str]:
    values = {"HTTP_PROXY": proxy.http, "HTTPS_PROXY": proxy.https, "NO_PROXY": proxy.no_proxy}
    # Programs read either spelling; boto3 and urllib prefer the small one.
    return {
        spelling: value
        for name, value in values.items()
        if value
        for spelling in (name, name.lower())
    }
