"""What the tests of the objectives share: models, examples, plain references."""

from functools import cache
from typing import Any

import torch
from torch import Tensor
from unit.trainer.tiny import tiny_folder

from luthier_trainer.data.examples import (
    Chat,
    Completion,
    Labelled,
    MultiLabelled,
    Pair,
    Tagged,
    Turn,
    Valued,
)
from luthier_trainer.models.load import load_base
from luthier_trainer.models.precision import Precision
from luthier_trainer.objectives.objective import Batch

COMPLETIONS = [
    Completion("Text: a tomato\nColour:", " red", "red", "x:1"),
    Completion("Text: w1 w2 w3 w4 meadow 7\nColour:", " green", "green", "x:2"),
    Completion("Text: ocean\nColour:", " deep blue", "deep blue", "x:3"),
    Completion("w5 w6 w7 w8 w9 w10 w11 tomato w12\nColour:", " red", "red", "x:4"),
]
LABELS = ["deep blue", "green", "red"]
LABELLED = [Labelled(each.prompt, each.label, each.place) for each in COMPLETIONS]
SETS: list[tuple[str, ...]] = [("red",), ("deep blue", "green"), (), ("deep blue", "green", "red")]
SEVERAL = [MultiLabelled(it.text, s, it.place) for it, s in zip(LABELLED, SETS, strict=True)]
VALUED = [
    Valued(it.text, value, it.place)
    for it, value in zip(LABELLED, [10.0, -30.0, 12.5, 20.0], strict=True)
]
TAGGED = [
    Tagged(("Ada", "Lovelace", "wrote"), ("B-PER", "I-PER", "O"), "x:1"),
    Tagged(
        ("in", "London", "the", "first", "program", "(", "1843", ")"),
        ("O", "B-LOC", *"OOOOOO"),
        "x:2",
    ),
    Tagged(("instrument",), ("O",), "x:3"),
]
PAIRS = [
    Pair("A man is playing a guitar.", "Someone plays an instrument.", 0.9, "x:1"),
    Pair("the sky is blue", "food", 0.1, "x:2"),
    Pair("quick service", "the service was quick and good", 0.8, "x:3"),
    Pair("w1 w2 w3", "London in 1843", 0.0, "x:4"),
]


def chat(*turns: str, first: str = "user") -> Chat:
    roles = [first, "assistant"] if first == "user" else [first, "user", "assistant"]
    names = roles + ["user", "assistant"] * len(turns)
    return Chat(tuple(Turn(r, t) for r, t in zip(names, turns, strict=False)), "x:1")


CHATS = [
    chat("what is the colour of the sky?", "blue"),
    chat("be good", "Question: food?", "the food was good.", "and w1?", "w2 w3", first="system"),
    chat("a", "b", "c", "d", "e", "f"),
]


@cache
def tokenizer_of(name: str) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(tiny_folder(name))


def model_of(name: str, objective: Any, seed: int = 0) -> Any:
    """In fp32 with gradients for all weights; no dropout, so that forwards can be compared."""
    pad = getattr(objective, "pad_id", None)
    precision = Precision("fp32")
    model = load_base(
        tiny_folder(name),
        objective.head,
        precision,
        64,
        seed,
        dropout=None,
        frozen=False,
        pad_id=pad,
    )
    return model.eval()


def gradients(model: Any) -> dict[str, Tensor]:
    """Those of the last backward, which are taken away."""
    found = {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    return found


def backward(loss: Tensor) -> float:
    torch.autograd.backward(loss)
    return float(loss.detach())


def assert_same(model: Any, found: tuple[float, Any], expected: tuple[float, Any]) -> None:
    """Loss and all gradients."""
    torch.testing.assert_close(found[0], expected[0], rtol=1e-4, atol=1e-5)
    size = max(float(g.abs().max()) for g in expected[1].values())
    assert size > 0
    zeros = {n: torch.zeros_like(p) for n, p in model.named_parameters()}
    for name in zeros:
        ours = found[1].get(name, zeros[name])
        theirs = expected[1].get(name, zeros[name])
        torch.testing.assert_close(ours, theirs, rtol=2e-3, atol=2e-5 * max(size, 1), msg=name)


def learnt(objective: Any, model: Any, items: Any, batches: list[list[int]]) -> tuple[float, Any]:
    """Loss and gradients of one optimiser step over batches of items, by index."""
    made: list[Batch] = [objective.collate([items[i] for i in batch]) for batch in batches]
    count = sum(map(objective.count_targets, made))
    loss = sum(backward(objective.loss(model, batch, count)) for batch in made)
    return loss, gradients(model)
