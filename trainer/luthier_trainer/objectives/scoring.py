"""How likely a language model finds each label after a prompt."""

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from luthier_trainer.data.labels import are_classes
from luthier_trainer.data.row import shown
from luthier_trainer.errors import data_error
from luthier_trainer.log import log
from luthier_trainer.objectives.collate import padded, padding_mask
from luthier_trainer.objectives.forward import (
    device_of,
    is_prompted,
    takes,
    unwrapped,
    virtual_tokens,
)
from luthier_trainer.objectives.loss import Targets
from luthier_trainer.objectives.tokens import Tokens


def score_labels(
    model: nn.Module, batch: Sequence[Tokens], targets: Targets, labels: Sequence[list[int]]
) -> Tensor:
    """Log-likelihood of each label after each prompt: fp32 [examples, labels].

    `targets` is the forward of the examples with their own completions, with logits at each
    prompt's last token. These give every label's first token; labels of several tokens need
    one more short forward for each distinct beginning, on the forward's cache, in which
    the example's own completion is masked.
    """
    device = targets.logits.device
    lengths = torch.tensor([len(tokens.prompt) for tokens in batch], device=device)
    columns = torch.searchsorted(targets.positions, lengths - 1)
    first = targets.logits[torch.arange(len(batch), device=device), columns].float()
    logp = first.log_softmax(dim=-1)
    scores = torch.stack([logp[:, ids[0]] for ids in labels], dim=1)
    cached = uses_cache(model)
    for beginning in sorted({tuple(ids[:-1]) for ids in labels if len(ids) > 1}):
        if cached:
            logits = _continue(model, beginning, lengths, targets)
        else:
            logits = _again(model, batch, beginning)
        following = logits.log_softmax(dim=-1)
        for number, ids in enumerate(labels):
            if tuple(ids[:-1]) == beginning:
                for position, token in enumerate(ids[1:]):
                    scores[:, number] += following[:, position, token]
    return scores


def uses_cache(model: nn.Module) -> bool:
    """Whether a padded forward's cache can be continued: sliding windows would count padding,
    and virtual tokens would come once more."""
    if is_prompted(model):
        return False
    config = unwrapped(model).config.get_text_config()
    kinds = getattr(config, "layer_types", None) or ["full_attention"]
    return set(kinds) == {"full_attention"} and takes(model, "position_ids")


def _continue(
    model: nn.Module, beginning: tuple[int, ...], lengths: Tensor, targets: Targets
) -> Tensor:
    """Logits after each token of `beginning` put behind each prompt: fp32 [examples, tokens,
    vocabulary]."""
    device, count = lengths.device, len(lengths)
    # The forward appends to its cache: each beginning gets a copy.
    cache = copy.deepcopy(targets.output.cache)
    past = torch.arange(cache.get_seq_length(), device=device)
    mask = torch.cat(
        [past[None] < lengths[:, None], torch.ones(count, len(beginning), device=device).bool()],
        dim=1,
    )
    output = model(
        input_ids=torch.tensor([beginning] * count, device=device),
        attention_mask=mask.long(),
        position_ids=lengths[:, None] + torch.arange(len(beginning), device=device),
        cache=cache,
        use_cache=True,
    )
    logits: Tensor = output.logits.float()
    return logits


def _again(model: nn.Module, batch: Sequence[Tokens], beginning: tuple[int, ...]) -> Tensor:
    """As `_continue`, by a forward of all tokens."""
    device = device_of(model)
    rows = [[*tokens.prompt, *beginning] for tokens in batch]
    ends = torch.tensor([len(row) for row in rows], device=device)
    places = ends[:, None] - len(beginning) + torch.arange(len(beginning), device=device)
    options: dict[str, Any] = {}
    offset = virtual_tokens(model)
    if takes(model, "logits_to_keep"):
        kept = torch.unique(places)
        options["logits_to_keep"] = kept + offset
        places, offset = torch.searchsorted(kept, places), 0
    output = model(
        input_ids=padded(rows, 0).to(device),
        attention_mask=padding_mask(rows).to(device),
        use_cache=False,
        **options,
    )
    logits: Tensor = output.logits[torch.arange(len(rows), device=device)[:, None], places + offset]
    return logits.float()


def label_completions(completions: Mapping[str, list[int]], eos: int) -> dict[str, list[int]]:
    """Token ids to score for each label, given those of its completion without end token.

    The end token is scored too only where one label begins like another: else the
    shorter of the two would always win. Raises TrainerError (SameLabel).
    """
    by_ids: dict[tuple[int, ...], str] = {}
    for label, ids in completions.items():
        if tuple(ids) in by_ids:
            both = [by_ids[tuple(ids)], label]
            which = " and ".join(map(repr, both))
            if not are_classes(completions, 0):
                log(f"data: labels of the same tokens: {' and '.join(map(shown, both))}")
                which = "of two classes (the pod's log has them)"
            raise data_error(
                "SameLabel",
                f"the labels {which} are the same tokens to this model; rename one",
                "dataset.template",
            )
        by_ids[tuple(ids)] = label
    nested = any(
        a != b and b[: len(a)] == a for a in completions.values() for b in completions.values()
    )
    return {label: [*ids, eos] if nested else list(ids) for label, ids in completions.items()}
