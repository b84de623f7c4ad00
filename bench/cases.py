"""The trainings that are compared: one task for both sides."""

import json
import subprocess
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from luthier_demo import content

Json = dict[str, Any]

_WORDS = ("Definition: {gloss}\nCategory:", " {label}")
_JSON = ("{text}\nAs JSON with origin, occupations, born and died:", " {json}")


@dataclass(frozen=True)
class Case:
    """One task. `batch` is our own choice; the peer's is 8, transformers' default."""

    name: str
    model: Path
    data: Path
    method: str
    form: str = "completion"  # as bench.peer names it
    loss_on_all: bool = False
    batch: int = 32
    learning_rate: float = 1e-3
    task: str = "classification"
    template: tuple[str, str] = _WORDS  # prompt, answer

    def for_peer(
        self, folder: Path, steps: int, batch: int, bf16: bool, seed: int, *, cpu: bool = True
    ) -> Json:
        """What `python -m bench.peer` reads."""
        return {
            "model": str(self.model),
            "data": str(self.data),
            "form": self.form,
            "method": self.method,
            "prompt": self.template[0],
            "answer": self.template[1],
            "lossOnAll": self.loss_on_all,
            "labels": labels(self.data) if self.form == "labelled" else [],
            "steps": steps,
            "batch": batch,
            "bf16": bf16,
            "cpu": cpu,
            "seed": seed,
            "learningRate": self.learning_rate,
            "folder": str(folder / "peer"),
        }

    def for_us(self) -> Json:
        """The parts of a FineTuneJob that say what is learnt, and how."""
        dataset: Json = {"uri": f"file://{self.data}", "test": "test"}
        if self.form == "labelled":
            dataset["columns"] = {"text": "gloss", "label": "label"}
        else:
            dataset["template"] = "".join(self.template)
        if self.loss_on_all:
            dataset["lossOn"] = "All"
        method: Json = {"type": self.method}
        if self.method in ("lora", "qlora"):
            method["lora"] = {"rank": 8, "alpha": 16, "targetModules": ["all-linear"]}
        return {
            "model": {"uri": f"file://{self.model}"},
            "task": self.task,
            "dataset": dataset,
            "method": method,
        }


def labels(data: Path) -> list[str]:
    """All classes of the training rows."""
    lines = (data / "train.jsonl").read_text().splitlines()
    return sorted({json.loads(line)["label"] for line in lines})


@cache
def cases() -> tuple[Case, ...]:
    """SmolLM2-135M by each method, MiniLM as encoder, and T5's architecture with random weights."""
    smol, data = content.model(), content.dataset()
    return (
        Case("LoRA, loss on the answer", smol, data, "lora"),
        Case(
            "LoRA, loss on all tokens of JSON",
            smol,
            _example_data("json"),
            "lora",
            loss_on_all=True,
            task="extraction",
            template=_JSON,
        ),
        Case("full", smol, data, "full", learning_rate=2e-5),
        Case("QLoRA", smol, data, "qlora"),
        Case("bottleneck adapter", smol, data, "adapter"),
        Case("encoder, full (MiniLM)", _minilm(), data, "full", "labelled", learning_rate=1e-4),
        Case("seq2seq, LoRA (T5, random weights)", _t5(smol), data, "lora", "seq2seq"),
    )


def _minilm() -> Path:
    return _made("minilm", "config.json", _script("encoder", "prepare_model.py"))


def _example_data(name: str) -> Path:
    return _made(name, "train.jsonl", _script(name, "prepare_data.py"))


def _script(example: str, name: str) -> list[str]:
    return [sys.executable, str(content.REPOSITORY / "examples" / example / name), "--output"]


def _t5(tokenizer: Path) -> Path:
    program = (
        "import sys; from transformers import AutoTokenizer, T5Config, "
        "T5ForConditionalGeneration as T; t = AutoTokenizer.from_pretrained(sys.argv[1]); "
        "t.pad_token = t.eos_token; t.save_pretrained(sys.argv[2]); "
        "T(T5Config(vocab_size=len(t), eos_token_id=t.eos_token_id, pad_token_id=t.pad_token_id,"
        "decoder_start_token_id=t.pad_token_id)).save_pretrained(sys.argv[2])"
    )
    return _made("t5", "config.json", [sys.executable, "-c", program, str(tokenizer)])


def _made(name: str, marker: str, command: list[str]) -> Path:
    folder = content.REPOSITORY / "out" / "bench" / name
    if not (folder / marker).exists():
        folder.mkdir(parents=True, exist_ok=True)
        subprocess.run([*command, str(folder)], check=True, timeout=300)
    return folder
