"""What a model can be used for, told from its config.json before any weight is read."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from luthier_trainer.errors import unsupported
from luthier_trainer.models.configfile import read_json

Kind = Literal["decoder", "encoder", "encoder-decoder"]

# Class of transformers → its table of architectures, and what it is for, in words.
_CLASSES = {
    "AutoModelForCausalLM": ("MODEL_FOR_CAUSAL_LM_MAPPING_NAMES", "continue a text"),
    "AutoModelForSeq2SeqLM": (
        "MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES",
        "turn one text into another (source and target)",
    ),
    "AutoModelForSequenceClassification": (
        "MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES",
        "classify texts (text and label)",
    ),
    "AutoModelForTokenClassification": (
        "MODEL_FOR_TOKEN_CLASSIFICATION_MAPPING_NAMES",
        "tag words (tokens and tags)",
    ),
    "AutoModel": ("MODEL_MAPPING_NAMES", "compare texts (pairs)"),
}
_REMEDIES = {
    "AutoModelForCausalLM": "for dataset.template, prompt and completion, or messages take a "
    "decoder",
    "AutoModelForSeq2SeqLM": "for source and target take an encoder-decoder",
}


@dataclass(frozen=True)
class Architecture:
    """A kind of model, and the auto classes of transformers that can load it for training.
    `labels`: of the head that it says it ends in, in order; empty where it names none."""

    model_type: str
    kind: Kind
    auto_classes: frozenset[str]
    labels: tuple[str, ...] = ()

    def ordered(self, labels: Sequence[str]) -> tuple[str, ...]:
        """The labels of a task, in the order of its own head where that has the same."""
        same = len(labels) == len(self.labels) and set(labels) == set(self.labels)
        return self.labels if same else tuple(labels)

    def require(self, auto_class: str) -> None:
        """Raises TrainerError (WrongArchitecture) unless the model can end in `auto_class`."""
        if auto_class in self.auto_classes:
            return
        can = "; ".join(words for name, (_, words) in _CLASSES.items() if name in self.auto_classes)
        remedy = _REMEDIES.get(auto_class, "take another base model")
        raise unsupported(
            "WrongArchitecture",
            f"the model is of the type {self.model_type!r} ({self.kind}), which can't "
            f"{_CLASSES[auto_class][1]}; it can: {can or 'nothing that is supported'}. Change the "
            f"form of the dataset (dataset.columns), or {remedy}",
            "model.uri",
        )


def describe(folder: Path) -> Architecture:
    """The architecture of a model's folder. Raises TrainerError (ModelUnusable)."""
    config = _read(folder)
    model_type = config.get("model_type")
    supporting = _supporting(model_type)
    if not supporting:
        raise unsupported(
            "ModelUnusable",
            f"config.json has the model_type {model_type!r}, which this version of transformers "
            "doesn't know (a model's own code isn't run): take a model of a known type",
            "model.uri",
        )
    kind = _kind(config, str(model_type))
    if kind != "decoder":
        # Some have a class for it, but their weights were trained to see the whole text.
        supporting -= {"AutoModelForCausalLM"}
    if kind == "encoder-decoder":
        supporting -= {"AutoModel"}  # one vector for a text is the work of an encoder
    return Architecture(str(model_type), kind, frozenset(supporting), _labels(config))


def _labels(config: dict[str, Any]) -> tuple[str, ...]:
    named = config.get("id2label")
    if not isinstance(named, dict):
        return ()
    found = (named.get(str(index)) for index in range(len(named)))
    labels = tuple(each for each in found if isinstance(each, str))
    return labels if len(labels) == len(named) else ()


def _read(folder: Path) -> dict[str, Any]:
    try:
        return read_json(folder / "config.json")
    except (OSError, ValueError) as error:
        what = type(error).__name__ if isinstance(error, OSError) else str(error)
        raise unsupported(
            "ModelUnusable",
            f"config.json can't be read: {what}; the folder of a model has one",
            "model.uri",
        ) from error


def _supporting(model_type: Any) -> set[str]:
    from transformers.models.auto import modeling_auto

    return {
        name
        for name, (table, _) in _CLASSES.items()
        if isinstance(model_type, str) and model_type in getattr(modeling_auto, table)
    }


def _kind(config: dict[str, Any], model_type: str) -> Kind:
    from transformers import AutoConfig
    from transformers.models.auto.modeling_auto import MODEL_FOR_MASKED_LM_MAPPING_NAMES

    if AutoConfig.for_model(model_type).is_encoder_decoder and config.get(
        "is_encoder_decoder", True
    ):
        return "encoder-decoder"
    if model_type in MODEL_FOR_MASKED_LM_MAPPING_NAMES and not config.get("is_decoder"):
        return "encoder"
    return "decoder"
