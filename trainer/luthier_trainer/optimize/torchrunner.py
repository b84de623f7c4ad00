"""The source by PyTorch, as a package that is loaded: what all others are measured against."""

from collections.abc import Callable, Sequence
from typing import Any

import torch


class TorchRunner:
    """See contract.Runner. `model`: as Source.load gives it."""

    def __init__(self, model: Any) -> None:
        self._model = model

    def as_model(self) -> Any:
        return self._model

    def answer(
        self, prompts: Sequence[Sequence[int]], new_tokens: int, on_token: Callable[[], None]
    ) -> None:
        """Generates by transformers' own generate()."""
        ids = torch.tensor([list(prompt) for prompt in prompts])
        mask = torch.ones_like(ids)
        with torch.inference_mode():
            if not self._model.can_generate():
                self._model(input_ids=ids, attention_mask=mask)
                on_token()
                return
            self._model.generate(
                input_ids=ids,
                attention_mask=mask,
                min_new_tokens=new_tokens,
                max_new_tokens=new_tokens,
                do_sample=False,
                num_beams=1,
                use_cache=True,
                pad_token_id=0,
                streamer=_Told(on_token),
            )


class _Told:
    """generate() puts the prompt first, then the tokens of all rows of each step."""

    def __init__(self, on_token: Callable[[], None]) -> None:
        self._on_token = on_token
        self._prompted = False

    def put(self, _: Any) -> None:
        if self._prompted:
            self._on_token()
        self._prompted = True

    def end(self) -> None: ...
