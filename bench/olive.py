"""Training speed beside `olive finetune`: the same model, data, LoRA and target modules.

Both sides are counted in examples per second of training, as Olive's log tells it.
"""

import re
import sys
import tempfile
from pathlib import Path

from bench import olive_program
from bench.cases import cases
from bench.figures import Rows, figure, ratio
from bench.training import train

ROUNDS = 3
STEPS = 5
BATCH = 8
_MODULES = "q_proj,k_proj,v_proj,o_proj,gate_proj,up_proj,down_proj"


def rows() -> Rows:
    """(what, figure) for the table."""
    olive, ours = [], []
    for _ in range(ROUNDS):
        olive.append(_olive())
        ours.append(_ours())
        print(f"olive {olive[-1]:.2f}, ours {ours[-1]:.2f} examples/s", file=sys.stderr)
    return [
        (f"olive finetune {olive_program.VERSION}, batch {BATCH}", figure(olive, "examples/s", 2)),
        (f"Luthier, batch {BATCH}", f"{figure(ours, 'examples/s', 2)}, {ratio(ours, olive)}"),
    ]


def _olive() -> float:
    case = cases()[0]
    with tempfile.TemporaryDirectory() as folder:
        command = [
            "finetune", "--method", "lora",
            "-m", str(case.model), "-o", f"{folder}/out",
            "-d", "json", "--data_files", str(case.data / "train.jsonl"),
            "--train_split", "train[:1000]",
            "--text_template", r"Definition: {gloss}\nCategory: {label}",
            "--max_seq_len", "128", "--lora_r", "8", "--lora_alpha", "16",
            "--target_modules", _MODULES, "--torch_dtype", "float32",
            "--max_steps", str(STEPS), "--per_device_train_batch_size", str(BATCH),
        ]  # fmt: skip
        said = olive_program.run(command, Path(folder))
        told = re.search(r"'train_samples_per_second': '?([0-9.]+)", said)
        if not told:
            raise SystemExit(said[-3000:])
        return float(told[1])


def _ours() -> float:
    case = cases()[0]
    what = case.for_us()
    # Olive learns all tokens, and cuts nothing off the loss.
    what["dataset"]["lossOn"] = "All"
    steps = STEPS * 4
    with tempfile.TemporaryDirectory() as folder:
        lines = train(
            what,
            {
                "maxSteps": steps,
                "perDeviceBatchSize": BATCH,
                "learningRate": 2e-4,
                "maxLength": 128,
            },
            Path(folder),
        )
        told = re.search(r"trained to step \d+ in ([0-9.]+) s", "".join(line for _, line in lines))
        assert told
        return steps * BATCH / float(told[1])
