"""OpenAI's fine-tuning jobs: what creates one, or one as the API returns it."""

from typing import Any

from luthier_api.kinds import FINE_TUNE_JOB
from luthier_cli.convert import preference, trackers
from luthier_cli.convert.draft import Draft
from luthier_cli.convert.mapping import Field, Group, Said, group, lost, moot, several, to, walk
from luthier_cli.convert.places import plain
from luthier_cli.convert.source import Beside, RefusedError, Source, named, on_gpu
from luthier_cli.convert.told import Fate
from luthier_cli.convert.values import number, table, whole

_AUTO = "auto"


def model(value: Any) -> Said:
    """A closed model: its weights can't be had."""
    return Said(
        "hf://OWNER/MODEL",
        f"{value} can't be trained here: name an open model with a chat template",
        Fate.FILL,
    )


def files(it: Group) -> None:
    """The files of rows, by their ids."""
    train, held = it.get("training_file"), it.get("validation_file")
    if not isinstance(train, str):
        it.rest("it isn't a file's id")
        return
    if isinstance(held, str) and held:
        why = "download both files: put them there as train.jsonl and validation.jsonl"
        it.put("dataset.uri", f"s3://datasets/{plain(train)}", "training_file", why, fate=Fate.FILL)
        it.put("dataset.eval", "validation", "validation_file")
    else:
        uri = f"s3://datasets/{plain(train)}.jsonl"
        why = "download the file and put it there"
        it.put("dataset.uri", uri, "training_file", why, fate=Fate.FILL)
        it.moot("validation_file", "there is none")


def epochs(value: Any) -> Any:
    """n_epochs."""
    if value == _AUTO:
        return Said(3, "auto goes by the number of rows there")
    return number(value)


def rate(value: Any) -> Any:
    """learning_rate_multiplier, of a rate that isn't told."""
    if value == _AUTO:
        return _AUTO
    return Said(_AUTO, "it multiplies a rate that isn't told: auto suits the method")


def batch(value: Any) -> Any:
    """batch_size."""
    return _AUTO if value == _AUTO else whole(value)


def beta(value: Any) -> Any:
    """beta of dpo."""
    return Said(None, "0.1, unless told", Fate.MOOT) if value == _AUTO else number(value)


HYPERPARAMETERS: dict[str, Field] = {
    "n_epochs": to("training.epochs", epochs),
    "learning_rate_multiplier": to("training.learningRate", rate),
    "batch_size": to("training.perDeviceBatchSize", batch),
    "beta": to("training.preference.beta", beta),
    **several(
        "compute_multiplier eval_interval eval_samples reasoning_effort",
        lost(preference.NO_REWARDS),
    ),
}
FIELDS: dict[str, Field] = {
    "model": to("model.uri", model),
    **several("training_file validation_file", group(files, "dataset.uri", "dataset.eval")),
    "seed": to("training.seed", whole),
    "suffix": moot("metadata.name is the result's name"),
    "integrations": group(trackers.integrations, *trackers.WANDB),
    "metadata": lost("labels of the manifest say it: metadata.labels"),
    **several("hyperparameters method", moot("each of its fields is told by itself")),
    **several(
        "id object created_at finished_at estimated_finish status error fine_tuned_model "
        "organization_id result_files trained_tokens user_provided_suffix usage_metrics "
        "shared_with_openai eval_id",
        moot("it tells of that run"),
    ),
}


def convert(given: dict[str, Any], _: Beside) -> list[Draft]:
    """A FineTuneJob."""
    method = table(given.get("method"))
    kind = str(method.get("type") or "supervised")
    if kind not in ("supervised", "dpo"):
        raise RefusedError(
            f"method.type: {kind} can't be said here: supervised and dpo are converted",
            preference.NO_REWARDS,
        )
    draft = Draft(FINE_TUNE_JOB, named(given, "suffix", "user_provided_suffix", "model"))
    walk(FIELDS, given, draft)
    inner = table(method.get(kind))
    for name in method.keys() - {"type", kind}:
        draft.moot(f"method.{name}", method[name], f"the type is {kind}")
    older, newer = table(given.get("hyperparameters")), table(inner.get("hyperparameters"))
    where = f"method.{kind}.hyperparameters." if newer else "hyperparameters."
    walk(HYPERPARAMETERS, {**older, **newer}, draft, where)
    if kind == "dpo":
        draft.put("task", "preference", "method.type", kind)
        draft.put("training.preference.objective", "dpo", "method.type", kind)
        why = "write its rows anew: input.messages as prompt, preferred_output as chosen, "
        why += "non_preferred_output as rejected"
        draft.put("dataset.columns", dict(preference.TWO), fate=Fate.FILL, why=why)
    else:
        draft.put("dataset.columns", {"messages": "messages"}, fate=Fate.DEFAULT)
    for target, value in (
        ("training.epochs", 3),
        ("training.learningRate", _AUTO),
        ("training.perDeviceBatchSize", _AUTO),
    ):
        if draft.get(target) is None:
            draft.put(target, value, fate=Fate.DIFFERS, why="auto, as there")
    draft.put("method.type", "lora", fate=Fate.DIFFERS, why="OpenAI doesn't tell its method")
    on_gpu(draft)
    return [draft]


SOURCE = Source(
    "openai",
    "OpenAI's fine-tuning API",
    {"FineTuneJob": {"": FIELDS, "hyperparameters.": HYPERPARAMETERS}},
    convert,
    marks=("training_file",),
)
