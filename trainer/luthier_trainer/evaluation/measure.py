"""A model over rows: its losses and answers, and what they come to."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import astuple, dataclass
from time import monotonic
from typing import Any

import torch
from torch import nn

from luthier_trainer.data.examples import Example
from luthier_trainer.distributed.lockstep import in_step
from luthier_trainer.distributed.shards import without_gradients
from luthier_trainer.distributed.world import World
from luthier_trainer.evaluation.bootstrap import point
from luthier_trainer.evaluation.metrics import needs_answers, weighted
from luthier_trainer.models.temporary import evaluating
from luthier_trainer.objectives.forward import unwrapped
from luthier_trainer.objectives.items import begins
from luthier_trainer.objectives.objective import AnswerKind, Item, Objective, Prediction

# Told of each batch that is done: how many rows it had.
OnRows = Callable[[int], None]


@dataclass(frozen=True)
class Measurement:
    """What a model made of each example, in the examples' order.

    `gold` are the right answers. Answers are None where nobody asked for them.
    """

    kind: AnswerKind
    gold: Sequence[Any]
    predictions: Sequence[Prediction]
    seconds: float

    def values(self, names: Sequence[str]) -> dict[str, float]:
        """The named values, each as the field's own library computes it; may be NaN."""
        found = point(weighted(names, self.gold, self.predictions), len(self.predictions))
        return dict(zip(names, map(float, found), strict=True))


def measure(
    model: nn.Module,
    objective: Objective,
    items: Sequence[Item],
    examples: Sequence[Example],
    values: Sequence[str],
    *,
    batch_size: int,
    autocast: torch.dtype | None = None,
    samples: int = 0,
    on_rows: OnRows | None = None,
    world: World | None = None,
) -> Measurement:
    """Run `model` over `items`, the encoded `examples`, to measure `values` (metrics.chosen). An
    example of several items is one with the losses of all, and is asked with its first.

    Answers cost more than losses: only where a value needs them are all answered; else the
    first `samples`. `autocast`: the arithmetic's type; None: that of the weights. `world`: the
    processes that share the rows, and all learn what came out.
    """
    started = monotonic()
    firsts = begins(items)
    answered = firsts if needs_answers(values) else firsts[:samples]
    predictions = _predict(model, objective, items, answered, batch_size, autocast, on_rows, world)
    return Measurement(
        kind=objective.answer_kind,
        gold=[objective.gold(examples[index]) for index in range(len(firsts))],
        predictions=_by_example(predictions, firsts),
        seconds=monotonic() - started,
    )


def mean_loss(
    model: nn.Module,
    objective: Objective,
    items: Sequence[Item],
    *,
    batch_size: int,
    autocast: torch.dtype | None = None,
) -> float:
    """Mean loss per target: what `eval_loss` is."""
    found = _predict(model, objective, items, (), batch_size, autocast)
    return sum(each.loss for each in found) / max(sum(each.targets for each in found), 1)


def eval_metrics(
    model: nn.Module,
    objective: Objective,
    items: Sequence[Item],
    examples: Sequence[Example],
    values: Sequence[str],
    *,
    batch_size: int,
    autocast: torch.dtype | None = None,
    on_rows: OnRows | None = None,
    world: World | None = None,
) -> dict[str, float]:
    """The named values (metrics.watched, metrics.chosen) and the loss, while training."""
    names = tuple(dict.fromkeys(("loss", *values)))
    measured = measure(
        model,
        objective,
        items,
        examples,
        names,
        batch_size=batch_size,
        autocast=autocast,
        on_rows=on_rows,
        world=world,
    )
    return measured.values(names)


def _predict(
    model: nn.Module,
    objective: Objective,
    items: Sequence[Item],
    answered: Sequence[int],
    batch_size: int,
    autocast: torch.dtype | None,
    on_rows: OnRows | None = None,
    world: World | None = None,
) -> list[Prediction]:
    """One prediction per item, in order; those that are `answered` with an answer."""
    world = world or World()
    found: dict[int, Prediction] = {}
    rest = sorted(set(range(len(items))).difference(answered))
    with evaluating_with(model, autocast), in_step(unwrapped(model)):
        for indices, answers in ((answered, True), (rest, False)):
            for number, batch in enumerate(by_length(items, indices, batch_size)):
                if number % world.size != world.rank:
                    continue
                predictions = objective.predict(
                    model, [items[index] for index in batch], answers=answers
                )
                found.update(zip(batch, predictions, strict=True))
                if on_rows:
                    on_rows(len(batch))
    if world.size > 1:
        all_found = world.gather([[index, *astuple(it)] for index, it in found.items()])
        found = {index: Prediction(*it) for part in all_found for index, *it in part}
    return [found[index] for index in range(len(items))]


def _by_example(predictions: Sequence[Prediction], firsts: Sequence[int]) -> Sequence[Prediction]:
    """One prediction per example, of its items' (the first of which are at `firsts`)."""
    if len(firsts) == len(predictions):
        return predictions
    ends = [*firsts[1:], len(predictions)]
    return [
        Prediction(
            sum(each.loss for each in predictions[begin:end]),
            sum(each.targets for each in predictions[begin:end]),
            predictions[begin].answer,
        )
        for begin, end in zip(firsts, ends, strict=True)
    ]


@contextmanager
def evaluating_with(model: nn.Module, autocast: torch.dtype | None) -> Iterator[None]:
    """No dropout, no gradients; afterwards the model is as it was."""
    device = next(model.parameters()).device.type
    with (
        evaluating(model),
        without_gradients(model),
        torch.autocast(device, dtype=autocast, enabled=autocast is not None),
    ):
        yield


def by_length(
    items: Sequence[Item], indices: Sequence[int], batch_size: int
) -> Iterator[list[int]]:
    """Batches of similar length, the longest first: what memory they need shows at once."""
    order = sorted(indices, key=lambda index: len(items[index]), reverse=True)
    for start in range(0, len(order), batch_size):
        yield order[start : start + batch_size]
