"""AdapterBundle: many adapters on one shared base → one multi-adapter ONNX package."""

from typing import Literal

from pydantic import Field

from luthier_api.finetunejob import Output, StorageAccess
from luthier_api.meta import Condition, Model, Name, ObjectRef, Rule, list_map
from luthier_api.uris import Uri


class BundleBase(Model):
    """The model that all adapters were trained on."""

    uri: Uri = Field(description="Folder of the model, s3://BUCKET/PREFIX.")

    rules = (
        Rule(
            "self.uri.startsWith('s3://')",
            "bundles are built from S3: name the base as s3://BUCKET/PREFIX",
            field=".uri",
        ),
    )


class BundledAdapter(Model):
    """One adapter, under the name that requests call it by."""

    name: Name = Field(description="The adapter's name in the bundle.")
    fine_tune_job_ref: ObjectRef | None = Field(
        default=None, description="A FineTuneJob of this namespace; its published result is taken."
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


class AdapterBundleSpec(Model):
    """The base, its adapters, and where the package goes."""

    base: BundleBase = Field(description="The model that all adapters share.")
    adapters: list[BundledAdapter] = Field(
        min_length=1,
        max_length=64,
        json_schema_extra=list_map("name"),
        description="The adapters, each under a name of its own.",
    )
    precision: Literal["fp32", "fp16", "int8", "int4"] = Field(
        default="int8", description="Precision of the base in the package."
    )
    output: Output = Field(description="Where results go.")
    storage: StorageAccess = Field(default=StorageAccess(), description="Access to S3.")
    serve: Serve | None = Field(default=None, description="Serve the bundle. Left out: don't.")


class BundledRevision(Model):
    """An adapter as it is in the package."""

    name: Name = Field(description="The adapter's name in the bundle.")
    uri: str = Field(max_length=2048, description="Where it was taken from.")
    revision: str | None = Field(
        default=None, max_length=64, description="Revision of the FineTuneJob it came from."
    )


class BundleArtifact(Model):
    """The published package."""

    uri: str = Field(max_length=2048, description="Its folder.")
    sha256: str = Field(max_length=64, description="Digest of its manifest.json.")


class AdapterBundleStatus(Model):
    """The state, as the operator sees it."""

    phase: str | None = Field(
        default=None,
        max_length=32,
        description="The state in a word, for people; programs read `conditions`.",
    )
    observed_generation: int | None = Field(
        default=None, description="The generation of the spec that this status is about."
    )
    conditions: list[Condition] = Field(
        default=[],
        max_length=32,
        json_schema_extra=list_map("type"),
        description="The state, for programs.",
    )
    adapters: list[BundledRevision] = Field(
        default=[],
        max_length=64,
        json_schema_extra=list_map("name"),
        description="What the package holds.",
    )
    artifact: BundleArtifact | None = Field(default=None, description="The published package.")
