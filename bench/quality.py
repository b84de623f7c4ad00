"""Held-out accuracy beside transformers.Trainer: the same examples learnt, three seeds.

Ours at the peer's batch size and at our own, with as many fewer steps. All adapters answer the same
300 rows with the same code; what is compared is paired, row by row: the interval is a bootstrap
over rows of the difference, all seeds together.
"""

import json
import sys
import tempfile
from pathlib import Path

from bench.cases import Case, Json, cases
from bench.figures import Rows
from bench.training import PEER_BATCH, run_peer, train

SEEDS = (1, 2, 3)
EXAMPLES = 480


def rows() -> Rows:
    """(what, figure) for the table."""
    case = cases()[0]
    batches = (PEER_BATCH, case.batch)
    ours: dict[int, list[list[bool]]] = {batch: [] for batch in batches}
    theirs = []
    for seed in SEEDS:
        with tempfile.TemporaryDirectory() as name:
            for batch in batches:
                ours[batch].append(_ours(case, seed, batch, Path(name) / str(batch)))
            theirs.append(_theirs(case, seed, Path(name)))
        told = ", ".join(f"batch {batch} {_mean(ours[batch][-1]):.3f}" for batch in batches)
        print(f"seed {seed}: Luthier {told}; Trainer {_mean(theirs[-1]):.3f}", file=sys.stderr)
    found = [(f"accuracy of each seed, Trainer, batch {PEER_BATCH}", _each(theirs))]
    for batch, hits in ours.items():
        found += [
            (f"accuracy of each seed, Luthier, batch {batch}", _each(hits)),
            (f"Luthier, batch {batch}, minus Trainer, 95 % interval", _interval(hits, theirs)),
        ]
    return found


def _each(seeds: list[list[bool]]) -> str:
    return ", ".join(f"{_mean(hits):.3f}" for hits in seeds)


def training_of(case: Case, seed: int, batch: int) -> Json:
    """spec.training, for EXAMPLES at this batch size."""
    return {
        "maxSteps": EXAMPLES // batch,
        "perDeviceBatchSize": batch,
        # Fewer, larger steps: the rate grows with the root of the batch size.
        "learningRate": case.learning_rate * (batch / PEER_BATCH) ** 0.5,
        "scheduler": "linear",
        "maxLength": 128,
        "seed": seed,
    }


def _ours(case: Case, seed: int, batch: int, folder: Path) -> list[bool]:
    folder.mkdir()
    train(case.for_us(), training_of(case, seed, batch), folder)
    return _hits(case, folder / "output" / "adapter")


def _theirs(case: Case, seed: int, folder: Path) -> list[bool]:
    steps = EXAMPLES // PEER_BATCH
    document = case.for_peer(folder, steps, PEER_BATCH, False, seed)
    run_peer({**document, "save": str(folder / "adapter")}, folder)
    return _hits(case, folder / "adapter")


def accuracy(case: Case, adapter: Path) -> float:
    """Of an adapter on the held-out rows."""
    return _mean(_hits(case, adapter))


def _hits(case: Case, adapter: Path) -> list[bool]:
    """For each held-out row, whether the likeliest label is the right one: plain peft."""
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from bench.cases import labels

    tokenizer = AutoTokenizer.from_pretrained(case.model)
    base = AutoModelForCausalLM.from_pretrained(case.model, dtype=torch.float32)
    model = PeftModel.from_pretrained(base, adapter).eval()
    names = labels(case.data)
    answers = [tokenizer(f" {name}")["input_ids"] for name in names]
    width = max(len(answer) for answer in answers)
    padded = torch.tensor([a + [tokenizer.eos_token_id] * (width - len(a)) for a in answers])
    hits = []
    for line in (case.data / "test.jsonl").read_text().splitlines():
        row = json.loads(line)
        prompt = tokenizer(f"Definition: {row['gloss']}\nCategory:")["input_ids"]
        with torch.inference_mode():
            # The prompt is read once, for all answers.
            begin = model(torch.tensor([prompt]), use_cache=True, logits_to_keep=1)
            begin.past_key_values.batch_repeat_interleave(len(answers))
            rest = model(padded, past_key_values=begin.past_key_values).logits
        first = begin.logits.expand(len(answers), -1, -1)
        logp = torch.cat([first, rest[:, :-1]], dim=1).log_softmax(-1)
        scores = [
            sum(float(logp[i, k, token]) for k, token in enumerate(answer))
            for i, answer in enumerate(answers)
        ]
        hits.append(names[scores.index(max(scores))] == row["label"])
    return hits


def _mean(hits: list[bool]) -> float:
    return sum(hits) / len(hits)


def _interval(ours: list[list[bool]], theirs: list[list[bool]]) -> str:
    import numpy as np

    difference = (np.array(ours, float) - np.array(theirs, float)).mean(axis=0)
    draws = np.random.default_rng(0).integers(0, len(difference), (2000, len(difference)))
    low, high = np.percentile(difference[draws].mean(axis=1), [2.5, 97.5])
    return f"{difference.mean():+.3f} ({low:+.3f} to {high:+.3f}, n={len(difference)} rows)"
