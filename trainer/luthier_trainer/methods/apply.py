"""A method of fine-tuning applied to a base model."""

from pathlib import Path
from typing import Any

import torch

from luthier_api.finetuning import FineTuning
from luthier_api.methods import Bottleneck, Lora, Method, Quantization, VirtualTokens
from luthier_trainer.distributed.shards import shards_of
from luthier_trainer.distributed.world import World
from luthier_trainer.errors import unsupported
from luthier_trainer.log import log
from luthier_trainer.machine import device
from luthier_trainer.methods.support import require_method
from luthier_trainer.methods.tuned import Tuned
from luthier_trainer.models.architecture import describe
from luthier_trainer.models.heads import Head
from luthier_trainer.models.load import BaseSource, skeleton
from luthier_trainer.models.precision import Precision
from luthier_trainer.objectives.forward import unwrapped

_TASK_TYPES = {
    "AutoModelForCausalLM": "CAUSAL_LM",
    "AutoModelForSeq2SeqLM": "SEQ_2_SEQ_LM",
    "AutoModelForSequenceClassification": "SEQ_CLS",
    "AutoModelForTokenClassification": "TOKEN_CLS",
    "AutoModel": "FEATURE_EXTRACTION",
}


# The settings of LoRA that name modules, as they are where they name none.
_NAMING = {
    name: Lora.model_fields[name].default
    for name in (
        "target_modules",
        "target_pattern",
        "modules_to_save",
        "rank_pattern",
        "alpha_pattern",
    )
}


def tune(
    spec: FineTuning,
    source: BaseSource,
    precision: Precision,
    start: Path | None = None,
    world: World | None = None,
) -> Tuned:
    """Load the base model and make it ready for training, on the device that there is. `start`: the
    folder of weights to begin with, in place of new ones. `world`: the processes that it is shared
    out among.

    Raises TrainerError: what the model can't do, before its weights are loaded where config.json
    tells.
    """
    method = spec.method
    architecture = describe(source.folder)
    architecture.require(source.head.auto_class)
    require_method(method.type, architecture, source.head.auto_class)
    checkpointing = spec.training.gradient_checkpointing == "Always"
    if checkpointing and method.type == "prefix":
        raise unsupported(
            "MethodNotSupported",
            "prefix puts its vectors into the cache of keys and values, which gradient "
            "checkpointing does without: set gradientCheckpointing to Never",
            "training.gradientCheckpointing",
        )
    quantization = None
    if method.type == "qlora":
        quantization = method.quantization or Quantization()
    if method.type == "full":
        base = source.load_as(trained_type(method))
    else:
        base = source.load(precision, quantization)
    tuned = apply(spec, base, source)
    del base
    if world:
        from luthier_trainer.distributed.fsdp import share_out

        share_out(tuned.model, unwrapped(tuned.model), world, precision.autocast, tuned.beside)
    if start is not None:
        _take(tuned, start)
    if method.type in ("lora", "qlora"):
        from luthier_trainer.methods.fusedlora import fuse_lora

        log(f"model: {fuse_lora(tuned.model, precision.dtype)} fused layers")
    return _placed(tuned, precision, quantization is not None)


def trained_type(method: Method) -> torch.dtype:
    """Of the weights of a model that is trained in full."""
    return torch.bfloat16 if method.full and method.full.weights == "bf16" else torch.float32


def _take(tuned: Tuned, start: Path) -> None:
    """Its settings aren't taken over: what the spec says is what the result is made with."""
    try:
        tuned.take(start)
    except (ValueError, KeyError, RuntimeError) as error:
        raise unsupported(
            "AdapterUnusable",
            f"the training can't go on from it with these settings: {str(error)[:400]}; set those "
            "that it was trained with",
            "model.adapter",
        ) from error


def check_modules(spec: FineTuning, folder: Path, head: Head) -> None:
    """Whether the model has what the method names, told by a model without weights. Raises
    TrainerError, as lora_config does."""
    from luthier_trainer.methods.lora import lora_config

    lora = spec.method.lora
    default = {**vars(lora), **_NAMING} == vars(lora)
    if spec.method.type in ("lora", "qlora") and not default:
        model = skeleton(folder, head)
        if model is not None:
            lora_config(model, lora, None)


def apply(spec: FineTuning, base: Any, source: BaseSource) -> Tuned:
    """The method of `spec` on a base model that `source` loaded."""
    from luthier_trainer.methods.adapted import Adapted, adapt
    from luthier_trainer.methods.bottleneck import BottleneckTuned
    from luthier_trainer.methods.experts import left_out
    from luthier_trainer.methods.full import FullTuned
    from luthier_trainer.methods.ia3 import ia3_config
    from luthier_trainer.methods.lora import lora_config
    from luthier_trainer.methods.virtualtokens import (
        generate_with_tokens,
        prefix_config,
        prompt_config,
    )

    method, seed, uri = spec.method, spec.training.seed, spec.model.uri
    task_type = _TASK_TYPES[source.head.auto_class]
    tokens = method.virtual_tokens or VirtualTokens()
    match method.type:
        case "full":
            return FullTuned(base, source, trained_type(method))
        case "adapter":
            _tell_experts(base)
            return BottleneckTuned(base, method.adapter or Bottleneck(), seed, uri)
        case "lora":
            config = lora_config(base, method.lora, task_type)
        case "qlora":
            config = lora_config(base, method.lora, task_type)
            # peft's own preparation would put norms, embeddings and output layer into fp32, and
            # with them all that lies between the layers.
            base.requires_grad_(False)
        case "ia3":
            config = ia3_config(base, task_type)
            _tell_experts(base)
        case "prefix":
            config = prefix_config(base, tokens, task_type)
        case "prompt":
            config = prompt_config(tokens, task_type)
    lacking = left_out(base, config, method.lora) if method.type in ("lora", "qlora") else None
    if lacking:
        log(f"warning: method: {lacking}")
    model, originals = adapt(base, config, seed)
    if method.type in ("prefix", "prompt"):
        generate_with_tokens(model)
    resolved = {}
    if getattr(config, "target_modules", None):
        targets = config.target_modules
        resolved["targetModules"] = targets if isinstance(targets, str) else _joined(targets)
    if getattr(config, "target_parameters", None):
        resolved["targetParameters"] = _joined(config.target_parameters)
    if lacking:
        resolved["withoutUpdate"] = lacking
    return Adapted(
        model,
        source,
        resolved,
        base_uri=uri,
        originals=originals,
        mergeable=method.type in ("lora", "qlora", "ia3"),
    )


def _tell_experts(base: Any) -> None:
    from luthier_trainer.methods.experts import expert_weights

    names = expert_weights(base)
    if names:
        log(
            f"warning: method: the experts ({len(names)} weights such as {names[0]}) are left "
            "as they are, only what is beside them is adapted: method lora updates them"
        )


def _placed(tuned: Tuned, precision: Precision, quantized: bool) -> Tuned:
    model = tuned.model
    if not quantized and not shards_of(model):
        model.to(device.name())
    trainable = sum(p.numel() for p in model.parameters() if p.requires_grad)
    total = sum(p.numel() for p in model.parameters())
    resolved = ", ".join(f"{name} {value}" for name, value in tuned.resolved.items())
    log(
        f"model: {type(model).__name__}, {total:,} parameters ({trainable:,} trainable"
        f"{f'; {resolved}' if resolved else ''}), {precision.name}, attention "
        f"{model.config._attn_implementation}"
    )
    return tuned


def _joined(names: Any) -> str:
    return ", ".join(sorted(names))
