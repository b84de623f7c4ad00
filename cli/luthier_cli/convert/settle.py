"""Drafts become valid manifests: what the API refuses is taken out, what lacks is filled in."""

from luthier_api.finetuning import FineTuning
from luthier_cli import offline, searches
from luthier_cli.convert import places
from luthier_cli.convert.draft import Draft
from luthier_cli.convert.manifest import in_order, plain
from luthier_cli.convert.preference import ONE, TWO
from luthier_cli.convert.told import Fate
from luthier_cli.errors import CliError, Exit
from luthier_cli.findings import Finding, locate
from luthier_cli.yaml import Document, Path, YamlError, load_documents

_ROUNDS = 60
_LORA = ("lora", "qlora")
# What a manifest must have, and what stands there until it is filled in.
_REQUIRED = {
    "FineTuneJob": (
        ("model.uri", places.MODEL, "the base model"),
        ("task", "generation", ""),
        ("dataset.uri", places.DATASET, "the examples"),
        ("output.uri", places.OUTPUT, "your bucket"),
    ),
    "OptimizeJob": (("output.uri", places.OUTPUT, "your bucket"),),
    "AdapterBundle": (
        ("base.uri", places.MODEL, "the model that all adapters share"),
        ("output.uri", places.OUTPUT, "your bucket"),
    ),
}


def settle(draft: Draft) -> Draft:
    """The same, valid. Raises CliError where nothing valid comes of it."""
    _agree(draft)
    for _ in range(_ROUNDS):
        _complete(draft)
        document, found = _wrong(draft)
        if not found:
            draft.spec = in_order(draft.kind, draft.spec)
            return draft
        taken = [_without(draft, _within(document, it), _why(it)) for it in found]
        if not any(taken):
            raise CliError(
                f"no valid {draft.kind.name} comes of it: {found[0].field}: {_why(found[0])}",
                "correct the configuration there, or write the manifest by hand",
                Exit.FAILED,
            )
    raise CliError(f"no valid {draft.kind.name} comes of it: too much is refused", code=Exit.FAILED)


def _why(finding: Finding) -> str:
    return f"{finding.message}{f' ({finding.remedy})' if finding.remedy else ''}"


def _wrong(draft: Draft) -> tuple[Document, list[Finding]]:
    """All that is refused."""
    try:
        document = load_documents(plain(draft.document()))[0]
    except YamlError as error:
        raise CliError(
            f"no valid {draft.kind.name} comes of it: {error}", code=Exit.FAILED
        ) from None
    return document, offline.check_document(document, "") or searches.check(document, "")


def _within(document: Document, finding: Finding) -> Path:
    return locate(document, finding.field)[1:]


def _without(draft: Draft, path: Path, why: str) -> bool:
    """Take out what is refused: the field, or the nearest around it; never a whole block of the
    spec that must be there."""
    while path:
        if (
            len(path) == 1
            and path[0] in FineTuning.model_fields
            and path[0] in ("dataset", "training")
        ):
            return _any_choice(draft, str(path[0]), why)
        if draft.drop(path, why):
            return True
        path = path[:-1]
    return False


def _any_choice(draft: Draft, block: str, why: str) -> bool:
    """Of a block that is wrong as a whole: what may be left out, the last first."""
    within = draft.get(block)
    optional = [name for name in within if name not in ("uri", "maxSteps", "epochs")]
    return bool(optional) and draft.drop((block, optional[-1]), why)


def _complete(draft: Draft) -> None:
    for target, value, what in _REQUIRED[draft.kind.name]:
        if draft.get(target) is None:
            fate = Fate.FILL if what else Fate.DEFAULT
            draft.put(target, value, fate=fate, why=what)
    if draft.kind.name == "OptimizeJob" and not draft.get("source"):
        draft.put("source.modelUri", places.MODEL, fate=Fate.FILL, why="the model")
    if draft.kind.name == "AdapterBundle" and not draft.get("adapters"):
        item = {"name": "adapter", "uri": "s3://models/ADAPTER"}
        draft.put("adapters", [item], fate=Fate.FILL, why="the adapters")
    if draft.kind.name == "FineTuneJob":
        if not (draft.get("dataset.template") or draft.get("dataset.columns")):
            _say_columns(draft)
        if not any(draft.get(f"dataset.{it}") for it in ("eval", "evalFraction", "test")):
            why = "rows to measure on are needed here: a tenth isn't learnt from"
            draft.put("dataset.evalFraction", 0.1, fate=Fate.DIFFERS, why=why)
        if not (draft.get("training.maxSteps") or draft.get("training.epochs")):
            draft.put("training.epochs", 3, fate=Fate.FILL, why="how long to train")


def _say_columns(draft: Draft) -> None:
    columns = {
        "classification": {"text": "text", "label": "label"},
        "extraction": {"tokens": "tokens", "tags": "tags"},
        "similarity": {"first": "first", "second": "second", "label": "label"},
        "preference": ONE if draft.get("training.preference.objective") == "kto" else TWO,
    }.get(str(draft.get("task")), {"messages": "messages"})
    draft.put("dataset.columns", columns, fate=Fate.FILL, why="the columns by what they mean")


def _agree(draft: Draft) -> None:
    """What doesn't go together here and is no loss: the tool wouldn't have used it either."""
    method = draft.get("method.type") or "lora"
    if method not in _LORA:
        draft.drop(("method", "lora"), f"the method is {method}", Fate.MOOT)
    if method != "qlora":
        draft.drop(("method", "quantization"), f"the method is {method}", Fate.MOOT)
    if draft.get("training.scheduler") == "constant":
        draft.drop(("training", "warmupRatio"), "the rate is constant from the start", Fate.MOOT)
    if draft.get("training.scheduler") == "constant_with_warmup" and not draft.get(
        "training.warmupRatio"
    ):
        draft.drop(("training", "scheduler"), "there is no warm-up")
        draft.put("training.scheduler", "constant", fate=Fate.DIFFERS, why="without a warm-up")
    rate, least = (
        draft.get("training.learningRate"),
        draft.get("training.schedulerOptions.minLearningRate"),
    )
    if isinstance(least, int | float) and isinstance(rate, int | float) and least >= rate:
        draft.drop(("training", "schedulerOptions", "minLearningRate"), "it isn't below the rate")
    if draft.kind.name == "FineTuneJob" and not (
        draft.get("dataset.eval") or draft.get("dataset.evalFraction")
    ):
        why = "no rows are set aside to measure on: set dataset.evalFraction"
        draft.drop(("training", "evalEverySteps"), why)
        draft.drop(("training", "earlyStopping"), why)
