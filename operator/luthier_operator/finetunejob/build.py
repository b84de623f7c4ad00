"""Spec → the order of a fine-tuning run, and the run's objects. Pure."""

from luthier_api import sources
from luthier_api.finetunejob import FineTuneJobSpec
from luthier_api.finetuning import FineTuning
from luthier_api.meta import part_of
from luthier_api.optimizejob import SourceRef
from luthier_api.platform import Platform
from luthier_api.runspec import RunSpec
from luthier_operator.resources import Obj
from luthier_operator.run.build import build_run, run_order
from luthier_operator.run.model import Owner, Revision


def build(
    owner: Owner,
    spec: FineTuneJobSpec,
    revision: Revision,
    platform: Platform,
    start_from: SourceRef | None = None,
) -> list[Obj]:
    """The objects of a run in the order of their creation; the Job comes last. `start_from`: what
    it goes on from, if not the base."""
    return build_run(
        owner,
        spec,
        revision,
        platform,
        order=run_spec(owner, spec, revision, platform, start_from),
        reads=sources.of_fine_tuning(spec),
    )


def run_spec(
    owner: Owner,
    spec: FineTuneJobSpec,
    revision: Revision,
    platform: Platform,
    start_from: SourceRef | None = None,
) -> RunSpec:
    """The order for the trainer."""
    return RunSpec(
        **dict(run_order(owner, spec, revision, platform)),
        fine_tuning=part_of(spec, FineTuning),
        checkpoints=spec.checkpoints,
        start_from=start_from,
    )
