"""NEFTune: noise on the embeddings of the text while it trains (https://arxiv.org/abs/2310.05914)."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn
from transformers.integrations.neftune import neftune_post_forward_hook

from luthier_trainer.errors import unsupported


@contextmanager
def noise_on_embeddings(model: Any, alpha: float | None) -> Iterator[None]:
    """Uniform noise of `alpha` / √(tokens × width) at most; None is no noise.

    The loop of transformers would put it on an encoder-decoder's shared embeddings, which never
    run: encoder and decoder have modules of their own, with the same weights. Raises TrainerError
    (NoInputEmbeddings).
    """
    if alpha is None:
        yield
        return
    embeddings = _embeddings_of_text(model)
    embeddings.neftune_noise_alpha = alpha  # where the hook looks
    handle = embeddings.register_forward_hook(neftune_post_forward_hook)
    try:
        yield
    finally:
        handle.remove()
        del embeddings.neftune_noise_alpha


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
