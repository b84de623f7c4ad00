"""The order that the operator hands a trainer, as JSON in the pod's `runspec.json`.

It never holds a secret: credentials reach the pod as environment variables that
the kubelet fills from the tenant's Secret.
"""

import json
from typing import Literal

from pydantic import Field, TypeAdapter, ValidationError

from luthier_api.adapterbundle import Bundling
from luthier_api.bounds import MOST
from luthier_api.finetunejob import Checkpoints
from luthier_api.finetuning import FineTuning
from luthier_api.kinds import FINE_TUNE_JOB, KINDS, KindName
from luthier_api.meta import Model, Name
from luthier_api.optimizejob import Optimizing, SourceRef
from luthier_api.tracking import Tracking

# The paths of a trainer pod.
RUNSPEC_PATH = "/etc/luthier/run/runspec.json"
PROGRESS_TOKEN_PATH = "/var/run/secrets/luthier.dev/progress/token"  # noqa: S105
TERMINATION_LOG_PATH = "/dev/termination-log"
CACHE_PATH = "/var/cache/luthier"
SCRATCH_PATH = "/tmp"  # noqa: S108
CA_PATH = "/etc/luthier/ca/ca.crt"
# Claims and ConfigMaps that the spec names lie below, by their name.
CLAIMS_PATH = "/var/lib/luthier/claims"
CONFIG_MAPS_PATH = "/etc/luthier/configmaps"

# Where the first pod of several waits for the others, if nothing else is said.
MASTER_PORT = 29500

# The audience of the token that a pod shows with its reports.
PROGRESS_AUDIENCE = "luthier.dev/progress"
# Pod-template annotation that holds the run spec (downward API).
RUNSPEC_ANNOTATION = "luthier.dev/runspec"


class RunIdentity(Model):
    """Whose run it is."""

    kind: KindName = FINE_TUNE_JOB.name
    namespace: str = Field(max_length=63)
    name: str = Field(max_length=253)
    uid: str = Field(max_length=128)
    revision: str = Field(max_length=64)
    attempt: int = Field(ge=1, le=MOST)


class S3Access(Model):
    """How to reach S3; the credentials are in the environment."""

    endpoint: str | None = None
    region: str | None = None
    path_style: bool = True
    ca_file: str | None = None
    retry_seconds: int = Field(
        default=300, ge=0, description="How long an unreachable store is tried again."
    )


class ProgressTarget(Model):
    """Where reports go; without one the trainer reports to its log only."""

    url: str
    interval_seconds: float = Field(default=3.0, gt=0)
    token_file: str = PROGRESS_TOKEN_PATH


class RunOrder(Model):
    """What every run is told, whatever it makes."""

    api_version: Literal["luthier.dev/v1alpha1"] = "luthier.dev/v1alpha1"
    role: Literal["run", "probe", "keep"] = Field(
        default="run",
        description="run: make the revision's result. The others are errands beside it "
        "(docs/adr/0020).",
    )
    run: RunIdentity
    shape_hash: str = Field(description="The hash of the revision: sha256 hex, see revision.py.")
    output: str = Field(description="Folder of this revision: s3://… or file://…")
    storage: S3Access = S3Access()
    progress: ProgressTarget | None = None
    cache_dir: str = CACHE_PATH
    scratch_dir: str = SCRATCH_PATH
    gpus: int = Field(default=0, ge=0, le=16, description="GPUs of this pod.")
    nodes: int = Field(
        default=1,
        ge=1,
        le=256,
        description="Pods that train together, each with so many GPUs. Which of them a pod is, the "
        "environment says (JOB_COMPLETION_INDEX, which Kubernetes sets).",
    )
    master: str | None = Field(
        default=None,
        max_length=253,
        description="DNS name of the first of several pods: they meet at its MASTER_PORT.",
    )
    grace_seconds: int = Field(
        default=120, ge=1, description="Time between SIGTERM and SIGKILL: the last checkpoint's."
    )
    file_roots: list[str] = Field(
        default=[], description="Folders that file:// may read below; none: refused."
    )
    hub_endpoint: str | None = Field(
        default=None, description="Where hf:// is read from; left out: the public hub."
    )
    claims_dir: str = CLAIMS_PATH
    config_maps_dir: str = CONFIG_MAPS_PATH
    memory_bytes: int | None = Field(
        default=None, description="Memory that the run may use; left out: its cgroup's limit."
    )


class RunSpec(RunOrder):
    """A fine-tuning run, complete."""

    fine_tuning: FineTuning
    checkpoints: Checkpoints = Checkpoints()
    incumbent: SourceRef | None = Field(
        default=None,
        description="Artifact of this resource that is in use: it answers the same rows, so that "
        "the result can be compared with it. Left out: the result is compared with its base alone.",
    )
    start_from: SourceRef | None = Field(
        default=None,
        description="Artifact whose weights the training begins with, in place of new ones.",
    )
    anew: bool = Field(
        default=False,
        description="Train even where an earlier revision was made from the same: a rerun.",
    )
    comes_into_use: Literal["Always", "Never"] = Field(
        default="Never",
        description="Always: the result is in use as soon as it is published, and the run says so "
        "in in-use.json. Never: whether it is isn't this run's to say (KeepOrder).",
    )
    tracking: Tracking | None = Field(
        default=None, description="Trackers; their credentials are in the environment."
    )


class OptimizeOrder(RunOrder):
    """A run that optimises, complete.

    `source` is one of: the artifact of a FineTuneJob (its manifest's digest is given, and
    says what lies there), or a model's folder, with or without that of an adapter.
    """

    optimizing: Optimizing
    source: SourceRef
    source_revision: str | None = Field(default=None, description="Of a model on a hub.")
    adapter_uri: str | None = None


class AdapterOrder(Model):
    """An adapter of a bundle: the artifact of a FineTuneJob, or an adapter's folder."""

    name: Name
    source: SourceRef


class BundleOrder(RunOrder):
    """A run that builds a bundle, complete."""

    bundling: Bundling
    adapters: list[AdapterOrder] = Field(min_length=1)
    previous: str | None = Field(
        default=None,
        description="Folder of the package in use: what is the same is taken from there.",
    )
    keep_last: int = Field(
        default=3, ge=1, description="Packages that are kept, the one to be made included."
    )
    expendable: list[str] = Field(
        default=[],
        description="Folders of the packages beyond `keep_last`, newest first: they may go once "
        "the new one is published, and may be gone already.",
    )


class ProbeOrder(RunOrder):
    """Look whether the data is what a revision was made from. `output`: the folder of that
    revision's result, or its own where it has none."""

    fine_tuning: FineTuning
    dataset_digest: str | None = Field(
        default=None, description="sha256 of the data that it was made from, as it said."
    )


class InUseOrder(Model):
    """What in-use.json is to say."""

    revision: str = Field(max_length=64)
    uri: str = Field(max_length=2048)
    manifest_sha256: str = Field(max_length=64)
    since: str = Field(max_length=32)
    metrics: dict[str, float] = {}


class KeepOrder(RunOrder):
    """Bring in order what lies in storage. `output`: the folder of all revisions."""

    in_use: InUseOrder | None = Field(default=None, description="Left out: nothing is in use.")
    kept: list[str] = Field(
        default=[], description="Names of revisions that stay, whatever their age."
    )
    newest: int | None = Field(
        default=None, ge=1, description="So many finished ones stay beside them; left out: all."
    )
    everything: bool = Field(
        default=False, description="Nothing stays: the resource is being deleted."
    )


AnyOrder = RunSpec | OptimizeOrder | BundleOrder | ProbeOrder | KeepOrder
_ERRANDS: dict[str, type[ProbeOrder] | type[KeepOrder]] = {"probe": ProbeOrder, "keep": KeepOrder}

_DOCUMENT = TypeAdapter(dict[str, object])


def write_order(order: RunOrder) -> str:
    """The run spec's JSON: what differs from the defaults, and always what tells how to read it.

    The same order is the same text, in whatever place its fields stand in the models.
    """
    document = order.to_json(sparse=True)
    document |= {"apiVersion": order.api_version, "run": order.run.to_json()}
    return json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def read_order(document: bytes) -> AnyOrder:
    """The order in a run spec's JSON, by its role and its run's kind; what it says in fields of
    a newer version is ignored. Raises pydantic.ValidationError."""
    return _kind_of(document).read_json(document)


# What is made stands in these parts of an order, and how the run is carried out in the others.
_SHAPES = ("fineTuning", "startFrom", "optimizing", "bundling", "source", "adapters")


def shapes_result(field: str) -> bool:
    """Whether a field of an order, by its path, is about what is made."""
    return field.partition(".")[0] in _SHAPES


def unknown_fields(document: bytes) -> list[str]:
    """The paths of what `read_order` ignores: somebody uses it, as defaults aren't written."""
    try:
        _kind_of(document).model_validate_json(document)
    except ValidationError as error:
        found = error.errors(include_url=False, include_input=False)
        unknown = (it["loc"] for it in found if it["type"] == "extra_forbidden")
        return [".".join(map(str, place)) for place in unknown]
    return []


def _kind_of(document: bytes) -> type[AnyOrder]:
    read = _DOCUMENT.validate_json(document)
    if errand := _ERRANDS.get(str(read.get("role"))):
        return errand
    run = read.get("run")
    kind = run.get("kind", "FineTuneJob") if isinstance(run, dict) else "FineTuneJob"
    model = KINDS.get(str(kind), FINE_TUNE_JOB).order_model()
    assert issubclass(model, RunSpec | OptimizeOrder | BundleOrder)
    return model
