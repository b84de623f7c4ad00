"""What the tests of optimising are made of: a tiny model that the trainer fine-tuned, orders."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from unit.trainer.support import folder_of, spec_maker
from unit.trainer.tiny import LAYERS, POSITIONS, tiny_tokenizer_of

from luthier_api.runspec import OptimizeOrder
from luthier_trainer.finetune.run import Run

MakeOrder = Callable[..., OptimizeOrder]
# Few tokens: what is timed is of no interest here.
QUICK = {"promptTokens": [16], "newTokens": 4, "repeats": 1}


def tiny_decoder(name: str, folder: Path) -> Path:
    """llama, mistral, qwen2 or phi3 as in tiny.py, with heads of the 16 numbers that ONNX
    Runtime's attention asks for. Returns `folder`."""
    import torch
    import transformers as t

    classes = {
        "llama": (t.LlamaConfig, t.LlamaForCausalLM),
        "mistral": (t.MistralConfig, t.MistralForCausalLM),
        "qwen2": (t.Qwen2Config, t.Qwen2ForCausalLM),
        "phi3": (t.Phi3Config, t.Phi3ForCausalLM),
    }
    own: dict[str, dict[str, Any]] = {
        "mistral": {"sliding_window": None},
        # Else the builder takes it for one of the long contexts.
        "phi3": {"original_max_position_embeddings": POSITIONS},
    }
    configuration, model = classes[name]
    tokenizer = tiny_tokenizer_of(name)
    config = configuration(
        vocab_size=len(tokenizer),
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=LAYERS,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=POSITIONS,
        initializer_range=0.2,
        tie_word_embeddings=name == "qwen2",
        **own.get(name, {}),
    )
    torch.manual_seed(0)
    model(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def fine_tuned(model: Path, colours: Path, place: Path, **overrides: Any) -> Path:
    """The output folder of a finished fine-tuning of a model."""
    spec = spec_maker(model, colours, place)(**overrides)
    Run(spec).execute()
    return folder_of(spec)


def order_maker(artifact: Path, place: Path) -> MakeOrder:
    """Makes orders on that artifact; keywords are those of Optimizing, or of the order."""

    def make(
        *,
        output: str | None = None,
        run: dict[str, Any] | None = None,
        order: dict[str, Any] | None = None,
        **optimizing: Any,
    ) -> OptimizeOrder:
        manifest = (artifact / "manifest.json").read_bytes()
        identity = {"kind": "OptimizeJob", "namespace": "team-a", "name": "fast", "uid": "uid-opt"}
        document = {
            "run": {**identity, "revision": "r1-00000000", "attempt": 1, **(run or {})},
            "shapeHash": hashlib.sha256(json.dumps(optimizing).encode()).hexdigest(),
            "output": output or f"file://{place}/fast/r1",
            "cacheDir": f"{place}/cache",
            "scratchDir": f"{place}/scratch",
            "fileRoots": ["/"],
            "graceSeconds": 30,
            "optimizing": {"benchmark": QUICK, **optimizing},
            "source": {
                "uri": f"file://{artifact}",
                "revision": "r1-00000000",
                "manifestSha256": hashlib.sha256(manifest).hexdigest(),
            },
            **(order or {}),
        }
        return OptimizeOrder.model_validate(document)

    return make
