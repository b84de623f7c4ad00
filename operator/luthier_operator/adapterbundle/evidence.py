"""What is known of a run's inside, from reports and results. Pure."""

from dataclasses import dataclass, field, replace

from luthier_api.adapterbundle import AdapterBundleStatus, BundleProof
from luthier_api.progress import ProgressReport
from luthier_api.result import AdapterEnd, BundleResult
from luthier_api.runstatus import ArtifactRef, Progress, Restarts, Usage
from luthier_operator.run.evidence import restarted, statements, used
from luthier_operator.run.model import Pod, Revision


@dataclass(frozen=True)
class Evidence:
    """The newest of each."""

    stage: str | None = None
    progress: Progress | None = None
    adapters: dict[str, AdapterEnd] = field(default_factory=dict)
    proof: BundleProof | None = None
    artifact: ArtifactRef | None = None  # of this revision
    usage: Usage | None = None
    restarts: Restarts | None = None

    def after(self, newer: ProgressReport | BundleResult) -> "Evidence":
        """This, overlaid with what the newer one knows."""
        merged = replace(
            self,
            adapters=self.adapters
            | {it.name: _fuller(self.adapters.get(it.name), it) for it in newer.adapters},
            usage=used(self.usage, newer.usage),
            restarts=restarted(self.restarts, newer.restarts),
        )
        if isinstance(newer, BundleResult):
            return replace(merged, stage=None, proof=newer.proof, artifact=newer.artifact)
        return replace(merged, stage=newer.progress.stage, progress=newer.progress)


def gather(
    previous: AdapterBundleStatus,
    revision: Revision,
    report: ProgressReport | None,
    pods: list[Pod],
    output: str,
) -> Evidence:
    """`pods` are the Job's, oldest first; a pod's report comes before its result. `output`: the
    only folder that an artifact may be in.

    What was told of the adapters before stands in the status, adapter by adapter.
    """
    evidence = Evidence()
    # After a restart of the operator the status is all that is left of earlier reports.
    if previous.revision == revision.name:
        evidence = Evidence(
            stage=previous.stage,
            progress=previous.progress,
            usage=previous.usage,
            restarts=previous.restarts,
        )
    for newer in statements(revision, report, pods, BundleResult, output):
        evidence = evidence.after(newer)
    return evidence


def _fuller(known: AdapterEnd | None, newer: AdapterEnd) -> AdapterEnd:
    """The newer one. A result may lack what it had no room for: messages, or their ends."""
    if known is None or known.code != newer.code:
        return newer
    return known if (known.message or "").startswith(newer.message or "") else newer
