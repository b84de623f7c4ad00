"""Answers in words: greedy, in batches, up to the token that ends an answer."""

from collections.abc import Sequence
from typing import Any

from luthier_trainer.distributed.shards import without_gradients
from luthier_trainer.objectives.collate import padded, padding_mask
from luthier_trainer.objectives.ends import end_tokens
from luthier_trainer.objectives.forward import (
    device_of,
    is_prompted,
    takes,
    unwrapped,
    virtual_positions,
)
from luthier_trainer.objectives.positions import positions_of


def generate(
    model: Any, tokenizer: Any, prompts: Sequence[list[int]], max_new_tokens: int, pad_id: int
) -> list[str]:
    """An answer to each prompt, the same as to the prompt alone.

    Prompts of different lengths are padded at the left (those of an encoder at the right);
    where the model can't be told positions they are answered in groups of equal length.
    """
    answers = [""] * len(prompts)
    seq2seq = unwrapped(model).config.is_encoder_decoder
    together = seq2seq or (takes(model, "position_ids") and not is_prompted(model))
    groups: dict[int, list[int]] = {}
    for index, prompt in enumerate(prompts):
        groups.setdefault(0 if together else len(prompt), []).append(index)
    for group in groups.values():
        found = _generate(model, tokenizer, [prompts[i] for i in group], max_new_tokens, pad_id)
        for index, answer in zip(group, found, strict=True):
            answers[index] = answer
    return answers


def _generate(
    model: Any, tokenizer: Any, prompts: Sequence[list[int]], max_new_tokens: int, pad_id: int
) -> list[str]:
    base = unwrapped(model)
    device = device_of(model)
    seq2seq = base.config.is_encoder_decoder
    if seq2seq:
        ids, mask = padded(prompts, pad_id), padding_mask(prompts)
    else:
        backwards = [prompt[::-1] for prompt in prompts]
        ids, mask = padded(backwards, pad_id).flip(1), padding_mask(backwards).flip(1)
    begin = 0 if seq2seq else ids.shape[1]
    with without_gradients(model):
        # What a model's generation_config adds to greedy search (beams, lengths, penalties)
        # was meant for other answers than those it learns now.
        output = model.generate(
            input_ids=ids.to(device),
            attention_mask=mask.to(device),
            max_new_tokens=min(max_new_tokens, _room(model, begin)),
            min_length=0,
            do_sample=False,
            num_beams=1,
            repetition_penalty=1.0,
            no_repeat_ngram_size=0,
            use_cache=True,
            pad_token_id=pad_id,
            eos_token_id=end_tokens(base, tokenizer),
        )
    texts: list[str] = tokenizer.batch_decode(output[:, begin:], skip_special_tokens=True)
    return texts


def _room(model: Any, used: int) -> int:
    """Positions left where their number is limited."""
    positions = positions_of(unwrapped(model).config)
    return max(positions - virtual_positions(model) - used, 1) if positions else 1 << 30
