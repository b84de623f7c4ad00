"""Which objective a task gets, by the form of its examples and the kind of its model."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Literal

from luthier_api.classification import Classification
from luthier_api.finetuning import FineTuning
from luthier_api.preference import Preference
from luthier_api.training import Similarity
from luthier_trainer.data.examples import (
    Answers,
    Chat,
    Completion,
    Example,
    Examples,
    Labelled,
    MultiLabelled,
    Pair,
    Tagged,
    Valued,
)
from luthier_trainer.errors import TrainerError, data_error, unsupported
from luthier_trainer.log import log
from luthier_trainer.models.architecture import Architecture
from luthier_trainer.models.dropout import attention_dropout
from luthier_trainer.objectives.causal import Causal
from luthier_trainer.objectives.chat import ChatEncoder
from luthier_trainer.objectives.classifier import Classifier
from luthier_trainer.objectives.classweights import class_weights, positive_weights
from luthier_trainer.objectives.custom import Custom, is_of_pairs
from luthier_trainer.objectives.forward import unwrapped
from luthier_trainer.objectives.multilabel import MultiLabel
from luthier_trainer.objectives.objective import Objective, ShownObjective
from luthier_trainer.objectives.pairs import Pairs
from luthier_trainer.objectives.positions import longest
from luthier_trainer.objectives.preferences import Preferences
from luthier_trainer.objectives.regressor import Regressor
from luthier_trainer.objectives.scoring import label_completions
from luthier_trainer.objectives.seq2seq import Seq2Seq
from luthier_trainer.objectives.tagger import Tagger
from luthier_trainer.objectives.tokens import Encoder, end_token, learns_prompt

# padded: to the longest of the batch. joined: in one row, without padding. packed: joined, and as
# many examples to a batch as fill its rows.
Batching = Literal["padded", "joined", "packed"]


def choose(
    spec: FineTuning,
    examples: Examples,
    tokenizer: Any,
    architecture: Architecture,
    *,
    positions: int | None = None,
    custom: Custom | None = None,
    now: datetime | None = None,
) -> ShownObjective:
    """The objective of a run. `now`: the moment that a chat template sees, the present unless
    told.

    `positions`: how many tokens the model can read, see positions_of; `custom`: the loss of
    the user's own. Raises TrainerError: WrongForm, WrongArchitecture, WrongPooling,
    MissingLabel, NoChatTemplate, NoRoomForText, ChunkNotSupported.
    """
    training = spec.training
    max_length = longest(spec, tokenizer, positions)
    common: dict[str, Any] = {"custom": custom}
    example = examples.train[0]
    if spec.dataset.long_rows == "Chunk":
        _check_chunks(spec, example, architecture)
    if isinstance(example, Pair):
        _require(spec, example, "similarity")
        architecture.require(Pairs.head.auto_class)
        similarity = training.similarity or Similarity()
        if similarity.pooling == "cls" and architecture.kind == "decoder":
            raise unsupported(
                "WrongPooling",
                f"a model of the type {architecture.model_type!r} reads from left to right, so "
                "that its first token, which cls takes, knows nothing of those behind it: set "
                "training.similarity.pooling to mean or last",
                "training.similarity.pooling",
            )
        if is_of_pairs(custom) and example.label is None:
            raise data_error(
                "MissingLabel",
                "your loss takes (output1, output2, label), and the rows have no label: set "
                "dataset.columns.label, or write the loss as (outputs, batch)",
                "dataset.columns.label",
            )
        return Pairs(tokenizer, max_length, similarity, **common)
    if isinstance(example, Answers):
        return _preferences(spec, example, tokenizer, architecture, max_length, now)
    settings = training.classification or Classification()
    if isinstance(example, MultiLabelled):
        _require(spec, example, "classification")
        architecture.require("AutoModelForSequenceClassification")
        rows = examples.rows_of_labels
        names = architecture.ordered(examples.labels)
        weights = positive_weights(settings, names, rows, len(examples.train))
        common |= {"weights": weights, "gamma": settings.focal_gamma}
        return MultiLabel(tokenizer, names, max_length, **common)
    if isinstance(example, Valued):
        _require(spec, example, "regression")
        architecture.require("AutoModelForSequenceClassification")
        assert examples.scale
        columns = spec.dataset.columns
        name = (columns.label if columns else None) or "number"
        return Regressor(tokenizer, name, examples.scale, max_length, **common)
    common["smoothing"] = training.label_smoothing
    if isinstance(example, Labelled):
        _require(spec, example, "classification")
        architecture.require("AutoModelForSequenceClassification")
        names = architecture.ordered(examples.labels)
        weights = class_weights(settings, names, examples.rows_of_labels)
        common |= {"weights": weights, "gamma": settings.focal_gamma}
        return Classifier(tokenizer, names, max_length, **common)
    if isinstance(example, Tagged):
        _require(spec, example, "extraction")
        architecture.require("AutoModelForTokenClassification")
        return Tagger(tokenizer, examples.labels, max_length, order=architecture.ordered, **common)

    common["max_new_tokens"] = spec.evaluation.max_new_tokens
    in_words = ("generation", "summarization", "extraction")
    if isinstance(example, Chat):
        _require(spec, example, *in_words)
        architecture.require(Causal.head.auto_class)
        learn_all = spec.dataset.loss_on == "All"
        chats = _chats(spec, tokenizer, max_length, learn_all, now)
        return Causal(tokenizer, chats, max_length, **common)
    _require_no_template(spec, example)
    _require(spec, example, *in_words, "classification")
    classes = spec.task == "classification"
    labels = examples.labels if classes else ()
    if architecture.kind == "encoder-decoder":
        architecture.require(Seq2Seq.head.auto_class)
        if spec.dataset.loss_on == "All":
            raise unsupported(
                "LossOnPrompt",
                f"a model of the type {architecture.model_type!r} reads the prompt with its "
                "encoder and learns the completion alone: set lossOn to Auto",
                "dataset.lossOn",
            )
        completions = completions_of(examples.train, labels)
        return Seq2Seq(tokenizer, max_length, labels=completions, **common)
    architecture.require(Causal.head.auto_class)
    learn_prompt = _learns_whole(spec)
    shown = shown_of(examples.train, labels)
    ids = Encoder(tokenizer, max_length, learn_prompt).answers(list(shown.values()))
    scored = label_completions(dict(zip(shown, ids, strict=True)), end_token(tokenizer))
    longest_label = max(map(len, scored.values()), default=0)
    chunk = spec.dataset.long_rows == "Chunk"
    encoder = Encoder(tokenizer, max_length, learn_prompt, longest_label, chunk=chunk)
    return Causal(tokenizer, encoder, max_length, labels=scored, **common)


def _preferences(
    spec: FineTuning,
    example: Answers,
    tokenizer: Any,
    architecture: Architecture,
    max_length: int,
    now: datetime | None,
) -> Preferences:
    _require(spec, example, "preference")
    architecture.require(Preferences.head.auto_class)
    encoder: Any
    if isinstance(example.any, Chat):
        encoder = _chats(spec, tokenizer, max_length, False, now)
    else:
        _require_no_template(spec, example)
        encoder = Encoder(tokenizer, max_length, learn_prompt=False)
    return Preferences(
        tokenizer,
        encoder,
        max_length,
        spec.training.preference or Preference(),
        max_new_tokens=spec.evaluation.max_new_tokens,
        kl="kl" in spec.evaluation.metrics,
    )


def _chats(
    spec: FineTuning, tokenizer: Any, max_length: int, learn_all: bool, now: datetime | None
) -> ChatEncoder:
    chats = ChatEncoder(tokenizer, max_length, learn_all, now, chats_param(spec))
    if chats.dated and now:
        log(f"the chat template writes the date: that of {now:%Y-%m-%d}, when the run began")
    return chats


def _require_no_template(spec: FineTuning, example: Example) -> None:
    if spec.dataset.chat_template:
        raise data_error(
            "ChatTemplateUnused",
            f"{example.place}: dataset.chatTemplate writes conversations, and the rows are texts: "
            "write the prompt as a list of messages, or remove the template",
            "dataset.chatTemplate",
        )


def chats_param(spec: FineTuning) -> str:
    """The field that decides how conversations are read."""
    columns = spec.dataset.columns
    if spec.dataset.chat_template:
        return "dataset.chatTemplate"
    names = ("messages", "prompt", "instruction", "chosen")
    named = (name for name in names if columns and getattr(columns, name))
    return f"dataset.columns.{next(named, names[0])}"


def completions_of(examples: Sequence[Example], labels: Sequence[str]) -> dict[str, str]:
    """The completion of each label."""
    return {label: each.completion for label, each in shown_of(examples, labels).items()}


def shown_of(examples: Sequence[Example], labels: Sequence[str]) -> dict[str, Completion]:
    """An example of each label: they are of one template, so any tells how it is written."""
    missing, found = set(labels), dict[str, Completion]()
    for index in range(len(examples)):
        if not missing:
            break
        example = examples[index]
        if isinstance(example, Completion) and example.label in missing:
            found[example.label] = example
            missing.remove(example.label)
    return {label: found[label] for label in labels if label in found}


def batching(
    spec: FineTuning,
    objective: Objective,
    model: Any,
    *,
    on_gpu: bool,
    autocast: Any = None,
    kept: str | None = None,
) -> Batching:
    """How a batch's examples come together. Auto: joined where that is faster, the same examples
    as with padding.

    `kept`: whether the checkpoint that is gone on from packed ("on" or "off"), as Auto once did
    on a GPU: an epoch's steps stay as many. `autocast`: the type that the run computes in, where
    it isn't that of the weights. Raises TrainerError (PackingNotSupported) where it must pack but
    can't.
    """
    from luthier_trainer.objectives.isolation import isolation, require_isolation

    wanted = spec.training.packing
    possible = isinstance(objective, Causal) and spec.training.loss is None
    if wanted == "Always":
        if not possible:
            raise unsupported(
                "PackingNotSupported",
                "packing joins texts of a decoder, for a loss of ours: set packing to Auto or "
                "Never",
                "training.packing",
            )
        require_isolation(model, autocast)
        return "packed"
    if wanted == "Never" or not possible or not (on_gpu or kept == "on"):
        return "padded"
    found = isolation(model, autocast)
    if kept == "on" and found.holds:
        return "packed"
    # Its kernel has no dropout; without it, padding is as fast.
    fast = found.fused and not attention_dropout(unwrapped(model).config)
    return "joined" if found.holds and fast else "padded"


def _learns_whole(spec: FineTuning) -> bool:
    """Whether the loss counts a text from its first token to its last."""
    dataset = spec.dataset
    return learns_prompt(dataset.loss_on, spec.task, dataset.template is not None)


def _check_chunks(spec: FineTuning, example: Example, architecture: Architecture) -> None:
    whole = isinstance(example, Completion) and spec.task != "classification"
    if not whole or not _learns_whole(spec) or architecture.kind == "encoder-decoder":
        raise unsupported(
            "ChunkNotSupported",
            "longRows Chunk is for texts that a decoder learns as a whole: an answer in another "
            "row than its question would be learnt without it. Set longRows to Cut or Refuse, or "
            "raise training.maxLength",
            "dataset.longRows",
        )


def _require(spec: FineTuning, example: Example, *tasks: str) -> None:
    if spec.task not in tasks:
        raise _wrong_form(spec.task, example, tasks)


def _wrong_form(task: str, example: Example, tasks: Sequence[str]) -> TrainerError:
    return unsupported(
        "WrongForm",
        f"{type(example).__name__} examples can't be learnt by the task {task}: change dataset."
        f"columns, or set task to {' or '.join(tasks)}",
        "task",
    )
