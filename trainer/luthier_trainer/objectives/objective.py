"""What training and evaluation know of a task: everything else about it is behind this."""

from array import array
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, Self, runtime_checkable

from torch import Tensor, nn

from luthier_trainer.data.examples import Example
from luthier_trainer.models.heads import Head as Head

Batch = dict[str, Tensor]
# What an answer is: a class, any number of them, a number, a tag for each word, text, how alike two
# texts are, or text beside two answers of which one is preferred.
AnswerKind = Literal["label", "labels", "number", "tags", "text", "score", "preference"]


class Item(Protocol):
    """One example as token ids. Its length is the number of its tokens."""

    def __len__(self) -> int: ...


class CutItem(Item, Protocol):
    """One that knows how many tokens it lost to training.maxLength."""

    @property
    def cut(self) -> int: ...


class StorableItem(CutItem, Protocol):
    """One that can be kept as a row of int32, and made of it again."""

    @property
    def numbers(self) -> "array[int]":
        """int32."""
        ...

    @classmethod
    def of_numbers(cls, numbers: "array[int]") -> Self: ...


@dataclass(frozen=True)
class Prediction:
    """What a model makes of one example.

    `loss` is summed over the example's `targets`. `answer` is of the objective's
    answer_kind: str, list[str], float, str; None where it wasn't asked for. `scores`: numbers
    that the metrics of its kind are made of, whether or not it was (preferences.Scores).
    `confidence`: how sure a head is of its class.
    """

    loss: float
    targets: int
    answer: Any = None
    scores: Sequence[float] = ()
    confidence: float | None = None


class Objective(Protocol):
    """How examples of one form are learnt, and answered, by one kind of model."""

    head: Head
    answer_kind: AnswerKind

    def encode(self, examples: Sequence[Example]) -> Sequence[Item]:
        """Examples as tokens, at most training.maxLength each. Raises TrainerError."""
        ...

    def collate(self, items: Sequence[Any]) -> Batch:
        """One batch, padded, on the CPU."""
        ...

    def count_tokens(self, batch: Mapping[str, Tensor]) -> int:
        """Real tokens of a batch, without padding."""
        ...

    def count_targets(self, batch: Mapping[str, Tensor]) -> float:
        """What the loss of a batch sums over: target tokens, tags or examples; where these have
        weights, the sum of them."""
        ...

    def loss(self, model: nn.Module, batch: Mapping[str, Tensor], count: float | Tensor) -> Tensor:
        """The loss to train on: summed over the batch's targets, divided by `count`, that of
        all batches of an optimiser step. So accumulation equals one large batch."""
        ...

    def predict(self, model: nn.Module, items: Sequence[Any], *, answers: bool) -> list[Prediction]:
        """One batch of items, in order. The caller has set eval mode, inference mode and
        autocast. Without `answers` only the loss (unsmoothed) is computed."""
        ...

    def gold(self, example: Example) -> Any:
        """The right answer of an example, of answer_kind."""
        ...

    def show(self, example: Example) -> str:
        """What the model is asked, for people: samples, sheets, error messages."""
        ...


@runtime_checkable
class PreparedObjective(Protocol):
    """One whose loss depends on all batches of an optimiser step."""

    def prepare(
        self, model: nn.Module, batches: Sequence[Batch], add: Callable[[Tensor], None]
    ) -> list[Batch]:
        """The batches with what they have in common. `add` puts the sum over all processes in a
        tensor's place."""
        ...


class ShownObjective(Objective, Protocol):
    """One that can show what is learnt.

    `max_length`: tokens that an example (of two texts: each) is cut to: training.maxLength, or
    less where the model reads less. `item`: the class of its items.
    """

    max_length: int

    @property
    def item(self) -> type[StorableItem]: ...

    def encode(self, examples: Sequence[Example]) -> Sequence[CutItem]: ...

    def mask_view(self, items: Sequence[Any], n: int) -> list[list[tuple[str, bool]]]:
        """The tokens of the first n items as text, and whether the loss counts each."""
        ...
