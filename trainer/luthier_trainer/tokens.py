"""From words to token ids.

Prompt and completion are tokenised apart, so that the prompt's tokens when the model
is used are those it was trained on.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from luthier_api.result import ExitCode
from luthier_trainer.data import Example
from luthier_trainer.errors import TrainerError

IGNORED = -100


@dataclass(frozen=True)
class Tokens:
    """Token ids of one example; the completion ends with the end-of-text token.

    `learn_prompt`: whether the loss counts the prompt's tokens too.
    """

    prompt: list[int]
    completion: list[int]
    learn_prompt: bool

    @property
    def ids(self) -> list[int]:
        return self.prompt + self.completion

    @property
    def targets(self) -> list[int]:
        """As `ids`, IGNORED where the loss doesn't count."""
        learnt = self.prompt if self.learn_prompt else [IGNORED] * len(self.prompt)
        return learnt + self.completion

    def __len__(self) -> int:
        return len(self.prompt) + len(self.completion)


class Encoder:
    """Encodes examples with a tokenizer of transformers."""

    def __init__(self, tokenizer: Any, max_length: int, learn_prompt: bool) -> None:
        if tokenizer.eos_token_id is None:
            raise TrainerError(
                ExitCode.UNSUPPORTED,
                "NoEndToken",
                "the model's tokenizer names no eos_token: the model could not learn where an "
                "answer ends; set it in tokenizer_config.json",
                "model.uri",
            )
        self._tokenizer = tokenizer
        self._eos: int = tokenizer.eos_token_id
        # What the tokenizer puts before every text, if it does: its begin-of-text token.
        start = tokenizer("")["input_ids"]
        self._start: list[int] = [i for i in start[:1] if i == tokenizer.bos_token_id]
        self._max_length = max_length
        self._learn_prompt = learn_prompt
        self.truncated = 0

    def ids(self, texts: Sequence[str]) -> list[list[int]]:
        """Plain ids, without begin or end tokens."""
        if not texts:
            return []
        encoded: list[list[int]] = self._tokenizer(list(texts), add_special_tokens=False)[
            "input_ids"
        ]
        return encoded

    def encode(self, examples: Sequence[Example]) -> list[Tokens]:
        """Examples as tokens, at most max_length each.

        A prompt that is too long loses its start, so that what stands right before the
        answer stays; with loss on the whole text, the text loses its end.
        """
        prompts = self.ids([example.text.prompt for example in examples])
        completions = self.ids([example.text.completion for example in examples])
        return [self._fit(p, [*c, self._eos]) for p, c in zip(prompts, completions, strict=True)]

    def _fit(self, prompt: list[int], completion: list[int]) -> Tokens:
        if prompt[:1] != self._start:
            prompt = self._start + prompt
        excess = len(prompt) + len(completion) - self._max_length
        if excess > 0:
            self.truncated += 1
            if self._learn_prompt:
                completion = completion[: max(0, self._max_length - len(prompt))]
                prompt = prompt[: self._max_length]
            else:
                kept = max(0, len(prompt) - len(self._start) - excess)
                prompt = self._start + prompt[len(prompt) - kept :]
                completion = completion[: self._max_length - len(prompt)]
        if not prompt and not self._learn_prompt:
            # Without any prompt the first token of the answer has nothing to follow from.
            prompt = [self._eos]
        return Tokens(prompt, completion, self._learn_prompt)


def learns_prompt(loss_on: str, task: str) -> bool:
    """Whether the loss counts the prompt: Auto means the completion for classification."""
    return task != "classification" if loss_on == "Auto" else loss_on == "All"
