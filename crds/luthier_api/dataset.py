"""The examples of a fine-tuning run: where they are, how they read, how they are split."""

from typing import Annotated, Literal

from pydantic import Field

from luthier_api.meta import Column, ConfigMapKeyRef, Matches, Model, Rule
from luthier_api.uris import DATASET_SCHEMES, OBJECT_RULES, Uri, scheme_rule

# The grammar of a template: literal text with doubled braces, and {column}. A column's name begins
# with a letter or _, and holds blanks within and no sign that other templates use (quotes, !, <, =,
# >, [, |); with a backslash before it, any sign may stand anywhere. Read alike by RE2, Rust and
# Python: non-ASCII letters are what isn't ASCII.
_LITERAL = r"(?:[^{}]|\{\{|\}\})"
_ESCAPED = r"\\[^\x00-\x1f]"
_FIRST = rf"(?:[^\x00-\x40\x5b-\x5e\x60\x7b-\x7f]|{_ESCAPED})"
_NEXT = rf"(?: *(?:[^\x00-\x22\x27\x3c-\x3e\x5b-\x5e\x60\x7b-\x7f]|{_ESCAPED}))"
FIELD = rf"\{{{_FIRST}{_NEXT}*\}}"
ONE_COLUMN = rf"^{_LITERAL}*{FIELD}"
TWO_COLUMNS = rf"{ONE_COLUMN}{_LITERAL}*{FIELD}"
# One column, and no text before it: nothing that a completion could follow on.
BARE_COLUMN = rf"^\s*{FIELD}{_LITERAL}*$"

Template = Annotated[
    str,
    Field(min_length=1, max_length=65536),
    Matches(
        rf"^(?:{_LITERAL}|{FIELD})*$",
        "the template has a brace that is neither {column} nor doubled: write {{ and }} for "
        "literal braces; in a column's name a backslash before digits at its begin, braces, quotes "
        "and other signs, as in {\\0} and {a\\{b\\}}",
    ),
    Matches(
        ONE_COLUMN,
        "the template names no column: write {column}, in single braces, for each value of a row",
    ),
]

_NUMBER = r"-?(?:(?:100|[0-9]{1,2})%|[0-9]{1,9})"
# e.g. train, train[:90%], train[4096:4224], train[-300:]
SplitExpression = Annotated[
    str,
    Field(min_length=1, max_length=128),
    Matches(
        rf"^[A-Za-z0-9_]+(\[({_NUMBER})?:({_NUMBER})?\])?$",
        "write a split as NAME, or NAME[FROM:TO] with row numbers or whole percents up to 100%, "
        "e.g. train, train[:90%], train[4096:4224], train[-300:]",
    ),
    Matches(
        r"\[(:|:0+%?|100%:(100%)?)\]$",
        "the slice takes all rows or none: write the split's plain name, or other bounds",
        unwanted=True,
    ),
]


_FORMAT = "[.](jsonl|json|csv|tsv|txt|md|parquet)([.](gz|zst))?"
_SUFFIX = f"(?i){_FORMAT}$"
# One file, or those of a folder whose names are like a pattern: a split, in either case.
_ONE_SPLIT = f"(?i)({_FORMAT}|[*][^/]*)$"
# What a URI of examples and its revision must keep, wherever they stand.
_SOURCE_RULES = (
    scheme_rule("datasets", DATASET_SCHEMES),
    *OBJECT_RULES,
    Rule(
        "!self.uri.matches("
        "'(?i)[.](arrow|feather|orc|avro|xlsx?|ods|bz2|xz|zip|7z|tar|tgz)$') && "
        f"!(self.uri.matches('(?i)[.](gz|zst)$') && !self.uri.matches('{_SUFFIX}')) && "
        "!self.uri.matches('(?i)[.]parquet[.](gz|zst)$')",
        "this format isn't read: convert it to .jsonl, .json, .csv, .tsv, .txt, .md (plain, .gz or "
        ".zst) or .parquet",
        field=".uri",
    ),
    Rule(
        "!(self.uri.startsWith('https://') || self.uri.startsWith('configmap://')) || "
        f"self.uri.matches('{_SUFFIX}')",
        "https:// and configmap:// name one file: end the URI with .jsonl, .json, .csv, .tsv, "
        ".txt, .md (plain, .gz or .zst) or .parquet",
        field=".uri",
    ),
    Rule(
        "!self.uri.contains('*') || self.uri.matches('^(s3|hf|pvc|file)://[^*]+/[^/]*$')",
        "a star stands for any letters of a file's name, in the last part of s3://, hf://, pvc:// "
        "and file://: name the folder instead, or write %2A for a star in a name",
        field=".uri",
    ),
    Rule(
        "!has(self.revision) || self.uri.startsWith('hf://')",
        "revision is for datasets on a hub (hf://): remove it, or put the version into the "
        "URI's path",
        field=".revision",
    ),
)


def _disjoint(one: str, other: str) -> tuple[Rule, Rule]:
    """Two split expressions that share rows for certain. Preflight finds the rest."""
    a, b = f"self.{one}", f"self.{other}"
    both = f"has({a}) && has({b}) && {_name(a)} == {_name(b)}"
    remedy = (
        f"{one} and {other} share rows: choose disjoint slices, e.g. train[:90%] and train[90%:]"
    )
    return (
        Rule(
            f"!({both} && (!{a}.contains('[') || !{b}.contains('[') || "
            f"({a}.contains('[:') && {b}.contains('[:')) || "
            f"({a}.endsWith(':]') && {b}.endsWith(':]'))))",
            remedy,
            field=f".{other}",
        ),
        Rule(
            f"!({both} && {a}.contains('%') == {b}.contains('%') && "
            f"{a}.contains('-') == {b}.contains('-') && "
            f"({_beyond(a, b)} || {_beyond(b, a)}))",
            remedy,
            field=f".{other}",
        ),
    )


def _name(split: str) -> str:
    return f"{split}.find(r'^[A-Za-z0-9_]+')"


def _beyond(head: str, tail: str) -> str:
    """CEL: `head` is [:n], `tail` is [m:], and n > m."""
    return (
        f"({head}.contains('[:') && {tail}.endsWith(':]') && "
        f"int({head}.find(r':-?[0-9]+').find(r'-?[0-9]+')) > "
        f"int({tail}.find(r'[[]-?[0-9]+').find(r'-?[0-9]+')))"
    )


def _split_rules(field: str) -> tuple[Rule, ...]:
    """What one split expression must keep, given the rest of the dataset."""
    split = f"self.{field}"
    return (
        Rule(
            f"!has({split}) || "
            f"!{split}.matches(r'\\[([0-9]+:[0-9]+|[0-9]+%:[0-9]+%)\\]$') || "
            f"int({split}.find(r'[[][0-9]+').find(r'[0-9]+')) < "
            f"int({split}.find(r':[0-9]+').find(r'[0-9]+'))",
            f"{field} ends before it begins: write the smaller bound first",
            field=f".{field}",
        ),
        Rule(
            f"!has({split}) || !self.uri.matches('{_ONE_SPLIT}') || {_name(split)} == 'train'",
            "a single file, or a star, holds only the split train: take a slice of it, e.g. "
            "train[90%:], or name a folder with one file per split",
            field=f".{field}",
        ),
    )


def _needs_train(field: str) -> Rule:
    return Rule(
        f"has(self.train) || !has(self.{field}) || {_name('self.' + field)} != 'train'",
        f"{field} takes rows of train: set train to the others, e.g. train[:90%]",
        field=f".{field}",
    )


_FORMS = (
    ("prompt", "completion"),
    ("prompt", "chosen", "rejected"),
    ("chosen", "rejected"),
    ("prompt", "completion", "label"),
    ("messages",),
    ("instruction", "output"),
    ("instruction", "input", "output"),
    ("text", "label"),
    ("text", "labels"),
    ("tokens", "tags"),
    ("text", "spans"),
    ("first", "second"),
    ("first", "second", "label"),
)


class Columns(Model):
    """Columns of the dataset by what they mean, instead of a template: prompt and completion;
    messages; instruction and output, with or without input; chosen and rejected, with or without
    prompt; prompt, completion and label; text and label; text and labels; tokens and tags; text
    and spans; first and second, with or without label."""

    prompt: Column | None = Field(
        default=None,
        description="What the model is given: a text, or a list of messages as in `messages`.",
    )
    completion: Column | None = Field(
        default=None,
        description="What it learns to answer: a text, or, where the prompt is a list of "
        "messages, a list too.",
    )
    messages: Column | None = Field(
        default=None,
        description="A conversation: a list of {role, content}, as OpenAI's (tool_calls, weight, "
        "content parts of text; with the row's `tools`), or of {from, value}, as ShareGPT's. "
        "Written by the model's own chat template, or dataset.chatTemplate; the loss counts the "
        "assistant's turns.",
    )
    instruction: Column | None = Field(
        default=None,
        description="What the model is asked to do, as in Alpaca's rows: a chat of one question.",
    )
    input: Column | None = Field(
        default=None,
        description="What it is asked to do it with, put behind `instruction`. Rows may lack it.",
    )
    output: Column | None = Field(default=None, description="What it learns to answer then.")
    chosen: Column | None = Field(
        default=None,
        description="Of two answers to the prompt the better one: a text, or a list of messages. "
        "Without `prompt`, both begin with it: conversations with the same messages, texts with "
        "the same words.",
    )
    rejected: Column | None = Field(default=None, description="The other answer.")
    text: Column | None = Field(default=None, description="What is classified, measured or tagged.")
    label: Column | None = Field(
        default=None,
        description="The class of `text` (of the task regression: its number); or how alike "
        "`first` and `second` are, 0 to 1 (a loss of your own gets it as it is); or whether "
        "`completion` is a desirable answer, true or false.",
    )
    labels: Column | None = Field(
        default=None,
        description="The classes of `text`, any number of them: a list, or a text that "
        "dataset.labelSeparator divides.",
    )
    tokens: Column | None = Field(default=None, description="The words of a text, as a list.")
    tags: Column | None = Field(
        default=None, description="A tag for each word: O, B-PLACE, I-PLACE (BIO, or BILOU)."
    )
    spans: Column | None = Field(
        default=None,
        description="The entities of `text`: a list of {start, end, label}, in characters.",
    )
    first: Column | None = Field(default=None, description="The first text of a pair.")
    second: Column | None = Field(default=None, description="The second text of a pair.")

    rules = (
        Rule(
            " || ".join(
                "("
                + " && ".join(
                    ("" if name in form else "!") + f"has(self.{name})"
                    for name in (
                        "prompt",
                        "completion",
                        "messages",
                        "instruction",
                        "input",
                        "output",
                        "chosen",
                        "rejected",
                        "text",
                        "label",
                        "labels",
                        "tokens",
                        "tags",
                        "spans",
                        "first",
                        "second",
                    )
                )
                + ")"
                for form in _FORMS
            ),
            "columns that go together: prompt and completion; messages; instruction and output, "
            "with or without input; chosen and rejected, with or without prompt; prompt, "
            "completion and label; text and label; text and labels; tokens and tags; text and "
            "spans; first and second, with or without label",
        ),
    )


class ChatTemplate(Model):
    """A chat template in Jinja, as tokenizers of transformers hold it."""

    text: str | None = Field(
        default=None, min_length=1, max_length=65536, description="The template itself."
    )
    config_map_ref: ConfigMapKeyRef | None = Field(
        default=None, description="Where the template is, instead."
    )

    rules = (
        Rule(
            "has(self.text) != has(self.configMapRef)",
            "say what the template is: set either text or configMapRef",
            field=".text",
        ),
    )


class MixedSource(Model):
    """Further rows to learn from."""

    uri: Uri = Field(description="As dataset.uri; its split `train` is taken.")
    revision: str | None = Field(
        default=None,
        min_length=1,
        max_length=128,
        description="Revision of this source on a hub; that of dataset.revision isn't meant.",
    )
    weight: float = Field(
        default=1.0,
        gt=0,
        le=100,
        description="How often each of its rows is taken per epoch: 2 is twice, 0.5 is a half of "
        "the rows, drawn by the seed.",
    )

    rules = _SOURCE_RULES


class Dataset(Model):
    """The examples, and how one becomes text."""

    uri: Uri = Field(
        description="A file (.jsonl, .json, .csv, .tsv, .parquet; .txt, .md: one text; all but "
        ".parquet also .gz or .zst), a folder that holds one file per split (train.jsonl, "
        "test.jsonl) or texts, or the files that a star in the last part stands for (*.txt). A "
        "single file, or a star, is the split `train`. s3:// hf://OWNER/NAME[/PATH] https:// "
        "pvc://CLAIM/PATH configmap://NAME/KEY file://."
    )
    revision: str | None = Field(
        default=None,
        min_length=1,
        max_length=128,
        description="Revision of a dataset on a hub; a commit hash makes the run reproducible.",
    )
    mix: list[MixedSource] = Field(
        default=[],
        max_length=16,
        description="Further sources of training rows, with the same columns, each with a weight "
        "(that of dataset.uri is 1).",
    )
    template: Template | None = Field(
        default=None,
        description="Text of one example, with {column} for a value of the row, or {My column}; "
        "{{ and }} are literal braces, \\n is a new line. In a column's name a backslash takes any "
        "sign: {a\\{b\\}}, {\\0}. The last column is the completion: what the model learns to say.",
    )
    columns: Columns | None = Field(
        default=None, description="Instead of a template: the columns by what they mean."
    )
    chat_template: ChatTemplate | None = Field(
        default=None,
        description="How a conversation is written, instead of the model's own chat template; it "
        "is saved with the result's tokenizer.",
    )
    train: SplitExpression | None = Field(
        default=None,
        description="Rows to learn from, e.g. train[:90%]. Left out: the split `train`, less what "
        "evalFraction takes.",
    )
    eval: SplitExpression | None = Field(
        default=None, description="Rows that select between models, e.g. train[90%:]."
    )
    test: SplitExpression | None = Field(
        default=None, description="Rows that report the result; training never sees them."
    )
    eval_fraction: float | None = Field(
        default=None,
        gt=0,
        lt=1,
        description="Instead of `eval`: the share of the training rows set aside, 0 to 1.",
    )
    stratify_by: Column | None = Field(
        default=None, description="With evalFraction: keep this column's balance in both parts."
    )
    deduplicate: bool = Field(
        default=False, description="Learn from rows that occur more than once only once."
    )
    loss_on: Literal["Auto", "Completion", "All"] = Field(
        default="Auto",
        description="Tokens that the loss counts. Auto: All for a template of the task generation, "
        "else Completion (of messages: the assistant's turns).",
    )

    label_separator: str | None = Field(
        default=None,
        min_length=1,
        max_length=8,
        description="What stands between the labels where columns.labels is a text, e.g. a "
        "semicolon.",
    )
    long_rows: Literal["Cut", "Chunk", "Refuse"] = Field(
        default="Cut",
        description="What becomes of rows with more than training.maxLength tokens. Cut: they lose "
        "the rest. Chunk: each becomes consecutive rows, and every token is learnt once; for "
        "texts that are learnt as a whole, by a template of the task generation. Refuse: the run "
        "ends before it trains, and names them.",
    )

    rules = (
        *_SOURCE_RULES,
        Rule(
            "self.longRows != 'Chunk' || (has(self.template) && self.lossOn != 'Completion')",
            "Chunk is for texts that are learnt as a whole: an answer in another row than its "
            'question would be learnt without it. Set template, e.g. "{text}", with lossOn Auto '
            "or All; or set longRows to Cut or Refuse",
            field=".longRows",
        ),
        Rule(
            "has(self.template) != has(self.columns)",
            'say how a row reads: set either template, e.g. "{text}\\nCategory: {label}", or '
            "columns",
            field=".template",
        ),
        Rule(
            "!has(self.chatTemplate) || has(self.columns) && (has(self.columns.messages) || "
            "has(self.columns.instruction) || has(self.columns.prompt) || "
            "has(self.columns.chosen))",
            "chatTemplate writes conversations: set columns.messages, columns.instruction, or "
            "columns.prompt or columns.chosen with lists of messages; or remove it",
            field=".chatTemplate",
        ),
        Rule(
            "!has(self.labelSeparator) || (has(self.columns) && has(self.columns.labels))",
            "labelSeparator divides the text of columns.labels: set that, or remove it",
            field=".labelSeparator",
        ),
        Rule(
            f"!has(self.template) || self.lossOn != 'Completion' || "
            f"!self.template.matches(r'{BARE_COLUMN}')",
            "lossOn Completion needs a prompt: put text or a column before the template's last "
            "column, or set lossOn to All",
            field=".lossOn",
        ),
        Rule(
            "has(self.eval) || has(self.evalFraction) || has(self.test)",
            "there are no rows to measure on: set evalFraction (e.g. 0.1), eval or test",
        ),
        Rule(
            "!(has(self.eval) && has(self.evalFraction))",
            "eval and evalFraction exclude each other: keep one",
            field=".evalFraction",
        ),
        Rule(
            "!has(self.stratifyBy) || has(self.evalFraction)",
            "stratifyBy needs evalFraction: it says how that share is drawn",
            field=".stratifyBy",
        ),
        *_split_rules("train"),
        *_split_rules("eval"),
        *_split_rules("test"),
        _needs_train("eval"),
        _needs_train("test"),
        *_disjoint("train", "eval"),
        *_disjoint("train", "test"),
        *_disjoint("eval", "test"),
    )
