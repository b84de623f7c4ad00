"""The revisions of a FineTuneJob, as its status tells them. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from luthier_api.revision import maker_of
from luthier_cli.errors import CliError
from luthier_cli.state import Resource, cause, condition, outcome, status_of


@dataclass(frozen=True)
class RevisionOf:
    """One revision, and what is known of it."""

    name: str
    outcome: str
    finished: str | None = None
    uri: str | None = None  # of its result
    dataset_digest: str | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)
    # By metric: tuned minus base, or minus what was in use; of the newest one alone.
    changes: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    compared_with: str | None = None
    in_use: bool = False
    pinned: bool = False
    why: str = ""  # whether it came into use, or why it failed

    def to_json(self) -> dict[str, Any]:
        """For programs; what isn't known is left out."""
        found = {
            "revision": self.name,
            "outcome": self.outcome,
            "finished": self.finished,
            "uri": self.uri,
            "datasetDigest": self.dataset_digest,
            "metrics": dict(self.metrics),
            "changes": dict(self.changes),
            "comparedWith": self.compared_with,
            "inUse": self.in_use,
            "pinned": self.pinned,
            "why": self.why,
        }
        return {name: value for name, value in found.items() if value not in (None, "", {})}


def revisions_of(resource: Resource) -> list[RevisionOf]:
    """All that the status has, newest first."""
    status, spec = status_of(resource), resource.get("spec") or {}
    in_use = status.get("inUse") or {}
    pin = (spec.get("promote") or {}).get("pin")

    found = [_newest(resource)] if status.get("revision") else []
    for record in status.get("history") or []:
        name, uri = record["revision"], record.get("artifactUri")
        found.append(
            RevisionOf(
                name=name,
                outcome=record["outcome"],
                finished=record.get("finished"),
                uri=uri,
                dataset_digest=record.get("datasetDigest"),
                metrics=record.get("metrics") or {},
                why=record.get("promoted") or "",
            )
        )
    return [
        replace(
            it,
            in_use=it.uri is not None and it.uri == in_use.get("uri"),
            pinned=pin is not None and pin in (it.name, maker_of(it.uri or "")),
        )
        for it in found
    ]


def _newest(resource: Resource) -> RevisionOf:
    """The one that the spec asks for."""
    status = status_of(resource)
    name, evaluation = status["revision"], status.get("evaluation") or {}
    uri = (status.get("artifact") or {}).get("uri")
    promoted = condition(resource, "Promoted")
    why = ": ".join(it for it in cause(resource) if it) if outcome(resource) == "Failed" else ""
    if promoted is not None and promoted["status"] != "Unknown":
        why = f"{promoted['reason']}: {promoted.get('message', '')}"
    compared = evaluation.get("comparedWith")
    return RevisionOf(
        name=name,
        outcome=outcome(resource) or status.get("phase") or "Pending",
        finished=status.get("completionTime"),
        uri=uri,
        dataset_digest=status.get("datasetDigest"),
        metrics=evaluation.get("tuned") or {},
        changes=(evaluation.get("gain") if compared else evaluation.get("change")) or {},
        compared_with=compared,
        why=why,
    )


def find(revisions: list[RevisionOf], name: str) -> RevisionOf:
    """By its name, or by its number alone (r2). Raises CliError."""
    named = [it for it in revisions if it.name == name]
    numbered = [it for it in revisions if it.name.partition("-")[0] == name]
    if found := named or numbered:
        return found[0]
    known = ", ".join(it.name for it in revisions) or "none yet"
    raise CliError(f"there is no revision {name} on record", f"there are: {known}")


def with_result(revision: RevisionOf) -> RevisionOf:
    """Itself, if it has a result. Raises CliError."""
    if revision.uri is None:
        raise CliError(
            f"{revision.name} has no result ({revision.outcome})",
            "see which have one: luthier history",
        )
    return revision
