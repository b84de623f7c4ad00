"""What the tests of bundles are made of: adapters of many shapes on a tiny Llama, and orders."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from unit.trainer.support import folder_of

from luthier_api.adapterbundle import Bundling
from luthier_api.optimizejob import SourceRef
from luthier_api.runspec import AdapterOrder, BundleOrder, RunIdentity
from luthier_trainer.models.header import Tensor
from luthier_trainer.packages.genai.base import Base
from luthier_trainer.packages.genai.modules import peft_key

ALL = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
# Everything that may differ between adapters of one bundle.
SHAPES: dict[str, dict[str, Any]] = {
    "plain": {"r": 8, "lora_alpha": 16, "target_modules": ALL},
    "narrow": {"r": 4, "lora_alpha": 4, "target_modules": ["q_proj", "v_proj"]},
    "stabilized": {"r": 16, "lora_alpha": 16, "target_modules": ALL, "use_rslora": True},
    "patterns": {
        "r": 8,
        "lora_alpha": 16,
        "target_modules": ALL,
        "rank_pattern": {"q_proj": 4, "layers.1.mlp.down_proj": 12},
        "alpha_pattern": {"down_proj": 64},
    },
    "one-layer": {
        "r": 2,
        "lora_alpha": 8,
        "target_modules": ["up_proj", "o_proj"],
        "layers_to_transform": [1],
    },
}

# A base and an adapter as far as their headers tell of them: nothing of it is on disk.
DIGEST = "sha256:" + "a" * 64
LAYERS = ("model.layers.0", "model.layers.1")
LINEAR = {
    **{f"{layer}.self_attn.q_proj": (8, 16) for layer in LAYERS},
    **{f"{layer}.mlp.down_proj": (32, 8) for layer in LAYERS},
    "model.layers.0.mlp.router": (8, 4),
}
BASE = Base("hf://owner/base", DIGEST, "LlamaForCausalLM", LINEAR)
CONFIG: dict[str, Any] = {
    "peft_type": "LORA",
    "task_type": "CAUSAL_LM",
    "r": 4,
    "lora_alpha": 8,
    "bias": "none",
    "init_lora_weights": True,
    "base_model_name_or_path": "owner/base",
}


def tensors(rank: int = 4, modules: tuple[str, ...] = tuple(LINEAR)[:4]) -> dict[str, Tensor]:
    """The headers of an adapter of those modules."""
    found = {}
    for module in modules:
        inputs, outputs = LINEAR.get(module, (8, 8))
        found[peft_key(module, "A")] = Tensor("F32", (rank, inputs))
        found[peft_key(module, "B")] = Tensor("F32", (outputs, rank))
    return found


def make_base(folder: Path, tokenizer: Any, seed: int = 0) -> Path:
    """A Llama of two layers, with heads as wide as onnxruntime's kernels want them."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=256,
        initializer_range=0.3,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def make_adapter(base: Path, folder: Path, seed: int = 1, **config: Any) -> Path:
    """An adapter whose weights are drawn, saved by peft: strong enough to change answers."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    tuned = get_peft_model(model, LoraConfig(task_type="CAUSAL_LM", **config))
    for name, parameter in tuned.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.05)
    tuned.save_pretrained(folder, save_embedding_layers=False)
    return folder


MakeOrder = Callable[..., BundleOrder]


def order_maker(base: Path, place: Path) -> MakeOrder:
    """Makes orders of bundles on file://; keywords override parts of them."""

    def make(
        adapters: dict[str, Path | SourceRef],
        *,
        generation: int = 1,
        run: dict[str, Any] | None = None,
        bundling: dict[str, Any] | None = None,
        **fields: Any,
    ) -> BundleOrder:
        identity = {
            "kind": "AdapterBundle",
            "namespace": "team-a",
            "name": "answers",
            "uid": "uid-1",
            "revision": f"r{generation}-00000000",
            "attempt": 1,
        }
        document = {"base": {"uri": f"file://{base}"}, "precision": "fp32", **(bundling or {})}
        orders = [
            AdapterOrder(
                name=name,
                source=it if isinstance(it, SourceRef) else SourceRef(uri=f"file://{it}"),
            )
            for name, it in adapters.items()
        ]
        return BundleOrder(
            run=RunIdentity(**{**identity, **(run or {})}),
            bundling=Bundling.model_validate(document),
            adapters=orders,
            shape_hash=f"{generation:064d}",
            **{
                "output": f"file://{place}/bundles/r{generation}-00000000",
                "cache_dir": str(place / "cache"),
                "scratch_dir": str(place / "scratch"),
                "file_roots": ["/"],
                "grace_seconds": 30,
                **fields,
            },
        )

    return make


def index_of(order: BundleOrder) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder_of(order) / "index.json").read_text())
    return found
