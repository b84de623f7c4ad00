"""What is known of a run's inside: from the status so far, reports and results. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from luthier_api.optimizejob import Candidate, OptimizedArtifact, OptimizeJobStatus
from luthier_api.progress import ProgressReport
from luthier_api.result import OptimizeResult, RunError
from luthier_api.runstatus import Progress, Restarts, Usage
from luthier_operator.run.evidence import restarted, statements, used
from luthier_operator.run.model import Pod, Revision

# The bound of status.candidates.
CANDIDATES = 6


@dataclass(frozen=True)
class Evidence:
    """The newest of each."""

    stage: str | None = None
    progress: Progress | None = None
    baseline: Candidate | None = None
    candidates: tuple[Candidate, ...] = ()
    artifact: OptimizedArtifact | None = None
    usage: Usage | None = None
    restarts: Restarts | None = None
    error: RunError | None = None

    def after(self, newer: ProgressReport | OptimizeResult) -> "Evidence":
        """This, overlaid with what the newer one knows."""
        merged = replace(
            self,
            baseline=newer.baseline or self.baseline,
            candidates=_overlaid(self.candidates, newer.candidates),
            usage=used(self.usage, newer.usage),
            restarts=restarted(self.restarts, newer.restarts),
        )
        if isinstance(newer, OptimizeResult):
            artifact = newer.artifact or self.artifact
            return replace(merged, stage=None, artifact=artifact, error=newer.error)
        return replace(merged, stage=newer.progress.stage, progress=newer.progress, error=None)


def gather(
    previous: OptimizeJobStatus,
    revision: Revision,
    report: ProgressReport | None,
    pods: list[Pod],
    output: str,
) -> Evidence:
    """`pods` are the Job's, oldest first; a pod's report comes before its result. `output`: the
    only folder that an artifact may be in.
    """
    evidence = Evidence()
    # After a restart of the operator the status is all that is left of earlier reports.
    if previous.revision == revision.name:
        evidence = Evidence(
            stage=previous.stage,
            progress=previous.progress,
            baseline=previous.baseline,
            candidates=tuple(previous.candidates),
            artifact=previous.artifact,
            usage=previous.usage,
            restarts=previous.restarts,
        )
    for newer in statements(revision, report, pods, OptimizeResult, output):
        evidence = evidence.after(newer)
    return evidence


def _overlaid(known: Sequence[Candidate], newer: Sequence[Candidate]) -> tuple[Candidate, ...]:
    """The newer ones. A result may lack what it had no room for: reasons, or all of them."""
    if not newer:
        return tuple(known)
    before = {it.precision: it for it in known}
    return tuple(_with_reason(it, before.get(it.precision)) for it in newer[:CANDIDATES])


def _with_reason(candidate: Candidate, before: Candidate | None) -> Candidate:
    if before is None or candidate.reason or candidate.verdict != before.verdict:
        return candidate
    return candidate.model_copy(update={"reason": before.reason})
