"""Training speed on a GPU beside transformers.Trainer: `python -m bench gpu`, where one is.

As bench.training, at one batch size: the peer with its defaults (fp32) and in bf16; Luthier, whose
default is bf16, with padding, with the same batches without it (its default on a GPU), and packed.
"""

import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from bench.cases import Case
from bench.figures import Rows, figure, ratio
from bench.training import measure_ours, run_peer
from luthier_demo import content

ROUNDS = 2
BATCH = 32
STEPS, PACKED_STEPS = 300, 100  # a packed row of 128 tokens holds some four examples


def cases() -> tuple[Case, ...]:
    smol, data = content.model(), content.dataset()
    return (
        Case("LoRA, loss on the answer", smol, data, "lora"),
        Case("full, loss on all tokens", smol, data, "full", loss_on_all=True, learning_rate=2e-5),
    )


def measure_peer(case: Case, bf16: bool) -> float:
    """Tokens/s of transformers.Trainer."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        given = case.for_peer(folder, STEPS, BATCH, bf16, seed=42, cpu=False)
        return run_peer(given, folder).tokens_per_second


def measure_luthier(case: Case, packing: str) -> float:
    """Tokens/s as a pod with a GPU."""
    steps = PACKED_STEPS if packing == "Always" else STEPS
    return measure_ours(case, BATCH, steps, gpus=1, packing=packing).tokens_per_second


def sides(case: Case) -> dict[str, Callable[[], float]]:
    """By name, the peer's defaults first."""
    return {
        f"transformers.Trainer, batch {BATCH}": lambda: measure_peer(case, False),
        f"transformers.Trainer, batch {BATCH}, bf16": lambda: measure_peer(case, True),
        f"Luthier, batch {BATCH}, packing Never": lambda: measure_luthier(case, "Never"),
        f"Luthier, batch {BATCH}": lambda: measure_luthier(case, "Auto"),
        f"Luthier, batch {BATCH}, packing Always": lambda: measure_luthier(case, "Always"),
    }


def rows() -> Rows:
    """(what, figure) for the table, the card's name first. Raises SystemExit without a GPU."""
    import torch

    if not torch.cuda.is_available():
        raise SystemExit("python -m bench gpu: there is no CUDA GPU that torch can use")
    table: Rows = [("GPU", torch.cuda.get_device_name())]
    for case in cases():
        rates: dict[str, list[float]] = {name: [] for name in sides(case)}
        for number in range(ROUNDS):
            for name, side in sides(case).items():
                rates[name].append(side())
                told = f"{case.name}: {name}: {rates[name][-1]:.0f} tokens/s"
                print(f"round {number + 1}: {told}", file=sys.stderr, flush=True)
        base, *_ = rates.values()
        table += [
            (f"{case.name}: {name}", f"{figure(values, 'tokens/s', 0)}, {ratio(values, base)}")
            for name, values in rates.items()
        ]
    return table
