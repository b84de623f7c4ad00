"""Spec → the order of a fine-tuning run, and the run's objects. Pure."""

from luthier_api import sources
from luthier_api.finetunejob import FineTuneJobSpec, FineTuneJobStatus
from luthier_api.finetuning import FineTuning
from luthier_api.meta import part_of
from luthier_api.optimizejob import SourceRef
from luthier_api.platform import Platform
from luthier_api.promotion import is_newest_in_use
from luthier_api.runspec import RunSpec
from luthier_operator.resources import Obj
from luthier_operator.run.build import build_run, run_order
from luthier_operator.run.model import Owner, Revision
from luthier_operator.run.revision import is_anew
from luthier_operator.run.status import in_use_of


def build(
    owner: Owner,
    spec: FineTuneJobSpec,
    revision: Revision,
    platform: Platform,
    previous: FineTuneJobStatus | None = None,
) -> list[Obj]:
    """The objects of a run in the order of their creation; the Job comes last. `previous`: what
    earlier revisions have come to."""
    return build_run(
        owner,
        spec,
        revision,
        platform,
        order=run_spec(owner, spec, revision, platform, previous),
        reads=sources.of_fine_tuning(spec),
    )


def run_spec(
    owner: Owner,
    spec: FineTuneJobSpec,
    revision: Revision,
    platform: Platform,
    previous: FineTuneJobStatus | None = None,
) -> RunSpec:
    """The order for the trainer."""
    previous = previous or FineTuneJobStatus()
    return RunSpec(
        **dict(run_order(owner, spec, revision, platform)),
        fine_tuning=part_of(spec, FineTuning),
        checkpoints=spec.checkpoints,
        incumbent=_incumbent(spec, previous),
        anew=is_anew(previous, revision),
        comes_into_use="Always" if is_newest_in_use(spec.promote) else "Never",
    )


def _incumbent(spec: FineTuneJobSpec, previous: FineTuneJobStatus) -> SourceRef | None:
    """What the result is to be compared with, where that decides."""
    in_use = in_use_of(previous)
    if spec.promote is None or spec.promote.when != "IfBetter" or in_use is None:
        return None
    return SourceRef(
        uri=in_use.uri, revision=in_use.revision, manifest_sha256=in_use.manifest_sha256
    )
