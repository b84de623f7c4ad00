"""Rows in the forms that can be learnt: what preflight hands to the rest."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from luthier_api.finetunejob import DatasetFacts
from luthier_trainer.data.hashes import NO_ROWS, RowHashes


@dataclass(frozen=True)
class Completion:
    """A prompt and how it goes on. `label` is the value of the template's last column."""

    prompt: str
    completion: str
    label: str
    place: str


@dataclass(frozen=True)
class Turn:
    """One message of a conversation. `more`: what templates read beside role and content:
    tool_calls, tool_call_id, name of a tool, reasoning_content. `learnt`: of the assistant's,
    whether the loss counts it."""

    role: str
    content: str | None
    more: Mapping[str, Any] = field(default_factory=dict)
    learnt: bool = True

    @property
    def message(self) -> dict[str, Any]:
        """As chat templates and scripts of the user's read it."""
        return {"role": self.role, "content": self.content, **self.more}


@dataclass(frozen=True)
class Chat:
    """A conversation; its last turn is the assistant's, and is learnt. `tools`: functions that
    the assistant may call, as JSON schemas."""

    turns: tuple[Turn, ...]
    place: str
    tools: tuple[Mapping[str, Any], ...] = ()

    @property
    def answers(self) -> list[int]:
        """Where the turns are that are learnt."""
        turns = enumerate(self.turns)
        return [index for index, turn in turns if turn.role == "assistant" and turn.learnt]


@dataclass(frozen=True)
class Labelled:
    """A text and its class."""

    text: str
    label: str
    place: str


@dataclass(frozen=True)
class MultiLabelled:
    """A text and its classes, sorted, each once; maybe none."""

    text: str
    labels: tuple[str, ...]
    place: str


@dataclass(frozen=True)
class Valued:
    """A text and a number of it."""

    text: str
    label: float
    place: str


@dataclass(frozen=True)
class Tagged:
    """Words and a tag for each, in BIO: O, B-X, I-X (BILOU and spans are converted)."""

    tokens: tuple[str, ...]
    tags: tuple[str, ...]
    place: str


@dataclass(frozen=True)
class Pair:
    """Two texts and how alike they are: 0 to 1, or None where the data doesn't say."""

    first: str
    second: str
    label: float | None
    place: str

    @property
    def alike(self) -> bool:
        """As far as the data says."""
        return self.label is None or self.label >= 1


Answer = Completion | Chat


@dataclass(frozen=True)
class Answers:
    """Answers to one prompt, of which `chosen` is better than `rejected`. One of them is None where
    answers are desirable or not one by one."""

    chosen: Answer | None
    rejected: Answer | None
    place: str

    @property
    def given(self) -> tuple[Answer, ...]:
        """Those that there are, at least one."""
        return tuple(each for each in (self.chosen, self.rejected) if each is not None)

    @property
    def any(self) -> Answer:
        """The chosen one, where there is one."""
        return self.given[0]


Example = Completion | Chat | Labelled | MultiLabelled | Valued | Tagged | Pair | Answers


@dataclass(frozen=True)
class Findings:
    """What preflight saw, for its page. Places are those of the first rows only."""

    columns: list[str] = field(default_factory=list)
    # Split → label (or kind of entity) → rows that have it.
    balance: dict[str, dict[str, int]] = field(default_factory=dict)
    duplicates: list[str] = field(default_factory=list)
    leaked: list[str] = field(default_factory=list)
    # What nothing learns from (a key of messages, a turn behind the last answer) → rows with it.
    unread: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Examples:
    """The dataset, checked. All its examples are of one form.

    `labels`: the classes (task classification) or the kinds of entities (tagging), sorted;
    else empty. `completions`: label → what the model learns to say for it, where classes are
    learnt in words by a template; else empty. The sequences may read their rows from disk:
    index them, don't copy them.
    """

    train: Sequence[Example]
    eval: Sequence[Example]
    test: Sequence[Example]
    labels: list[str]
    digest: str
    facts: DatasetFacts
    warnings: list[str] = field(default_factory=list)
    completions: dict[str, str] = field(default_factory=dict)
    findings: Findings = field(default_factory=Findings)
    # Of the numbers of train, where numbers are learnt: their mean and deviation.
    scale: tuple[float, float] | None = None
    # At most evaluation.maxSamples rows, drawn by the seed: of eval, measured while training;
    # of report_split, measured when it has ended.
    watched: Sequence[Example] = ()
    reported: Sequence[Example] = ()
    # What tells later whether the data is the same, and how many of its rows are.
    hashes: RowHashes = NO_ROWS
    validators: dict[str, str] | None = None

    @property
    def summary(self) -> str:
        """The numbers in a line."""
        facts = self.facts
        counts = {"train": facts.train, "eval": facts.eval, "test": facts.test}
        parts = [f"{count:,} {split}" for split, count in counts.items() if count]
        text = ", ".join(parts) + " rows"
        return f"{text}, {facts.labels} labels" if facts.labels else text

    @property
    def rows_of_labels(self) -> Mapping[str, int]:
        """Label → how many rows of train have it."""
        return self.findings.balance.get("train", {})

    @property
    def report_split(self) -> str | None:
        """The rows that the result is measured on, or on a sample of them."""
        return "test" if self.test else "eval" if self.eval else None
