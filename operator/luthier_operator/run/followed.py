"""What an OptimizeJob or AdapterBundle takes from a FineTuneJob. Pure."""

from dataclasses import dataclass

from luthier_api.finetunejob import FineTuneJobSpec, FineTuneJobStatus
from luthier_api.optimizejob import SourceRef
from luthier_operator.conditions import find, is_true
from luthier_operator.errors import Refusal
from luthier_operator.resources import Obj
from luthier_operator.run.observe import parse_spec, parse_status


@dataclass(frozen=True)
class Followed:
    """A source as it is now. At least one of `taken` and `missing` is set."""

    taken: SourceRef | None  # the newest result; while there is none, what was taken before
    missing: Refusal | None = None  # why there is no newer one
    job: str = ""  # the FineTuneJob's name; empty for a URI
    spec: FineTuneJobSpec | None = None  # what it asks for; None where it is gone

    @property
    def awaited(self) -> Refusal | None:
        """Why there is nothing to take."""
        return self.missing if self.taken is None else None


def follow_job(namespace: str, name: str, obj: Obj | None, before: SourceRef | None) -> Followed:
    """The published result of a FineTuneJob. `before` is what the status says was taken.

    A result lies in S3, and stays in use while its FineTuneJob makes another one, fails to,
    or is deleted.
    """
    kept = before if before is not None and _is_of(before, namespace, name) else None
    if obj is None:
        message = f"There is no FineTuneJob {name}: create it, or correct the name."
        return Followed(kept, Refusal("SourceNotFound", message), name)
    status = parse_status(FineTuneJobStatus, obj)
    spec, _ = parse_spec(FineTuneJobSpec, obj)
    if is_true(status.conditions, "Complete") and status.artifact is not None:
        published = SourceRef(
            uri=status.artifact.uri,
            revision=status.revision,
            manifest_sha256=status.artifact.manifest_sha256,
        )
        return Followed(published, None, name, spec)
    return Followed(kept, _unpublished(name, status), name, spec)


def _is_of(source: SourceRef, namespace: str, name: str) -> bool:
    return source.revision is not None and source.uri.endswith(
        f"/{namespace}/{name}/{source.revision}"
    )


def _unpublished(name: str, status: FineTuneJobStatus) -> Refusal:
    for kind, verb in (("Failed", "failed"), ("Stalled", "is stalled")):
        condition = find(status.conditions, kind)
        if condition is not None and condition.status == "True":
            message = (
                f"FineTuneJob {name} {verb} ({condition.reason}): correct its spec, or run "
                f"`luthier retry {name}`."
            )
            return Refusal("SourceFailed", message, terminal=True)
    message = f"FineTuneJob {name} has no result yet. It is taken as soon as it is published."
    return Refusal("SourceNotReady", message)
