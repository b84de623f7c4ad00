"""What the spec of every kind says of its runs."""

from pydantic import Field

from luthier_api.meta import Model
from luthier_api.output import Output, StorageAccess
from luthier_api.placement import Limits, Placement


class RunSettings(Model):
    """Where a run goes and its results, with whose credentials, and when it ends."""

    output: Output = Field(description="Where results go.")
    storage: StorageAccess = Field(default=StorageAccess(), description="Access to S3.")
    placement: Placement = Field(default=Placement(), description="Where the run goes.")
    limits: Limits = Field(default=Limits(), description="When to give up, and when to tidy.")
    suspend: bool = Field(
        default=False,
        description="Stop the run (it goes on later from what it had saved), or don't start.",
    )
