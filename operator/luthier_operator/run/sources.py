"""What a resource takes from a FineTuneJob, or from a URI. Pure."""

from dataclasses import dataclass, replace

from luthier_api import reasons
from luthier_api.finetunejob import FineTuneJobSpec, FineTuneJobStatus
from luthier_api.optimizejob import SourceRef
from luthier_api.revision import maker_of
from luthier_operator.conditions import Conditions, find, is_true
from luthier_operator.errors import Refusal
from luthier_operator.resources import Obj
from luthier_operator.run.observe import parse_spec, parse_status
from luthier_operator.run.standing import reference
from luthier_operator.run.status import in_use_of

SOURCE_READY = "SourceReady"


@dataclass(frozen=True)
class Taken:
    """A source that is there."""

    ref: SourceRef
    job: str = ""  # the FineTuneJob's name; empty for a URI
    spec: FineTuneJobSpec | None = None  # what it asks for; None where it is gone
    outdated: Refusal | None = None  # why it is an older one than the FineTuneJob asks for
    kept: bool = False  # the FineTuneJob has no result in use: this is of an earlier one


@dataclass(frozen=True)
class Awaited:
    """A source that isn't there yet."""

    why: Refusal
    job: str = ""


Source = Taken | Awaited


def source_of_job(namespace: str, name: str, obj: Obj | None, before: SourceRef | None) -> Source:
    """The result in use of a FineTuneJob. `before` is what the status says was taken.

    A result lies in S3, and stays in use while its FineTuneJob makes another one, fails to,
    or is deleted.
    """
    kept = before if before is not None and _is_of(before, namespace, name) else None
    if obj is None:
        message = f"There is no FineTuneJob {name}: create it, or correct the name."
        missing = Refusal(reasons.SOURCE_NOT_FOUND, message)
        return Taken(kept, name, None, missing, kept=True) if kept else Awaited(missing, name)
    status = parse_status(FineTuneJobStatus, obj)
    spec, _ = parse_spec(FineTuneJobSpec, obj)
    in_use = in_use_of(status)
    if in_use is not None:
        kept = reference(in_use)
    # Once its run has ended well, what is in use is what it asks for, promoted, pinned or kept.
    settled = in_use is not None and is_true(status.conditions, "Complete")
    if kept is None:
        return Awaited(_unpublished(name, status), name)
    outdated = None if settled else _unpublished(name, status)
    return Taken(kept, name, spec, outdated, kept=in_use is None)


def held(source: Source, before: SourceRef | None) -> Source:
    """The source of a run that goes on: what it has taken, however new what is there now.

    Were each publication to stop the run that takes it, one that is slower than its sources
    would never end.
    """
    if before is None or not isinstance(source, Taken) or not source.job:
        return source
    return replace(source, ref=before)


def tell(conditions: Conditions, source: Source) -> None:
    """Whether what is followed is there, as a condition."""
    if isinstance(source, Awaited):
        conditions.set(SOURCE_READY, False, source.why.reason, source.why.message)
    elif source.outdated is not None:
        message = f"{source.ref.uri} was taken, and stays in use. {source.outdated.message}"
        conditions.set(SOURCE_READY, True, reasons.TAKEN, message)
    else:
        reason = reasons.PUBLISHED if source.job else reasons.NAMED
        conditions.set(SOURCE_READY, True, reason, source.ref.uri)


def _is_of(source: SourceRef, namespace: str, name: str) -> bool:
    """By its folder, which is that of the revision that made it."""
    maker = maker_of(source.uri)
    return maker is not None and source.uri.rstrip("/").endswith(f"/{namespace}/{name}/{maker}")


def _unpublished(name: str, status: FineTuneJobStatus) -> Refusal:
    promoted = find(status.conditions, "Promoted")
    if promoted is not None and is_true(status.conditions, "Complete"):
        message = (
            f"FineTuneJob {name} has a result, and none in use ({promoted.reason}): see its "
            "condition Promoted. The first that comes into use is taken."
        )
        return Refusal(reasons.SOURCE_NOT_READY, message)
    for kind, verb in (("Failed", "failed"), ("Stalled", "is stalled")):
        condition = find(status.conditions, kind)
        if condition is not None and condition.status == "True":
            message = (
                f"FineTuneJob {name} {verb} ({condition.reason}): correct its spec, or run "
                f"`luthier retry {name}`."
            )
            return Refusal(reasons.SOURCE_FAILED, message, terminal=True)
    message = f"FineTuneJob {name} has no result yet. It is taken as soon as it is published."
    return Refusal(reasons.SOURCE_NOT_READY, message)
