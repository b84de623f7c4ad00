"""`luthier.yaml`: the platform team's side. Users name pools; they never name nodes or images."""

from typing import Any, Literal, Self

from pydantic import Field, model_validator

from luthier_api.meta import ConfigMapKeyRef, Model, Name, ObjectName


class Toleration(Model):
    """As in a pod's spec."""

    key: str | None = None
    operator: Literal["Exists", "Equal"] = "Equal"
    value: str | None = None
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = None
    toleration_seconds: int | None = None


class Resources(Model):
    """Requests and limits of the trainer's container, as Kubernetes quantities."""

    requests: dict[str, str] = {"cpu": "1", "memory": "4Gi"}
    limits: dict[str, str] = {"memory": "4Gi"}


class ClaimMount(Model):
    """A folder of a PersistentVolumeClaim of the run's namespace, read-only unless told."""

    claim: ObjectName
    mount_path: str = Field(pattern=r"^/")
    sub_path: str | None = None
    read_only: bool = True


class Proxy(Model):
    """Proxy for the trainer's requests."""

    http: str | None = None
    https: str | None = None
    no_proxy: str | None = None


class Pool(Model):
    """Where runs go, and what their pods look like."""

    name: Name
    description: str = ""
    namespaces: list[Name] = Field(default=[], description="Who may use it; empty: everybody.")
    image: str = Field(min_length=1, description="The trainer's image.")
    image_pull_policy: Literal["Always", "IfNotPresent", "Never"] = "IfNotPresent"
    image_pull_secrets: list[ObjectName] = []
    command: list[str] = Field(default=["python", "-m", "luthier_trainer"], min_length=1)
    env: dict[str, str] = Field(default={}, description="Plain values; never a secret.")
    node_selector: dict[str, str] = {}
    tolerations: list[Toleration] = []
    priority_class_name: ObjectName | None = None
    resources: Resources = Resources()
    gpu_resource: str = Field(
        default="nvidia.com/gpu", description="Extended resource that placement.gpus counts."
    )
    max_gpus: int = Field(default=0, ge=0, description="GPUs that a pod may ask for.")
    termination_grace_period_seconds: int = Field(default=120, ge=5, le=86400)
    shared_memory: str | None = Field(default=None, description="Size of /dev/shm, e.g. 1Gi.")
    cache_size: str = Field(default="20Gi", description="Limit of the pod's own cache folder.")
    cache_claim: ObjectName | None = Field(
        default=None, description="A PersistentVolumeClaim instead: downloads outlive the pod."
    )
    scratch_size: str = Field(default="10Gi", description="Limit of the pod's /tmp.")
    mounts: list[ClaimMount] = []
    file_roots: list[str] = Field(default=[], description="Folders that file:// may read below.")
    proxy: Proxy = Proxy()
    ca: ConfigMapKeyRef | None = Field(
        default=None, description="CA bundle in the run's namespace, for S3 and proxies."
    )
    run_as_user: int = Field(default=65532, ge=1)
    storage_retry_seconds: int = Field(
        default=300, ge=0, description="How long unreachable storage is tried again."
    )


class Storage(Model):
    """The S3-compatible store."""

    endpoint: str | None = Field(default=None, description="Left out: AWS.")
    region: str | None = None
    path_style: bool = True
    secret_name: ObjectName | None = "luthier-s3"
    service_account_name: ObjectName = "default"


class NamespaceDefaults(Model):
    """What differs for one namespace; unset fields fall back to the platform's."""

    pool: Name | None = None
    storage_secret_name: ObjectName | None = None
    service_account_name: ObjectName | None = None


class Platform(Model):
    """The whole of luthier.yaml."""

    pools: list[Pool] = Field(min_length=1, max_length=64)
    default_pool: Name
    storage: Storage = Storage()
    namespaces: dict[str, NamespaceDefaults] = {}
    progress_url: str | None = Field(
        default=None, description="Base URL of the operator, as pods reach it."
    )
    progress_interval_seconds: float = Field(default=3.0, gt=0)

    @model_validator(mode="after")
    def _pools_are_consistent(self) -> Self:
        names = [pool.name for pool in self.pools]
        if twice := {name for name in names if names.count(name) > 1}:
            raise ValueError(f"pools: named twice: {', '.join(sorted(twice))}")
        wanted = {"defaultPool": self.default_pool} | {
            f"namespaces.{namespace}.pool": defaults.pool
            for namespace, defaults in self.namespaces.items()
            if defaults.pool
        }
        for field, name in wanted.items():
            if name not in names:
                raise ValueError(f"{field}: no pool {name!r}; there are: {', '.join(names)}")
        return self

    def pool(self, name: str) -> Pool | None:
        """The pool of that name."""
        return next((pool for pool in self.pools if pool.name == name), None)

    def for_namespace(self, namespace: str) -> NamespaceDefaults:
        """Pool and storage access of a namespace, with the platform's where it sets none."""
        own: NamespaceDefaults = self.namespaces.get(namespace, NamespaceDefaults())
        return NamespaceDefaults(
            pool=own.pool or self.default_pool,
            storage_secret_name=own.storage_secret_name or self.storage.secret_name,
            service_account_name=own.service_account_name or self.storage.service_account_name,
        )


def parse_platform(document: dict[str, Any]) -> Platform:
    """Read luthier.yaml's content. Raises pydantic.ValidationError, naming each wrong field."""
    return Platform.model_validate(document)
