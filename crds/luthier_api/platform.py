"""`luthier.yaml`: the platform team's side. Users name pools; they never name nodes or images."""

from collections.abc import Iterator
from functools import cached_property
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from luthier_api.meta import ConfigMapKeyRef, Model, ModelT, Name, ObjectName
from luthier_api.prefixes import ANYTHING, OutputPrefix, Prefix
from luthier_api.tracking import TrackerPrefix, Tracking


class Toleration(Model):
    """As in a pod's spec."""

    key: str | None = Field(
        default=None, description="Key of the taint; left out, with Exists: every taint."
    )
    operator: Literal["Exists", "Equal"] = Field(
        default="Equal", description="Whether the value counts."
    )
    value: str | None = Field(default=None, description="Value of the taint, with Equal.")
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = Field(
        default=None, description="Effect of the taint; left out: every effect."
    )
    toleration_seconds: int | None = Field(
        default=None, description="How long NoExecute is borne; left out: for ever."
    )


class Resources(Model):
    """Requests and limits of the trainer's container, as Kubernetes quantities."""

    requests: dict[str, str] = Field(
        default={"cpu": "1", "memory": "4Gi"},
        description="What a node must have free; threads follow the CPU.",
    )
    limits: dict[str, str] = Field(
        default={"memory": "4Gi"}, description="What the container may use at most."
    )


class ClaimMount(Model):
    """A folder of a PersistentVolumeClaim of the run's namespace, read-only unless told."""

    claim: ObjectName = Field(description="Name of the PersistentVolumeClaim.")
    mount_path: str = Field(pattern=r"^/", description="Where it is mounted.")
    sub_path: str | None = Field(
        default=None, description="Folder within the volume; left out: its root."
    )
    read_only: bool = Field(default=True, description="Whether the trainer may only read it.")


class Proxy(Model):
    """Proxy for the trainer's requests."""

    http: str | None = Field(default=None, description="Value of HTTP_PROXY.")
    https: str | None = Field(default=None, description="Value of HTTPS_PROXY.")
    no_proxy: str | None = Field(
        default=None,
        description="Value of NO_PROXY: the store and the operator, when they are near.",
    )


AllowedName = Annotated[
    str, Field(max_length=253, pattern=r"^(\*|[a-z0-9]([-.a-z0-9]*[a-z0-9])?)$")
]
Seconds = Annotated[int, Field(ge=1, le=31_536_000)]


class Allowed(Model):
    """What the resources of users may name. An empty list allows everything, as * in one does."""

    service_accounts: list[AllowedName] = Field(
        default=[], description="For storage.serviceAccountName; the default is always allowed."
    )
    secrets: list[AllowedName] = Field(
        default=[],
        description="For storage.secretName, tokenSecretRef and the trackers' Secrets; the default "
        "is always allowed.",
    )
    claims: list[AllowedName] = Field(default=[], description="PersistentVolumeClaims, for pvc://.")
    config_maps: list[AllowedName] = Field(
        default=[], description="For configmap://, chat templates, and code of users."
    )
    sources: list[Prefix] = Field(
        default=[],
        description="What s3://, hf:// and https:// URIs of models, adapters and rows may begin "
        "with, up to the end of a name in the path.",
    )
    outputs: list[OutputPrefix] = Field(
        default=[], description="What output.uri may begin with, likewise."
    )
    priorities: list[AllowedName] = Field(
        default=[], description="WorkloadPriorityClasses of Kueue, for placement.priority."
    )


class Pool(Model):
    """Where runs go, and what their pods look like."""

    name: Name = Field(description="Its name, as users write it in placement.pool.")
    description: str = Field(default="", description="For people.")
    namespaces: list[Name] = Field(default=[], description="Who may use it; empty: everybody.")
    image: str = Field(min_length=1, description="The trainer's image.")
    image_pull_policy: Literal["Always", "IfNotPresent", "Never"] = Field(
        default="IfNotPresent", description="When a node pulls the image."
    )
    image_pull_secrets: list[ObjectName] = Field(
        default=[], description="Secrets of the run's namespace that pull it."
    )
    command: list[str] = Field(
        default=["python", "-m", "luthier_trainer"],
        min_length=1,
        description="What the container runs.",
    )
    env: dict[str, str] = Field(default={}, description="Plain values; never a secret.")
    node_selector: dict[str, str] = Field(
        default={}, description="Labels of the nodes that it may run on."
    )
    tolerations: list[Toleration] = Field(default=[], description="Taints of nodes that it bears.")
    priority_class_name: ObjectName | None = Field(
        default=None, description="Priority of its pods."
    )
    resources: Resources = Field(
        default=Resources(), description="What the trainer's container gets."
    )
    gpu_resource: str = Field(
        default="nvidia.com/gpu", description="Extended resource that placement.gpus counts."
    )
    max_gpus: int = Field(default=0, ge=0, description="GPUs that a pod may ask for.")
    gpus: int | None = Field(
        default=None,
        ge=0,
        description="GPUs that its nodes have in all: of these users see how many are free "
        "(`luthier pools`).",
    )
    max_nodes: int = Field(
        default=1,
        ge=1,
        le=256,
        description="Pods that a run may have train together (placement.nodes). Above 1 the "
        "cluster needs JobSet.",
    )
    queue: Name | None = Field(
        default=None,
        description="LocalQueue of Kueue in the run's namespace that all its runs go to.",
    )
    queues: list[Name] = Field(
        default=[], description="Others that placement.queueName may name; empty: any, if no queue."
    )
    max_duration_seconds: Seconds | None = Field(
        default=None, description="The longest limits.activeDeadlineSeconds, and its default."
    )
    max_runs: int | None = Field(
        default=None,
        ge=1,
        le=100_000,
        description="Runs in it at once, of all namespaces; the others wait, the oldest first.",
    )
    allowed: Allowed = Field(default=Allowed(), description="What its runs may name.")
    termination_grace_period_seconds: int = Field(
        default=120,
        ge=5,
        le=86400,
        description="Time between SIGTERM and SIGKILL: the last checkpoint must fit in.",
    )
    shared_memory: str | None = Field(
        default=None,
        description="Size of /dev/shm, e.g. 4Gi; what is in it counts as the pod's memory. Left "
        "out: 1Gi for pods with several GPUs, else what the container runtime gives (64 MiB).",
    )
    cache_size: str = Field(default="20Gi", description="Limit of the pod's own cache folder.")
    cache_claim: ObjectName | None = Field(
        default=None, description="A PersistentVolumeClaim instead: downloads outlive the pod."
    )
    scratch_size: str = Field(default="10Gi", description="Limit of the pod's /tmp.")
    mounts: list[ClaimMount] = Field(default=[], description="Volumes beside its own.")
    file_roots: list[str] = Field(default=[], description="Folders that file:// may read below.")
    proxy: Proxy = Field(default=Proxy(), description="Proxy of its requests.")
    ca: ConfigMapKeyRef | None = Field(
        default=None, description="CA bundle in the run's namespace, for S3 and proxies."
    )
    run_as_user: int = Field(default=65532, ge=1, description="User id of the trainer; never root.")
    storage_retry_seconds: int = Field(
        default=300, ge=0, description="How long unreachable storage is tried again."
    )


class Errands(Model):
    """The small Jobs beside runs: looks at the data, tidying of storage."""

    pool: Name | None = Field(
        default=None,
        description="Pool of luthier.yaml for them. Left out: the run's own, or for runs with GPUs "
        "the first one without that the namespace may use.",
    )
    resources: Resources = Field(
        default=Resources(requests={"cpu": "100m", "memory": "256Mi"}, limits={"memory": "1Gi"}),
        description="What their container gets, whatever the pool says.",
    )
    deadline_seconds: Seconds = Field(
        default=3600, description="One that is older is given up, and told as failed."
    )


class Storage(Model):
    """The S3-compatible store."""

    endpoint: str | None = Field(default=None, description="Left out: AWS.")
    region: str | None = Field(default=None, description="Region of the store, where it has any.")
    path_style: bool = Field(
        default=True, description="ENDPOINT/BUCKET/KEY, as most stores but AWS want it."
    )
    secret_name: ObjectName | None = Field(
        default="luthier-s3",
        description="Secret of the run's namespace with AWS_ACCESS_KEY_ID and "
        "AWS_SECRET_ACCESS_KEY; null: the service account is enough.",
    )
    service_account_name: ObjectName = Field(
        default="default", description="Service account of the pods."
    )


class Hub(Model):
    """The model hub that hf:// is read from."""

    endpoint: str | None = Field(
        default=None, description="URL of a mirror (HF_ENDPOINT); left out: the public hub."
    )


class Consent(Model):
    """What the platform team lets users' pods run, and tell, that Luthier's own don't."""

    custom_code: list[Annotated[str, Field(pattern=r"^(\*|[a-z0-9]([-a-z0-9]*[a-z0-9])?)$")]] = (
        Field(
            default=[],
            description="Namespaces that may bring a loss (training.loss) or an evaluation script "
            "(evaluation.script); * stands for all.",
        )
    )
    trackers: list[TrackerPrefix] = Field(
        default=[],
        description="Tracking servers that a spec may name beside those of `tracking`, up to the "
        "end of a name in the path: they get what runs tell, and the Secrets' keys that the spec "
        "names for them. * stands for every server.",
    )


class NamespaceDefaults(Model):
    """What differs for one namespace; unset fields fall back to those of *, then the platform's."""

    pool: Name | None = Field(default=None, description="Pool of runs that name none.")
    storage_secret_name: ObjectName | None = Field(
        default=None, description="Secret with the keys of S3."
    )
    service_account_name: ObjectName | None = Field(
        default=None, description="Service account of the pods."
    )
    queue: Name | None = Field(
        default=None,
        description="LocalQueue of Kueue that all its runs go to, whatever their pool's is.",
    )
    queues: list[Name] = Field(
        default=[], description="Others that placement.queueName may name; empty: any, if no queue."
    )
    max_duration_seconds: Seconds | None = Field(
        default=None, description="The longest limits.activeDeadlineSeconds, and its default."
    )
    max_runs: int | None = Field(
        default=None,
        ge=1,
        le=100_000,
        description="Runs at once, of all kinds; the others wait, the oldest first.",
    )
    ttl_seconds_after_finished: int | None = Field(
        default=None,
        ge=0,
        le=31_536_000,
        description="When finished Jobs and pods go, where limits.ttlSecondsAfterFinished is left "
        "out.",
    )
    tracking: Tracking | None = Field(
        default=None,
        description="Experiment trackers of runs whose spec names none; Secrets are those of the "
        "run's namespace. {}: none.",
    )
    allowed: Allowed = Field(default=Allowed(), description="What its resources may name.")


class Platform(Model):
    """The whole of luthier.yaml."""

    pools: list[Pool] = Field(min_length=1, max_length=64, description="Where runs may go.")
    default_pool: Name = Field(
        description="Pool of runs that name none, where the namespace names none either."
    )
    errands: Errands = Field(
        default=Errands(),
        description="The small Jobs beside runs: looks at the data, tidying of storage.",
    )
    storage: Storage = Field(default=Storage(), description="The S3-compatible store.")
    hub: Hub = Field(default=Hub(), description="The model hub.")
    consent: Consent = Field(
        default=Consent(), description="Which code of users may run in their pods."
    )
    namespaces: dict[str, NamespaceDefaults] = Field(
        default={}, description="What differs, by namespace; * stands for every namespace."
    )
    ttl_seconds_after_finished: int | None = Field(
        default=None,
        ge=0,
        le=31_536_000,
        description="When finished Jobs and pods go, where neither the resource nor its namespace "
        "says; left out: never.",
    )
    tracking: Tracking | None = Field(
        default=None,
        description="Experiment trackers of runs where neither the spec nor the namespace names "
        "any. What a spec leaves out of a tracker is as it is here.",
    )
    progress_url: str | None = Field(
        default=None, description="Base URL of the operator, as pods reach it."
    )
    progress_interval_seconds: float = Field(
        default=3.0, gt=0, description="Time between two reports of a pod."
    )

    @model_validator(mode="after")
    def _pools_are_consistent(self) -> Self:
        if problems := list(self._dangling()):
            told = "; ".join(f"{'.'.join(map(str, path))}: {what}" for path, what, _ in problems)
            context = {"told": told, "problems": problems}
            raise PydanticCustomError("luthier_fields", "{told}", context)
        return self

    def _dangling(self) -> Iterator[tuple[tuple[str | int, ...], str, str]]:
        """(path, what is wrong, the remedy) of names that name nothing, or more than one thing."""
        names = [pool.name for pool in self.pools]
        for index, name in enumerate(names):
            if name in names[:index]:
                what, remedy = f"{name} is named twice", "give each pool a name of its own"
                yield ("pools", index, "name"), what, remedy
        wanted: dict[tuple[str | int, ...], str] = {("defaultPool",): self.default_pool} | {
            ("namespaces", namespace, "pool"): defaults.pool
            for namespace, defaults in self.namespaces.items()
            if defaults.pool
        }
        if self.errands.pool:
            wanted[("errands", "pool")] = self.errands.pool
        for path, name in wanted.items():
            if name not in names:
                there = ", ".join(dict.fromkeys(names))
                yield path, f"no pool {name!r}; there are: {there}", "name one of these"

    def pool(self, name: str) -> Pool | None:
        """The pool of that name."""
        return next((pool for pool in self.pools if pool.name == name), None)

    def for_namespace(self, namespace: str) -> NamespaceDefaults:
        """What holds in a namespace: its own fields, else those of *, else the platform's."""
        return self.by_namespace.get(namespace) or self.by_namespace[ANYTHING]

    @cached_property
    def by_namespace(self) -> dict[str, NamespaceDefaults]:
        """What holds in each namespace that is named, and by * in all others."""
        platforms = NamespaceDefaults(
            pool=self.default_pool,
            storage_secret_name=self.storage.secret_name,
            service_account_name=self.storage.service_account_name,
            ttl_seconds_after_finished=self.ttl_seconds_after_finished,
            tracking=self.tracking,
        )
        general = self.namespaces.get(ANYTHING, NamespaceDefaults())
        return {
            namespace: _over(
                _over(own, general).model_copy(
                    update={"allowed": _over(own.allowed, general.allowed)}
                ),
                platforms,
            )
            for namespace, own in {ANYTHING: general, **self.namespaces}.items()
        }


def _over(own: ModelT, general: ModelT) -> ModelT:
    """The first, with the second's fields where it has none or an empty list."""
    return own.model_copy(
        update={
            name: getattr(general, name)
            for name in type(own).model_fields
            if getattr(own, name) in (None, [])
        }
    )


def parse_platform(document: dict[str, Any]) -> Platform:
    """Read luthier.yaml's content: its fields by their names there, not by Python's (max_gpus).

    Raises pydantic.ValidationError, naming each wrong field.
    """
    return Platform.model_validate(document, by_alias=True, by_name=False)
