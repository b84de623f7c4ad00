"""Which format a model's package gets: onnxruntime-genai's, or plain ONNX."""

from collections.abc import Mapping
from typing import Any

from luthier_trainer.packages.contract import FormatName

# Causal language models that the model builder of onnxruntime-genai 0.18 makes from
# config.json's `architectures` (onnxruntime_genai/models/builder.py, create_model). Left out are
# those of a model's own code, and PhiMoE, which it makes for CUDA in 4 bits only.
GENAI_ARCHITECTURES = frozenset(
    {
        "Ernie4_5ForCausalLM",
        "Gemma2ForCausalLM",
        "Gemma3ForCausalLM",
        "GemmaForCausalLM",
        "GptOssForCausalLM",
        "GraniteForCausalLM",
        "GraniteMoeHybridForCausalLM",
        "HunYuanDenseV1ForCausalLM",
        "Lfm2ForCausalLM",
        "Lfm2MoeForCausalLM",
        "LlamaForCausalLM",
        "MistralForCausalLM",
        "NemotronForCausalLM",
        "OlmoForCausalLM",
        "Phi3ForCausalLM",
        "PhiForCausalLM",
        "Qwen2ForCausalLM",
        "Qwen3ForCausalLM",
        "SmolLM3ForCausalLM",
    }
)


def route(config: Mapping[str, Any], auto_class: str, *, bottleneck: bool = False) -> FormatName:
    """`config`: that of config.json. `auto_class`: what the model ends in (Head). `bottleneck`:
    it has bottleneck adapters, which the builder doesn't know."""
    if auto_class != "AutoModelForCausalLM" or bottleneck:
        return "onnx"
    return "genai" if architecture(config) in GENAI_ARCHITECTURES else "onnx"


def architecture(config: Mapping[str, Any]) -> str | None:
    """The class of a causal language model: as the config says, else by its type."""
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    by_type: str | None = MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.get(str(config.get("model_type")))
    named = config.get("architectures") or []
    # Saved without a head, or with another one, it is loaded with that of its type.
    return named[0] if named and str(named[0]).endswith("ForCausalLM") else by_type
