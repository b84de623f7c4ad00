"""Which methods work on which kind of model, for which of its ends."""

from typing import get_args

from luthier_api.methods import MethodType
from luthier_trainer.errors import unsupported
from luthier_trainer.models.architecture import Architecture, Kind

_ALL: tuple[MethodType, ...] = get_args(MethodType)
_NO_TOKENS: tuple[MethodType, ...] = ("full", "lora", "qlora", "adapter", "ia3")

# Virtual tokens need a model that takes them and a head that they don't get in the way of: a
# decoder's classifier can't find a text's end behind them, a tagger would tag them as well.
SUPPORTED: dict[tuple[Kind, str], tuple[MethodType, ...]] = {
    ("decoder", "AutoModelForCausalLM"): _ALL,
    ("decoder", "AutoModelForSequenceClassification"): _NO_TOKENS,
    ("decoder", "AutoModelForTokenClassification"): _NO_TOKENS,
    ("decoder", "AutoModel"): (*_NO_TOKENS, "prefix"),
    ("encoder", "AutoModelForSequenceClassification"): (*_NO_TOKENS, "prompt"),
    ("encoder", "AutoModelForTokenClassification"): _NO_TOKENS,
    ("encoder", "AutoModel"): _NO_TOKENS,
    ("encoder-decoder", "AutoModelForSeq2SeqLM"): _ALL,
    ("encoder-decoder", "AutoModelForSequenceClassification"): _NO_TOKENS,
    ("encoder-decoder", "AutoModelForTokenClassification"): _NO_TOKENS,
}


def require_method(method: MethodType, architecture: Architecture, auto_class: str) -> None:
    """Raises TrainerError (MethodNotSupported) unless the method works there."""
    can = SUPPORTED[architecture.kind, auto_class]
    if method not in can:
        raise unsupported(
            "MethodNotSupported",
            f"the method {method} doesn't work with {auto_class} on a {architecture.kind} "
            f"({architecture.model_type}); these do: {', '.join(can)}",
            "method.type",
        )
