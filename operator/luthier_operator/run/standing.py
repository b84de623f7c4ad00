"""Which of a resource's results is in use. Pure."""

from dataclasses import dataclass

from luthier_api import reasons
from luthier_api.optimizejob import SourceRef
from luthier_api.revision import maker_of
from luthier_api.runstatus import ArtifactRef, InUse, RevisionRecord
from luthier_operator.errors import Refusal


@dataclass(frozen=True)
class Known:
    """The results that there are."""

    revision: str | None  # that is wanted now
    published: InUse | None  # its result
    before: InUse | None  # what was in use until now
    history: list[RevisionRecord]  # newest first


@dataclass(frozen=True)
class Standing:
    """What is in use, and why it isn't the result of the revision that is wanted now."""

    in_use: InUse | None
    kept_out: Refusal | None = None  # terminal: nothing comes of it without a change
    older: str = reasons.NOT_PROMOTED  # the reason of Ready, which holds of the older one

    @property
    def uri(self) -> str | None:
        """Where it lies."""
        return self.in_use.uri if self.in_use else None


def newest(known: Known) -> Standing:
    """What is published is in use until there is a newer one."""
    return Standing(known.published or known.before)


def made(artifact: ArtifactRef, revision: str) -> InUse:
    """A result, by the revision that made it: one that found an earlier result again made none."""
    return InUse(
        uri=artifact.uri,
        manifest_sha256=artifact.manifest_sha256,
        revision=maker_of(artifact.uri) or revision,
    )


def reference(in_use: InUse) -> SourceRef:
    """What is in use, as whoever takes it names it."""
    return SourceRef(
        uri=in_use.uri, revision=in_use.revision, manifest_sha256=in_use.manifest_sha256
    )
