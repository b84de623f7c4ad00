"""One cell of the table of methods: a tiny model, its head, a batch, a method in training."""

from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from unit.trainer.tiny import DECODERS, ENCODERS, tiny_folder

from luthier_api.finetuning import FineTuning
from luthier_api.methods import Quantization
from luthier_trainer.methods.apply import tune
from luthier_trainer.methods.support import SUPPORTED
from luthier_trainer.methods.tuned import Tuned
from luthier_trainer.models.architecture import describe
from luthier_trainer.models.heads import Head
from luthier_trainer.models.load import BaseSource, load_tokenizer
from luthier_trainer.models.precision import Precision

CAUSAL, SEQ2SEQ = "AutoModelForCausalLM", "AutoModelForSeq2SeqLM"
CLASSES, TAGS = "AutoModelForSequenceClassification", "AutoModelForTokenClassification"
VECTORS = "AutoModel"
LABELS = ("negative", "neutral", "positive")
FP32, BF16 = Precision("fp32"), Precision("bf16")
SEED = 7

# What is trained, by parts of names.
TRAINED = {
    "full": "",
    "lora": "lora_",
    "qlora": "lora_",
    "adapter": ".bottleneck.",
    "ia3": "ia3_",
    "prefix": "prompt_encoder",
    "prompt": "prompt_encoder",
}


def main_class(architecture: str) -> str:
    """The head that an architecture is made for."""
    if architecture in DECODERS:
        return CAUSAL
    return CLASSES if architecture in ENCODERS else SEQ2SEQ


def source(architecture: str, auto_class: str | None = None, **fields: Any) -> BaseSource:
    auto_class = auto_class or main_class(architecture)
    head = Head(auto_class, LABELS if auto_class in (CLASSES, TAGS) else ())
    fields = {"dropout": 0.0, "pad_id": _pad(architecture), **fields}
    return BaseSource(tiny_folder(architecture), head, 32, SEED, **fields)


def spec(method: str = "lora", training: dict[str, Any] | None = None, **fields: Any) -> FineTuning:
    return FineTuning.model_validate(
        {
            "model": {"uri": "s3://models/base"},
            "task": "generation",
            "dataset": {"uri": "s3://data/rows.jsonl", "template": "{text}"},
            "method": {"type": method, **fields},
            "training": {"maxSteps": 3, "seed": SEED, **(training or {})},
        }
    )


def tuned(base: BaseSource, method: str, precision: Precision = FP32, **fields: Any) -> Tuned:
    """The method on the model, in eval mode."""
    result = tune(spec(method, **fields), base, precision)
    result.model.eval()
    return result


def plain(base: BaseSource, method: str = "lora", precision: Precision = FP32) -> Any:
    """The base model as the method begins with it."""
    quantization = Quantization() if method == "qlora" else None
    model = base.load(precision, quantization, frozen=method != "full")
    return model.eval()


def batch(architecture: str, auto_class: str) -> dict[str, Tensor]:
    """Two texts, the second one padded, with labels."""
    tokenizer = load_tokenizer(tiny_folder(architecture))
    texts = ("Text: the service was quick and good", "Ada Lovelace wrote")
    rows = [tokenizer(text)["input_ids"] for text in texts]
    width, pad = max(map(len, rows)), _pad(architecture)
    ids = torch.tensor([row + [pad] * (width - len(row)) for row in rows])
    mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in rows])
    result = {"input_ids": ids, "attention_mask": mask}
    if auto_class == CLASSES:
        result["labels"] = torch.tensor([0, 2])
    elif auto_class == TAGS:
        result["labels"] = torch.arange(ids.numel()).view_as(ids) % 3
    elif auto_class != VECTORS:
        result["labels"] = ids.masked_fill(mask == 0, -100)
    return result


def loss_of(model: Any, inputs: dict[str, Tensor]) -> Tensor:
    output = model(**inputs)
    # Vectors have no loss of their own: any function of them does.
    loss: Tensor = (
        (output.last_hidden_state - 1).pow(4).mean() if "loss" not in output else output.loss
    )
    return loss


def answers(model: Any, inputs: dict[str, Tensor], autocast: torch.dtype | None = None) -> Tensor:
    enabled = autocast is not None
    with torch.no_grad(), torch.autocast("cpu", dtype=autocast, enabled=enabled):
        output = model(**inputs)
    found: Tensor = output.logits if "logits" in output else output.last_hidden_state
    return found


def train(
    model: Any,
    inputs: dict[str, Tensor],
    steps: int = 3,
    rate: float = 1e-2,
    autocast: torch.dtype | None = None,
) -> list[float]:
    """The losses before each of the steps and after the last, without dropout."""
    weights = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(weights, lr=rate, weight_decay=0)
    losses = []
    for _ in range(steps + 1):
        with torch.autocast("cpu", dtype=autocast, enabled=autocast is not None):
            loss = loss_of(model, inputs)
        losses.append(loss.item())
        if len(losses) <= steps:
            torch.autograd.backward(loss)
            optimizer.step()
            optimizer.zero_grad()
    return losses


def supported(architecture: str, auto_class: str, method: str) -> bool:
    """What the table of methods says."""
    kind = describe(source(architecture).folder).kind
    return method in SUPPORTED[kind, auto_class]


def weights_of(model: Any) -> dict[str, Tensor]:
    return {name: p.detach().clone() for name, p in model.named_parameters()}


def reload(base: BaseSource, method: str, folder: Path, precision: Precision = FP32) -> Any:
    """What was saved, as plain transformers and peft load it."""
    if method == "full":
        return (
            BaseSource(folder, base.head, base.longest, base.seed).load(FP32, frozen=False).eval()
        )
    model = plain(base, method, precision)
    if method == "adapter":
        from luthier_trainer.methods.bottleneck import load

        return load(model, folder).eval()
    from peft import PeftModel

    return PeftModel.from_pretrained(model, folder).eval()


@cache
def _pad(architecture: str) -> int:
    tokenizer = load_tokenizer(tiny_folder(architecture))
    pad = tokenizer.pad_token_id
    result: int = tokenizer.eos_token_id if pad is None else pad
    return result
