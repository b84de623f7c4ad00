"""How the base model is changed: the methods of fine-tuning and their settings."""

from typing import Annotated, Any, Literal

from pydantic import Field

from luthier_api.meta import Matches, Model, Rule

TargetModule = Annotated[
    str,
    Field(min_length=1, max_length=256),
    Matches(
        r"^[A-Za-z0-9_.-]+$",
        "name one module per item, plainly (no commas, blanks or patterns), e.g. [q_proj, v_proj]",
    ),
]
ModulePattern = Annotated[str, Field(min_length=1, max_length=512)]


class Lora(Model):
    """Low-rank adaptation (https://arxiv.org/abs/2106.09685)."""

    rank: int = Field(default=16, ge=1, le=1024, description="Rank of the update.")
    alpha: float = Field(
        default=32, gt=0, le=65536, description="Scale: the update is multiplied by alpha / rank."
    )
    dropout: float = Field(default=0.0, ge=0, lt=1, description="Dropout before the update.")
    target_modules: list[TargetModule] = Field(
        default=["auto"],
        min_length=1,
        max_length=64,
        description="Modules that get an update: auto (every linear layer of attention and MLP), "
        "all-linear, or names of modules.",
    )
    target_pattern: ModulePattern | None = Field(
        default=None,
        description="Instead of targetModules: a regular expression (Python's) that must match a "
        "module's whole dotted name, e.g. .*\\.[0-3]\\.self_attn\\.[qv]_proj; one that also "
        "matches embeddings, norms or output layers is refused.",
    )
    modules_to_save: list[TargetModule] = Field(
        default=[],
        max_length=16,
        description="Modules trained in full and saved with the adapter.",
    )
    rank_stabilized: bool = Field(
        default=False,
        description="Scale by alpha / √rank (rsLoRA, https://arxiv.org/abs/2312.03732).",
    )
    dora: bool = Field(
        default=False,
        description="Learn each weight's magnitude apart from its direction (DoRA, "
        "https://arxiv.org/abs/2402.09353).",
    )
    bias: Literal["none", "all", "lora_only"] = Field(
        default="none",
        description="Biases trained beside it: none, all, or those of the updated modules.",
    )
    rank_pattern: dict[str, Annotated[int, Field(ge=1, le=1024)]] = Field(
        default={},
        max_length=64,
        description="Other ranks for some modules, by name or regular expression, as in peft.",
    )
    alpha_pattern: dict[str, Annotated[float, Field(gt=0, le=65536)]] = Field(
        default={},
        max_length=64,
        description="Other alphas for some modules, by name or regular expression, as in peft.",
    )

    rules = (
        Rule(
            "self.targetModules.size() == 1 || "
            "!self.targetModules.exists(m, m == 'auto' || m == 'all-linear')",
            "auto and all-linear stand alone: drop them or the other names",
            field=".targetModules",
        ),
        Rule(
            "!has(self.targetPattern) || self.targetModules == ['auto']",
            "targetPattern stands instead of targetModules: keep one",
            field=".targetPattern",
        ),
        Rule(
            "self.targetModules.all(m, self.targetModules.exists_one(n, n == m))",
            "a module is named twice: name each once",
            field=".targetModules",
        ),
        Rule(
            "self.modulesToSave.all(m, self.modulesToSave.exists_one(n, n == m))",
            "a module is named twice: name each once",
            field=".modulesToSave",
        ),
        Rule(
            "!self.modulesToSave.exists(m, m == 'auto' || m == 'all-linear')",
            "auto and all-linear choose targetModules: name the modules to save",
            field=".modulesToSave",
        ),
        Rule(
            "!self.modulesToSave.exists(m, self.targetModules.exists(n, n == m))",
            "a module is either trained in full (modulesToSave) or updated (targetModules): name "
            "it in one of them",
            field=".modulesToSave",
        ),
    )


class Quantization(Model):
    """The 4-bit base of qlora (https://arxiv.org/abs/2305.14314), by bitsandbytes."""

    type: Literal["nf4", "fp4"] = Field(default="nf4", description="The 4-bit data type.")
    double: bool = Field(default=True, description="Quantise the quantisation's constants too.")
    compute_type: Literal["auto", "fp32", "bf16", "fp16"] = Field(
        default="auto", description="Type that weights are expanded to; auto: training.precision."
    )


class Full(Model):
    """Training of all weights."""

    weights: Literal["fp32", "bf16"] = Field(
        default="fp32",
        description="Type that weights and gradients have while they are trained. bf16 takes half "
        "of their memory; each step is rounded by chance (https://arxiv.org/abs/2010.06192), and "
        "the model is published in bf16.",
    )


class Bottleneck(Model):
    """Bottleneck adapters: small layers put between those of the frozen model."""

    placement: Literal["pfeiffer", "houlsby"] = Field(
        default="pfeiffer",
        description="pfeiffer: after each MLP (https://arxiv.org/abs/2005.00247). houlsby: after "
        "each attention and each MLP (https://arxiv.org/abs/1902.00751).",
    )
    reduction_factor: int = Field(
        default=16, ge=1, le=1024, description="Hidden size of the model / that of the adapter."
    )
    activation: Literal["relu", "gelu", "silu", "tanh"] = Field(
        default="relu", description="Nonlinearity of the adapter."
    )


class VirtualTokens(Model):
    """Learnt vectors put before the text (prompt) or before every layer's keys (prefix)."""

    count: int = Field(default=20, ge=1, le=1024, description="How many.")


MethodType = Literal["full", "lora", "qlora", "adapter", "ia3", "prefix", "prompt"]


def _untouched(name: str, model: type[Model]) -> str:
    """CEL: all fields of the defaulted block `name` have their default. An absent block is
    filled in by the API server before rules are checked, so absence can't be asked for."""
    terms = []
    for field in model.model_fields.values():
        place = f"self.{name}.{field.alias}"
        terms.append(f"!has({place})" if field.default is None else f"{place} == {_cel(field)}")
    return " && ".join(terms)


def _cel(field: Any) -> str:
    default = field.default
    if isinstance(default, dict):
        return "{}"
    if isinstance(default, bool):
        return str(default).lower()
    return repr(float(default) if field.annotation is float else default)


class Method(Model):
    """How the base model is changed."""

    type: MethodType = Field(
        default="lora",
        description="full: all weights. lora: low-rank update. qlora: LoRA on a 4-bit base. "
        "adapter: bottleneck adapters. ia3: scales of activations. prefix, prompt: virtual tokens.",
    )
    lora: Lora = Field(default=Lora(), description="Settings of lora and qlora.")
    full: Full | None = Field(default=None, description="Settings of full.")
    quantization: Quantization | None = Field(default=None, description="Settings of qlora.")
    adapter: Bottleneck | None = Field(default=None, description="Settings of adapter.")
    virtual_tokens: VirtualTokens | None = Field(
        default=None, description="Settings of prefix and prompt."
    )
    merge: bool = Field(
        default=False,
        description="Write the merged model beside the adapter: model/ in the artifact.",
    )

    rules = (
        Rule(
            f"self.type == 'lora' || self.type == 'qlora' || ({_untouched('lora', Lora)})",
            "method.lora is for the types lora and qlora: remove it, or change type",
            field=".lora",
        ),
        Rule(
            "!has(self.full) || self.type == 'full'",
            "method.full is for the type full: remove it, or set type to full",
            field=".full",
        ),
        Rule(
            "!has(self.quantization) || self.type == 'qlora'",
            "method.quantization is for the type qlora: remove it, or set type to qlora",
            field=".quantization",
        ),
        Rule(
            "!has(self.adapter) || self.type == 'adapter'",
            "method.adapter is for the type adapter: remove it, or set type to adapter",
            field=".adapter",
        ),
        Rule(
            "!has(self.virtualTokens) || self.type == 'prefix' || self.type == 'prompt'",
            "method.virtualTokens is for the types prefix and prompt: remove it, or change type",
            field=".virtualTokens",
        ),
        Rule(
            "!self.merge || self.type == 'lora' || self.type == 'qlora' || self.type == 'ia3'",
            "only lora, qlora and ia3 can be merged into the base model: set merge to false (full "
            "writes a whole model anyway)",
            field=".merge",
        ),
    )
