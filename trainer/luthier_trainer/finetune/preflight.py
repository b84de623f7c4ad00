"""What a fine-tuning is made from, found and checked before anything that costs: base and data."""

from pathlib import Path

from luthier_api import sources
from luthier_api.result import ExitCode
from luthier_api.runspec import RunSpec
from luthier_trainer.data import prepare as data
from luthier_trainer.data.examples import Examples
from luthier_trainer.errors import TrainerError
from luthier_trainer.finetune.state import State
from luthier_trainer.log import log
from luthier_trainer.models import cache
from luthier_trainer.models.cache import BaseModel
from luthier_trainer.models.files import check_files
from luthier_trainer.pod.claim import Start, base_changed, read_claim, revision_taken
from luthier_trainer.pod.finished import Found, finished, found_again
from luthier_trainer.storage.objectstore import ObjectStore


def find_base(state: State, output: ObjectStore) -> BaseModel:
    """Of a hub at the commit with which this output was begun: a branch moves."""
    spec = state.spec
    claim = read_claim(output)
    began = claim.base if claim else None
    commit = cache.commit_of(began) if began else None
    try:
        return cache.find(spec, commit)
    except TrainerError as failure:
        if commit and failure.error.code == "RevisionNotFound":
            if claim and claim.uid != spec.run.uid:
                raise revision_taken(output) from failure
            uri = spec.fine_tuning.model.uri
            raise base_changed(f"{uri}: the hub no longer has it", began) from failure
        raise


def check_data(state: State, folder: Path) -> Examples:
    """The rows as examples, which are told of. Raises what data.prepare does."""
    try:
        examples = data.load(state.spec, folder / "data")
    except TrainerError as failure:
        # Access that is denied or down says nothing about the data.
        if failure.exit_code in (ExitCode.DATA, ExitCode.NOT_FOUND):
            state.refuse_data()
        raise
    state.examples, state.data_valid = examples, True
    log(f"data: {examples.summary}, {examples.digest}")
    for warning in examples.warnings:
        log(f"warning: data: {warning}")
    state.reporter.set(
        dataset_valid=True,
        dataset=examples.facts,
        dataset_digest=examples.digest,
        dataset_summary=state.data_summary(),
    )
    return examples


def find_result(
    spec: RunSpec, output: ObjectStore, digest: str, base: str | None, start: Start | None
) -> Found | None:
    """What makes this run needless: the result of the same, of this revision or an earlier."""
    if found := finished(output, spec, digest, base, start):
        return found
    return found_again(spec, digest, base, start) if _may_be_found(spec) else None


def load_base(state: State, base: BaseModel) -> Path:
    """The base model's folder on this machine, which fits."""
    state.reporter.stage("Loading")
    model_folder = cache.local_folder(base, state.spec)
    check_files(model_folder, state.spec.fine_tuning.method)
    return model_folder


def _may_be_found(spec: RunSpec) -> bool:
    """Whether an earlier revision's result is as good as one of this run. What stands in a
    ConfigMap shapes a result, and isn't in the hash of its revision."""
    tuning = spec.fine_tuning
    return not (spec.anew or any(sources.code(tuning)) or any(sources.texts(tuning)))
