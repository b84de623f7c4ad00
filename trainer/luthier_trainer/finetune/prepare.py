"""Rows as tokens, what is learnt from them and measured on them, and what the user is told."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from luthier_api.finetunejob import DatasetFacts
from luthier_trainer.data.examples import Example, Examples
from luthier_trainer.evaluation import metrics, script
from luthier_trainer.evaluation.rowprogress import RowProgress
from luthier_trainer.finetune import inspection
from luthier_trainer.finetune.inspection import Inspection
from luthier_trainer.finetune.job import Job
from luthier_trainer.finetune.tokencache import TokenCache, shape_of
from luthier_trainer.log import log
from luthier_trainer.methods.apply import check_modules
from luthier_trainer.models.architecture import describe
from luthier_trainer.models.load import base_config, load_tokenizer
from luthier_trainer.models.vocabulary import check_vocabulary
from luthier_trainer.objectives.choose import choose
from luthier_trainer.objectives.objective import Item, ShownObjective
from luthier_trainer.objectives.owntemplate import use_own_template
from luthier_trainer.objectives.positions import positions_of
from luthier_trainer.objectives.specials import special_token_warnings
from luthier_trainer.objectives.unfold import unfolded
from luthier_trainer.pod import usercode
from luthier_trainer.training.ownloss import UserLoss, load_loss


@dataclass(frozen=True)
class Prepared:
    """`items` are the encoded rows of train. `values`: what is measured at the end; `on_eval`:
    while it trains, of which early stopping watches `metric`. `own_loss`, `script`: the user's."""

    tokenizer: Any
    objective: ShownObjective
    examples: Examples
    items: Sequence[Item]
    eval_items: Sequence[Item]
    inspection: Inspection
    facts: DatasetFacts
    cache: TokenCache
    values: tuple[str, ...]
    metric: str
    lower_is_better: bool
    on_eval: tuple[str, ...]
    own_loss: UserLoss | None
    script: Path | None

    def encoded(self, job: Job, part: str, examples: Sequence[Example]) -> Sequence[Item]:
        """Examples as tokens; `part`: train, watched or reported."""
        return _encoded(job, self.cache, self.objective, part, examples)


def prepare(job: Job) -> Prepared:
    """Raises TrainerError, of the user's code before anything that costs; Interrupted."""
    own_loss, own_script = _own_code(job)
    tuning, pod, model_folder = job.tuning, job.state.pod, job.model_folder
    tokenizer = load_tokenizer(model_folder)
    architecture = describe(model_folder)
    check_vocabulary(model_folder, tokenizer)
    use_own_template(tokenizer, job.spec)
    objective = choose(
        tuning,
        job.examples,
        tokenizer,
        architecture,
        positions=positions_of(base_config(model_folder)),
        custom=own_loss,
        now=pod.began,
    )
    check_modules(tuning, model_folder, objective.head)
    examples = _with_warnings(unfolded(objective, job.examples), objective, tokenizer)
    values = metrics.chosen(tuning.evaluation.metrics, objective)
    _check_gold(objective, values, examples.reported)
    metric, lower_is_better, on_eval = _measured_on_eval(job, objective)
    _check_gold(objective, on_eval, examples.watched)
    shape = shape_of(job.spec, examples, objective, tokenizer, model_folder, pod.began)
    cache = TokenCache(Path(job.spec.cache_dir, "tokens"), job.folder, shape)
    items, eval_items, found = _rows(job, cache, objective, examples)
    facts = found.complete(examples.facts)
    job.reporter.set(dataset=facts)
    return Prepared(
        tokenizer=tokenizer,
        objective=objective,
        examples=examples,
        items=items,
        eval_items=eval_items,
        inspection=found,
        facts=facts,
        cache=cache,
        values=tuple(values),
        metric=metric,
        lower_is_better=lower_is_better,
        on_eval=on_eval,
        own_loss=own_loss,
        script=own_script,
    )


def _own_code(job: Job) -> tuple[UserLoss | None, Path | None]:
    """The user's loss, and the file of the user's evaluation, which loads."""
    loss, evaluation = job.tuning.training.loss, job.tuning.evaluation.script
    own_loss = own_script = None
    if loss:
        source = usercode.source_of(loss, job.spec, "training.loss")
        own_loss = load_loss(source, loss.entrypoint)
    if evaluation:
        own_script = usercode.source_of(evaluation, job.spec, "evaluation.script")
        script.load(own_script, evaluation.entrypoint)
    return own_loss, own_script


def _with_warnings(examples: Examples, objective: ShownObjective, tokenizer: Any) -> Examples:
    special = special_token_warnings(objective, tokenizer)
    for warning in special:
        log(f"warning: model: {warning}")
    return replace(examples, warnings=[*examples.warnings, *special])


def _measured_on_eval(job: Job, objective: ShownObjective) -> tuple[str, bool, tuple[str, ...]]:
    """(what early stopping watches, whether lower is better, all that is measured on eval)."""
    stopping = job.tuning.training.early_stopping
    metric, lower = metrics.watched(stopping.metric if stopping else "loss", objective)
    if job.trial is None:
        return metric, lower, (metric,)
    sought, _ = metrics.watched(job.trial.metric, objective, "search.objective.metric")
    return metric, lower, tuple(dict.fromkeys([metric, sought]))


def _check_gold(objective: ShownObjective, values: Sequence[str], rows: Sequence[Example]) -> None:
    gold = [objective.gold(rows[index]) for index in range(len(rows))]
    metrics.check_gold(values, gold, [rows[i].place for i in range(len(rows))])


def _rows(
    job: Job, cache: TokenCache, objective: ShownObjective, examples: Examples
) -> tuple[Sequence[Item], Sequence[Item], Inspection]:
    """Once for all trainings of this process whose objective reads the rows alike."""
    key = (type(objective).__name__, objective.max_length)
    if known := job.encodings.get(key):
        return known
    items = _encoded(job, cache, objective, "train", examples.train)
    found = inspection.inspect(objective, items)
    eval_items = _encoded(job, cache, objective, "watched", examples.watched)
    if job.tuning.dataset.long_rows == "Refuse":
        # Also those that the result is measured on, which are else encoded at the end.
        reported = _encoded(job, cache, objective, "reported", examples.reported)
        _refuse_long_rows(job, objective, examples.train, items)
        _refuse_long_rows(job, objective, examples.watched, eval_items)
        _refuse_long_rows(job, objective, examples.reported, reported)
    job.encodings[key] = (items, eval_items, found)
    if found.truncated:
        share = 100 * found.truncated / len(found.lengths)
        log(
            f"warning: data: {share:.1f}% of the rows are longer than "
            f"{objective.max_length:,} tokens, up to {found.lengths.max():,}: cut"
        )
    for line in found.sentences:
        log(line)
    return items, eval_items, found


def _encoded(
    job: Job, cache: TokenCache, objective: ShownObjective, part: str, examples: Sequence[Example]
) -> Sequence[Item]:
    if part != "train":  # drawn
        part = f"{part} {job.tuning.evaluation.max_samples} {job.tuning.training.seed}"
    progress = RowProgress(job.reporter, "Preparing rows", len(examples), job.interrupt.check)
    stage = job.reporter.progress.stage
    items = cache.items(part, objective, examples, progress)
    job.reporter.update(stage=stage)
    return items


def _refuse_long_rows(
    job: Job, objective: ShownObjective, examples: Sequence[Example], items: Sequence[Item]
) -> None:
    if failure := inspection.check_whole(examples, items, objective.max_length):
        job.state.refuse_data()
        raise failure
