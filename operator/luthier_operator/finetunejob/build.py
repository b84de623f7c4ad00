"""Spec → the order of a fine-tuning run, and the run's objects. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from luthier_api import sources, terms
from luthier_api.finetunejob import FineTuneJobSpec
from luthier_api.finetuning import FineTuning
from luthier_api.meta import part_of
from luthier_api.optimizejob import SourceRef
from luthier_api.platform import Platform
from luthier_api.promotion import is_newest_in_use
from luthier_api.runspec import ProbeOrder, RunSpec
from luthier_api.searchspace import applied, workers_of
from luthier_operator.resources import Obj
from luthier_operator.run.build import build_run, run_order
from luthier_operator.run.errands import order_fields
from luthier_operator.run.model import Owner, Revision
from luthier_operator.run.workload import PROBE


@dataclass(frozen=True)
class Before:
    """What earlier revisions mean to a run."""

    incumbent: SourceRef | None = None  # what its result is to be compared with
    start_from: SourceRef | None = None  # what it goes on from, if not the base
    anew: bool = False  # it isn't to find a result again
    settings: Mapping[str, str] = field(default_factory=dict)  # those of an earlier search's best


NOTHING_BEFORE = Before()


def build(
    owner: Owner,
    spec: FineTuneJobSpec,
    revision: Revision,
    platform: Platform,
    before: Before = NOTHING_BEFORE,
) -> list[Obj]:
    """The objects of a run in the order of their creation; the Job comes last."""
    return build_run(
        owner,
        spec,
        revision,
        platform,
        order=run_spec(owner, spec, revision, platform, before),
        reads=sources.of_fine_tuning(spec),
        workers=workers_of(spec.search) if spec.search and not before.settings else None,
    )


def run_spec(
    owner: Owner,
    spec: FineTuneJobSpec,
    revision: Revision,
    platform: Platform,
    before: Before = NOTHING_BEFORE,
) -> RunSpec:
    """The order for the trainer."""
    return RunSpec(
        **dict(run_order(owner, spec, revision, platform)),
        fine_tuning=_fine_tuning(spec, before),
        checkpoints=spec.checkpoints,
        incumbent=before.incumbent,
        start_from=before.start_from,
        anew=before.anew,
        comes_into_use="Always" if is_newest_in_use(spec.promote) else "Never",
        tracking=terms.tracking_of(spec, owner.namespace, platform),
    )


def _fine_tuning(spec: FineTuneJobSpec, before: Before) -> FineTuning:
    return applied(spec, before.settings) if before.settings else part_of(spec, FineTuning)


def probe_order(
    owner: Owner,
    spec: FineTuneJobSpec,
    revision: Revision,
    platform: Platform,
    *,
    result: str | None,
    dataset_digest: str | None,
) -> ProbeOrder:
    """The order to look whether the data is what a revision was made from. `result`: the folder of
    its result; `dataset_digest`: of its data, where it has told.

    Raises LookupError without a pool for errands.
    """
    order = order_fields(owner, spec, revision, platform, PROBE)
    order |= {"output": result or order["output"]}
    return ProbeOrder(**order, fine_tuning=part_of(spec, FineTuning), dataset_digest=dataset_digest)
