"""NEFTune: noise on the embeddings of the text while it trains (https://arxiv.org/abs/2310.05914)."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from luthier_trainer.errors import unsupported
from luthier_trainer.objectives.forward import unwrapped


@contextmanager
def noise_on_embeddings(model: Any, alpha: float | None) -> Iterator[None]:
    """Uniform noise of `alpha` / √(tokens × width) at most, with the tokens of the batch's longest
    example; None is no noise.

    The loop of transformers would put it on an encoder-decoder's shared embeddings, which never
    run: encoder and decoder have modules of their own, with the same weights. Raises TrainerError
    (NoInputEmbeddings).
    """
    if alpha is None:
        yield
        return
    noise = _Noise(alpha)
    handles = [
        # Where examples are joined to one row, this tells of what lengths they are.
        unwrapped(model).register_forward_pre_hook(noise.begin, with_kwargs=True),
        _embeddings_of_text(model).register_forward_hook(noise.add),
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


class _Noise:
    def __init__(self, alpha: float) -> None:
        self._alpha = alpha
        self._longest: int | None = None

    def begin(self, _: nn.Module, __: Any, arguments: dict[str, Any]) -> None:
        self._longest = arguments.get("max_length_q")

    def add(self, module: nn.Module, _: Any, embeddings: Tensor) -> Tensor:
        """embeddings [rows, tokens, width]."""
        if not module.training:
            return embeddings
        _, tokens, width = embeddings.shape
        most = self._alpha / ((self._longest or tokens) * width) ** 0.5
        return embeddings + torch.empty_like(embeddings).uniform_(-most, most)


def _embeddings_of_text(model: Any) -> Any:
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    try:
        if base.config.is_encoder_decoder:
            base = base.get_encoder()
        found = base.get_input_embeddings()
    except (AttributeError, NotImplementedError):
        found = None
    if isinstance(found, nn.Module):
        return found
    raise unsupported(
        "NoInputEmbeddings",
        "NEFTune puts noise on the model's input embeddings, and this model has none that "
        "transformers knows: remove neftuneNoiseAlpha",
        "training.neftuneNoiseAlpha",
    )
