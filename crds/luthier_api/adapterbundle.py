"""AdapterBundle: many adapters on one shared base → one multi-adapter ONNX package."""

from typing import ClassVar, Literal

from pydantic import Field

from luthier_api.bounds import Count
from luthier_api.meta import Model, Name, ObjectRef, Rule, SecretKeyRef, list_map
from luthier_api.optimizejob import Int4, Target
from luthier_api.placement import one_pod_rules
from luthier_api.runsettings import RunSettings
from luthier_api.runstatus import ArtifactRef, Progress, RunStatus
from luthier_api.uris import MODEL_SCHEMES, OBJECT_RULES, Uri, scheme_rule


class BundleBase(Model):
    """The model that all adapters were trained on."""

    uri: Uri = Field(description="Folder of the model: hf:// s3:// pvc:// file://.")
    revision: str | None = Field(
        default=None, min_length=1, max_length=128, description="Revision of a model on a hub."
    )
    token_secret_ref: SecretKeyRef | None = Field(
        default=None, description="The token for a private or gated model on a hub."
    )

    rules = (
        scheme_rule("models", MODEL_SCHEMES),
        *OBJECT_RULES,
        Rule(
            "!(has(self.revision) || has(self.tokenSecretRef)) || self.uri.startsWith('hf://')",
            "revision and tokenSecretRef are for a base on a hub (hf://): remove them",
        ),
    )


class BundledAdapter(Model):
    """One adapter, under the name that requests call it by."""

    name: Name = Field(description="The adapter's name in the bundle.")
    fine_tune_job_ref: ObjectRef | None = Field(
        default=None,
        description="A FineTuneJob of this namespace; its published result is taken, and each "
        "newer one.",
    )
    uri: Uri | None = Field(default=None, description="Folder of the adapter, s3://BUCKET/PREFIX.")

    rules = (
        Rule(
            "has(self.fineTuneJobRef) != has(self.uri)",
            "name where the adapter comes from: either fineTuneJobRef or uri",
        ),
        Rule(
            "!has(self.uri) || self.uri.startsWith('s3://')",
            "bundles are built from S3: name the adapter as s3://BUCKET/PREFIX",
            field=".uri",
        ),
    )


class Serve(Model):
    """An OpenAI-compatible endpoint for the bundle."""

    replicas: int = Field(default=1, ge=0, le=100, description="Pods that serve it.")
    pool: Name | None = Field(
        default=None, description="Pool of luthier.yaml. Left out: the namespace's default."
    )


class Bundling(Model):
    """All that shapes a package, but for its adapters and where it goes."""

    base: BundleBase = Field(description="The model that all adapters share.")
    target: Target = Field(default=Target(), description="What it runs on.")
    precision: Literal["fp32", "int8", "int4"] = Field(
        default="int8",
        description="Precision of the base in the package. Adapters keep theirs.",
    )
    int4: Int4 = Field(default=Int4(), description="How the base's weights become 4 bits.")
    on_incompatible: Literal["Skip", "Fail"] = Field(
        default="Skip",
        description="An adapter that can't be switched on this base: Skip leaves it out, and a "
        "condition says why; Fail builds nothing.",
    )
    max_metric_drop: float | None = Field(
        default=None,
        ge=0,
        le=1,
        description="How much lower an adapter's own metric may be in the package than its run "
        "reported, absolute. One that loses more is incompatible. Left out: told, not judged.",
    )

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "self.target.device == 'cpu'",
            "bundles for cuda and dml aren't built yet (an adapter is proven where it is built): "
            "leave target out",
            field=".target.device",
        ),
    )


class _OfAdapters(Bundling):
    """A base, so that `adapters` stands before `output` in the schema."""

    adapters: list[BundledAdapter] = Field(
        min_length=1,
        max_length=64,
        json_schema_extra=list_map("name"),
        description="The adapters, each under a name of its own.",
    )


class AdapterBundleSpec(RunSettings, _OfAdapters):
    """The base, its adapters, and where the package goes."""

    keep_last: int = Field(
        default=3, ge=1, le=10, description="Packages that are kept; older ones are deleted."
    )
    serve: Serve | None = Field(default=None, description="Serve the bundle. Left out: don't.")

    rules = (
        *one_pod_rules("an AdapterBundle"),
        Rule("!has(self.serve)", "serve isn't built yet: remove it", field=".serve"),
    )


class BundledRevision(Model):
    """An adapter of the spec, and what became of it."""

    name: Name = Field(description="The adapter's name in the bundle.")
    uri: str | None = Field(
        default=None,
        max_length=2048,
        description="Where it was taken from. Left out: its FineTuneJob has no result yet.",
    )
    revision: str | None = Field(
        default=None, max_length=64, description="Revision of the FineTuneJob it came from."
    )
    manifest_sha256: str | None = Field(
        default=None, max_length=64, description="Digest of the FineTuneJob's manifest.json."
    )
    state: Literal["Pending", "Included", "LeftOut"] = Field(
        default="Pending",
        description="Whether the package holds it. Pending: not yet.",
    )
    reason: str | None = Field(default=None, max_length=64, description="Why not, in CamelCase.")
    message: str | None = Field(
        default=None, max_length=400, description="Why not, and the remedy."
    )


class BundleProof(Model):
    """How well the package's adapters equal the originals."""

    adapters: Count = Field(default=0, description="How many are in it.")
    logits_difference: float | None = Field(
        default=None,
        description="How far a logit is from PEFT's on the unquantised base, at most, of all "
        "adapters.",
    )
    isolated: bool | None = Field(
        default=None,
        description="Switching to other adapters and back gives the same logits, bit by bit.",
    )
    rebuilt: Count = Field(default=0, description="Adapters that were built anew for this package.")
    size_bytes: Count | None = Field(default=None, description="Size of the package.")


class AdapterBundleStatus(RunStatus):
    """The state, as the operator sees it."""

    stage: str | None = Field(default=None, max_length=64, description="What the run is doing.")
    progress: Progress | None = Field(
        default=None, description="How many adapters the stage is done with."
    )
    adapters: list[BundledRevision] = Field(
        default=[],
        max_length=64,
        json_schema_extra=list_map("name"),
        description="The adapters of the spec, and what became of each.",
    )
    proof: BundleProof | None = Field(
        default=None, description="What was proven of the current package."
    )
    current: ArtifactRef | None = Field(
        default=None, description="The package in use, as inUse tells it of every kind."
    )

    @property
    def published(self) -> ArtifactRef | None:
        """The result of this revision."""
        return self.current
