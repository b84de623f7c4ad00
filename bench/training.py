"""Training speed beside transformers.Trainer with its defaults, and what checkpoints cost.

`python -m bench.training [--output json]`. Same model (SmolLM2-135M), same data (WordNet
glosses), same LoRA on the same modules. Each measurement is a process of its own; the
sides take turns, so that a busy moment of the machine hits both. Tokens are counted
without padding, from the end of the first step to the end of the last.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from luthier_api.finetuning import FineTuning
from luthier_api.revision import shape_hash
from luthier_api.runspec import RunIdentity, RunSpec
from luthier_demo import content

ROUNDS = 3
STEPS = {"peer": 10, "ours": 20}
PEER_BATCH = 8
LIMIT_SECONDS = 900
# A pod takes checkpoints this often unless told otherwise.
DEFAULT_INTERVAL = 100


@dataclass(frozen=True)
class Measured:
    """One process."""

    tokens_per_second: float
    first_step_seconds: float  # from the start of the process
    blocked_share: float = 0.0  # of training time, with a checkpoint every 100 steps


def measure_ours(model: Path, dataset: Path, batch_size: int) -> Measured:
    """Train as a pod would, by the example's manifest but for the batch size."""
    with tempfile.TemporaryDirectory() as folder:
        spec = _run_spec(model, dataset, batch_size, Path(folder))
        path = Path(folder, "runspec.json")
        path.write_text(json.dumps(spec.to_json()))
        started = time.monotonic()
        process = subprocess.Popen(
            [sys.executable, "-m", "luthier_trainer", str(path)],
            env={**os.environ, "LUTHIER_TERMINATION_LOG": str(Path(folder, "result"))},
            stderr=subprocess.PIPE,
            text=True,
        )
        first, lines = 0.0, []
        assert process.stderr
        for line in process.stderr:
            lines.append(line)
            if f" step 1/{STEPS['ours']} " in line:
                first = time.monotonic() - started
        if process.wait(LIMIT_SECONDS) != 0:
            raise SystemExit("".join(lines[-20:]))
        output = Path(folder, "output")
        entries = (output / "report" / "metrics.jsonl").read_text().splitlines()
        head, tail = json.loads(entries[0]), json.loads(entries[-1])
        cost = json.loads((output / "manifest.json").read_text())["checkpointCost"]
        step_seconds = (tail["seconds"] - head["seconds"]) / (tail["step"] - head["step"])
        blocked = cost["blockedSeconds"] / cost["count"]
        return Measured(
            tail["tokens_per_second"], first, blocked / (DEFAULT_INTERVAL * step_seconds)
        )


def measure_peer(model: Path, dataset: Path) -> Measured:
    """transformers.Trainer with its defaults, in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-m", "bench.training", "--peer", str(model), str(dataset)],
        check=True,
        stdout=subprocess.PIPE,
        timeout=LIMIT_SECONDS,
        env={**os.environ, "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"},
    )
    return Measured(**json.loads(done.stdout.splitlines()[-1]))


def train_peer(model_folder: Path, dataset: Path, started: float) -> Measured:
    """What a user writes who follows the documentation of transformers and peft."""
    from peft import LoraConfig, get_peft_model
    from transformers import (
        AutoModelForCausalLM,
        AutoTokenizer,
        DataCollatorForSeq2Seq,
        PrinterCallback,
        Trainer,
        TrainerCallback,
        TrainingArguments,
    )

    example = _example()
    tokenizer: Any = AutoTokenizer.from_pretrained(model_folder)

    def encode(row: dict[str, str]) -> dict[str, list[int]]:
        prompt = tokenizer(f"Definition: {row['gloss']}\nCategory:")["input_ids"]
        answer = [*tokenizer(f" {row['label']}")["input_ids"], tokenizer.eos_token_id]
        labels = [-100] * len(prompt) + answer
        ids = prompt + answer
        return {"input_ids": ids, "attention_mask": [1] * len(ids), "labels": labels}

    rows = [encode(json.loads(line)) for line in (dataset / "train.jsonl").open()]
    base = AutoModelForCausalLM.from_pretrained(model_folder, dtype="float32")
    lora = example["method"]["lora"]
    model = get_peft_model(
        base,
        LoraConfig(
            r=lora["rank"],
            lora_alpha=lora["alpha"],
            target_modules="all-linear",
            task_type="CAUSAL_LM",
        ),
    )
    pad: Any = DataCollatorForSeq2Seq(tokenizer)
    times: list[tuple[float, int]] = []
    tokens = 0

    def collate(batch: list[dict[str, list[int]]]) -> Any:
        nonlocal tokens
        tokens += sum(len(row["input_ids"]) for row in batch)
        return pad(batch)

    class Clock(TrainerCallback):  # type: ignore[misc]
        def on_step_end(self, *_: Any, **__: Any) -> None:
            times.append((time.monotonic(), tokens))

    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            output_dir=folder,
            max_steps=STEPS["peer"],
            per_device_train_batch_size=PEER_BATCH,
            learning_rate=example["training"]["learningRate"],
            save_strategy="no",
            report_to=[],
            disable_tqdm=True,
        )
        trainer: Any = Trainer(
            model, arguments, train_dataset=rows, data_collator=collate, callbacks=[Clock()]
        )
        trainer.remove_callback(PrinterCallback)
        trainer.train()
    (first, before), (last, after) = times[0], times[-1]
    return Measured((after - before) / (last - first), first - started)


def measure() -> dict[str, list[Measured]]:
    """All sides in turn, ROUNDS times."""
    model, dataset = content.model(), content.dataset()
    batch = int(_example()["training"]["perDeviceBatchSize"])
    sides: dict[str, Callable[[], Measured]] = {
        f"transformers.Trainer defaults, batch {PEER_BATCH}": lambda: measure_peer(model, dataset),
        f"Luthier, batch {PEER_BATCH}": lambda: measure_ours(model, dataset, PEER_BATCH),
        f"Luthier, batch {batch} (the example's)": lambda: measure_ours(model, dataset, batch),
    }
    found: dict[str, list[Measured]] = {name: [] for name in sides}
    for number in range(ROUNDS):
        for name, side in sides.items():
            found[name].append(side())
            rate = found[name][-1].tokens_per_second
            print(f"round {number + 1}: {name}: {rate:.0f} tokens/s", file=sys.stderr, flush=True)
    return found


def rows() -> list[tuple[str, str]]:
    """(what, figure) for the table."""
    found = measure()
    names = list(found)
    rates = {n: [m.tokens_per_second for m in found[n]] for n in names}
    peer = statistics.median(rates[names[0]])
    table = [(f"training: {name}", _figure(rates[name], "tokens/s")) for name in names]
    table += [
        (f"{name}: against the defaults", f"{statistics.median(rates[name]) / peer:.2f} ×")
        for name in names[1:]
    ]
    table += [
        (
            f"process start → first step: {name}",
            _figure([m.first_step_seconds for m in found[name]], "s"),
        )
        for name in names
    ]
    shares = [100 * m.blocked_share for name in names[1:] for m in found[name]]
    table.append(("checkpoints every 100 steps, training held up", _figure(shares, "%", 3)))
    return table


def _figure(values: list[float], unit: str, digits: int = 1) -> str:
    ordered = sorted(values)
    low, high = f"{ordered[0]:.{digits}f}", f"{ordered[-1]:.{digits}f}"
    return f"{statistics.median(ordered):.{digits}f} {unit} ({low} to {high}, n={len(ordered)})"


def _example() -> dict[str, Any]:
    manifest: dict[str, Any] = yaml.safe_load((content.EXAMPLE / "finetunejob.yaml").read_text())
    spec: dict[str, Any] = manifest["spec"]
    return spec


def _run_spec(model: Path, dataset: Path, batch_size: int, folder: Path) -> RunSpec:
    example = _example()
    tuning = FineTuning.model_validate(
        {
            "model": {"uri": f"file://{model}"},
            "task": example["task"],
            "dataset": {
                "uri": f"file://{dataset}",
                "template": example["dataset"]["template"],
            },
            "method": example["method"],
            "training": {
                **example["training"],
                "maxSteps": STEPS["ours"],
                "perDeviceBatchSize": batch_size,
                # The first step is logged, and the last.
                "logEverySteps": STEPS["ours"],
                "saveEverySteps": STEPS["ours"] // 2,
            },
            "evaluation": {"metrics": ["loss"]},
        }
    )
    output = f"file://{folder}/output"
    return RunSpec(
        run=RunIdentity(
            namespace="bench", name="training", uid="bench", revision="r1-bench", attempt=1
        ),
        fine_tuning=tuning,
        shape_hash=shape_hash(tuning, output),
        output=output,
        cache_dir=f"{folder}/cache",
        scratch_dir=f"{folder}/scratch",
        file_roots=["/"],
    )


def main() -> None:
    started = time.monotonic()
    parser = argparse.ArgumentParser(prog="bench.training", description=__doc__)
    parser.add_argument("--output", choices=("table", "json"), default="table")
    parser.add_argument("--peer", nargs=2, type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.peer:
        print(json.dumps(vars(train_peer(options.peer[0], options.peer[1], started))))
        return
    table = rows()
    if options.output == "json":
        json.dump(dict(table), sys.stdout, indent=2, ensure_ascii=False)
        return
    for name, figure in table:
        print(f"{name:60} {figure}")


if __name__ == "__main__":
    main()
