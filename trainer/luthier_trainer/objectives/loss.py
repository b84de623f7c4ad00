"""The loss of a causal language model, with logits only where it counts.

With a large vocabulary the logits are much of the work, and most of them belong to
prompt tokens that the loss ignores. They are left out within the model's own forward, so
whatever it does to them (soft caps, scaling) stays: to learn, the output layer is given
single tokens; where answers are compared, `logits_to_keep` names positions of all examples.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - its usual name
from torch import Tensor, nn

from luthier_trainer.objectives.collate import TARGET_POSITIONS
from luthier_trainer.objectives.forward import takes, virtual_tokens
from luthier_trainer.objectives.outputlayer import (
    Select,
    in_parts,
    loss_in_parts,
    losses_in_parts,
    reading,
    targets_in_parts,
)
from luthier_trainer.objectives.tokens import IGNORED
from luthier_trainer.objectives.varlen import BOUNDS, PLACES, arguments


def takes_logits_to_keep(model: nn.Module) -> bool:
    """Whether the forward of the model of transformers has it."""
    return takes(model, "logits_to_keep")


@dataclass(frozen=True)
class Targets:
    """What a forward predicts, where it counts.

    logits [examples, kept, vocabulary]; ids [examples, kept], IGNORED where an example
    has no target; positions [kept], those of the inputs that the logits stand at.
    """

    logits: Tensor
    ids: Tensor
    positions: Tensor
    output: Any


def predict_targets(
    model: nn.Module,
    inputs: Mapping[str, Tensor],
    sparse: bool,
    also: Tensor | None = None,
    **options: Any,
) -> Targets:
    """Forward of a batch of `collate`. If `sparse`, positions that predict no target in
    any example are left out, unless `also` names them; the model must take logits_to_keep
    for it."""
    ids, forward = inputs["labels"][:, 1:], _forward_inputs(inputs)
    if not sparse:
        output = model(**forward, **options)
        positions = torch.arange(ids.shape[1], device=ids.device)
        logits = output.logits[:, -inputs["labels"].shape[1] :]
        return Targets(logits[:, :-1], ids, positions, output)
    wanted = (ids != IGNORED).any(dim=0)
    if also is not None:
        wanted[also[also < len(wanted)]] = True
    positions = wanted.nonzero().flatten()
    output = model(**forward, logits_to_keep=positions + virtual_tokens(model), **options)
    return Targets(output.logits, ids[:, positions], positions, output)


def summed_loss(logits: Tensor, targets: Tensor, smoothing: float = 0.0) -> Tensor:
    """Cross-entropy summed over the targets that count, in fp32.

    logits [..., classes], targets [...]. `smoothing`: the share of each target that goes to
    all classes alike (torch's label_smoothing).
    """
    return F.cross_entropy(
        logits.flatten(0, -2).float(),
        targets.flatten(),
        ignore_index=IGNORED,
        reduction="sum",
        label_smoothing=smoothing,
    )


def losses_of_examples(logits: Tensor, targets: Tensor) -> list[tuple[float, int]]:
    """(summed loss, number of targets) of each example. One at a time: fp32 logits are large."""
    return [
        (float(summed_loss(row, ids)), int((ids != IGNORED).sum()))
        for row, ids in zip(logits, targets, strict=True)
    ]


def losses_alone(model: nn.Module, inputs: Mapping[str, Tensor]) -> list[tuple[float, int]] | None:
    """(summed loss, number of targets) of each example of a batch of `collate`, without the logits
    of all: None where these are few, or not the output layer's alone."""
    ids, select = _targets_of(inputs)
    head = in_parts(model, len(ids))
    if head is None:
        return None
    with reading(model, select, skipped=True) as read:
        model(**_forward_inputs(inputs), use_cache=False)
    counts = (inputs["labels"][:, 1:] != IGNORED).sum(dim=1).tolist()
    losses = torch.split(losses_in_parts(read, head, ids), counts)
    return [(float(row.sum()), count) for row, count in zip(losses, counts, strict=True)]


def causal_loss(
    model: nn.Module,
    inputs: Mapping[str, Tensor],
    sparse: bool,
    target_count: float | Tensor,
    smoothing: float = 0.0,
) -> Tensor:
    """Mean loss per target, where `target_count` counts all batches of an optimiser step.

    `sparse`: logits at targets alone; the model must have an output layer of its own for it.
    """
    if sparse:
        ids, select = _targets_of(inputs)

        def forward() -> Any:
            return model(**_forward_inputs(inputs), use_cache=False)

        total = loss_at(model, forward, select, ids, smoothing)
    else:
        targets = predict_targets(model, inputs, False, use_cache=False)
        total = summed_loss(targets.logits, targets.ids, smoothing)
    return divided(total, target_count)


def log_probabilities(model: nn.Module, inputs: Mapping[str, Tensor]) -> Tensor:
    """Of each row's targets together, of a batch of `collate`: fp32 [rows]."""
    ids, select = _targets_of(inputs)
    sparse = takes_logits_to_keep(model)
    head = in_parts(model, len(ids)) if sparse else None
    if sparse:
        with reading(model, select, skipped=head is not None) as read:
            logits = model(**_forward_inputs(inputs), use_cache=False).logits
    else:
        logits = select(model(**_forward_inputs(inputs), use_cache=False).logits)
    if head is not None:
        each = -targets_in_parts(read, head, ids)
    else:
        each = -F.cross_entropy(logits.float(), ids, reduction="none")
    return by_row(each, inputs)


def by_row(of_targets: Tensor, inputs: Mapping[str, Tensor]) -> Tensor:
    """The sums of each row's targets, of a batch of `collate`: [targets] → [rows]."""
    labels = inputs["labels"]
    places = of_targets.new_zeros(labels.numel())
    # Not index_add, which on a GPU sums in any order.
    return places.index_copy(0, inputs[TARGET_POSITIONS], of_targets).view_as(labels).sum(dim=1)


def target_logits(model: nn.Module, inputs: Mapping[str, Tensor]) -> Tensor:
    """What a model predicts at each target of a batch of `collate`: [targets, vocabulary]."""
    _, select = _targets_of(inputs)
    if takes_logits_to_keep(model):
        with reading(model, select):
            found: Tensor = model(**_forward_inputs(inputs), use_cache=False).logits
        return found
    return select(model(**_forward_inputs(inputs), use_cache=False).logits)


def loss_at(
    model: nn.Module,
    forward: Callable[[], Any],
    select: Select,
    targets: Tensor,
    smoothing: float = 0.0,
) -> Tensor:
    """Summed loss of a model with an output layer, which reads what `select` makes of the outputs
    before it: [targets, width]. Many targets have their logits a part at a time."""
    head = None if smoothing else in_parts(model, len(targets))
    with reading(model, select, skipped=head is not None) as read:
        outputs = forward()
    if head is not None:
        return loss_in_parts(read, head, targets)
    return summed_loss(outputs.logits, targets, smoothing)


def _targets_of(inputs: Mapping[str, Tensor]) -> tuple[Tensor, Select]:
    """Ids of a batch's targets, and what chooses the outputs that predict them: [targets, width] of
    [examples, length, width]. What peft puts before a text has none."""
    labels, positions = inputs["labels"], inputs[TARGET_POSITIONS]

    def select(outputs: Tensor) -> Tensor:
        return outputs[:, -labels.shape[1] :].flatten(0, 1).index_select(0, positions)

    return labels.flatten().index_select(0, positions + 1), select


_NOT_THE_MODELS = ("labels", TARGET_POSITIONS, BOUNDS, PLACES)


def _forward_inputs(inputs: Mapping[str, Tensor]) -> dict[str, Any]:
    given = {name: value for name, value in inputs.items() if name not in _NOT_THE_MODELS}
    return given | arguments(inputs[BOUNDS], inputs[PLACES]) if PLACES in inputs else given


def divided(total: Tensor, count: float | Tensor) -> Tensor:
    return total / count
