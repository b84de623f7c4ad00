"""Settings of a method that it doesn't have."""

from contract.tasks import WORDS
from contract.wrong import wrong

METHODS = [
    wrong(
        "rank of a full run",
        {"method": {"type": "full", "lora": {"rank": 8}}},
        "spec.method.lora",
        "the types lora and qlora",
    ),
    wrong(
        "modules of IA3",
        {"method": {"type": "ia3", "lora": {"targetModules": ["q_proj"]}}},
        "spec.method.lora",
        "the types lora and qlora",
    ),
    wrong(
        "ranks of a prompt",
        {"method": {"type": "prompt", "lora": {"rankPattern": {"q_proj": 4}}}},
        "spec.method.lora",
        "remove it, or change type",
    ),
    wrong(
        "pattern of an adapter",
        {"method": {"type": "adapter", "lora": {"targetPattern": ".*q_proj"}}},
        "spec.method.lora",
        "remove it, or change type",
    ),
    wrong(
        "modules and pattern",
        {"method.lora": {"targetModules": ["q_proj"], "targetPattern": ".*v_proj"}},
        "spec.method.lora.targetPattern",
        "keep one",
    ),
    wrong(
        "LoRA with weights in bf16",
        {"method.full": {"weights": "bf16"}},
        "spec.method.full",
        "set type to full",
    ),
    wrong(
        "weights in fp16",
        {"method": {"type": "full", "full": {"weights": "fp16"}}},
        "spec.method.full.weights",
        '"bf16"',
    ),
    wrong(
        "weights in bf16 with arithmetic in fp32",
        {"method": {"type": "full", "full": {"weights": "bf16"}}, "training.precision": "fp32"},
        "spec.training.precision",
        "set precision to auto or bf16",
    ),
    wrong(
        "quantised LoRA",
        {"method.quantization": {"type": "nf4"}},
        "spec.method.quantization",
        "set type to qlora",
    ),
    wrong(
        "quantised to 8 bits",
        {"method": {"type": "qlora", "quantization": {"type": "int8"}}},
        "spec.method.quantization.type",
        '"nf4"',
    ),
    wrong(
        "adapter beside LoRA",
        {"method.adapter": {"placement": "houlsby"}},
        "spec.method.adapter",
        "set type to adapter",
    ),
    wrong(
        "virtual tokens of LoRA",
        {"method.virtualTokens": {"count": 8}},
        "spec.method.virtualTokens",
        "the types prefix and prompt",
    ),
    *(
        wrong(
            f"merged {kind}",
            {"method": {"type": kind, "merge": True}},
            "spec.method.merge",
            "set merge to false",
        )
        for kind in ("full", "adapter", "prefix", "prompt")
    ),
    wrong(
        "fp16 base on CPU",
        {"method": {"type": "qlora", "quantization": {"computeType": "fp16"}}},
        "spec.method.quantization.computeType",
        "set placement.gpus",
    ),
    *(
        wrong(
            f"packed {kind}",
            {**WORDS, "method.type": kind, "training.packing": "Always"},
            "spec.training.packing",
            "Auto or Never",
        )
        for kind in ("prompt", "prefix")
    ),
    wrong(
        "recomputed prefix",
        {"method.type": "prefix", "training.gradientCheckpointing": "Always"},
        "spec.training.gradientCheckpointing",
        "Auto or Never",
    ),
    wrong(
        "noise on a prompt",
        {"method.type": "prompt", "training.neftuneNoiseAlpha": 5},
        "spec.training.neftuneNoiseAlpha",
        "remove neftuneNoiseAlpha",
    ),
]
