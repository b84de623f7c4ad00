"""One of two processes that share a model out, and what it finds: `python -m … RANK PORT MODEL
FOLDER METHOD`."""

import json
import sys
from pathlib import Path

import torch

from luthier_api.finetuning import FineTuning
from luthier_trainer.distributed.lockstep import in_step
from luthier_trainer.distributed.place import Place
from luthier_trainer.distributed.shards import without_gradients
from luthier_trainer.distributed.world import meet
from luthier_trainer.methods.apply import tune
from luthier_trainer.models.load import BaseSource
from luthier_trainer.models.precision import Precision
from luthier_trainer.objectives.forward import unwrapped
from luthier_trainer.objectives.objective import Head


def main(rank: int, port: str, model: Path, folder: Path, method: str) -> None:
    world = meet(Place(rank, 2, f"127.0.0.1:{port}"), lambda: None)
    source = BaseSource(model, Head("AutoModelForCausalLM"), 16, 0, outline=rank > 0)
    tuning = FineTuning.model_validate(
        {
            "model": {"uri": f"file://{model}"},
            "task": "generation",
            "dataset": {"uri": "file:///rows.jsonl", "template": "{a}\n{b}"},
            "method": {"type": method},
            "training": {"maxSteps": 1},
        }
    )
    tuned = tune(tuning, source, Precision("fp32"), world=world)
    found = {
        "held": sum(_local(p).nbytes for p in tuned.model.parameters()),
        "meta": any(_local(p).is_meta for p in tuned.model.parameters()),
        "answers": _answer(tuned.model, rank),
        "texts": _write(tuned.model, rank),
    }
    tuned.collect(folder / "collected")
    if world.is_first:
        tuned.save(folder / "saved")
    world.leave()
    (folder / f"found-{rank}.json").write_text(json.dumps(found))


def _answer(model: torch.nn.Module, rank: int) -> list[float]:
    """The first process has one row to answer, the other one three."""
    ids = torch.arange(12).view(3, 4)
    with without_gradients(model), in_step(unwrapped(model)):
        return [
            float(model(input_ids=row[None]).logits.float().norm())
            for row in (ids if rank else ids[:1])
        ]


def _write(model: torch.nn.Module, rank: int) -> list[list[int]]:
    """The second process writes longer ones."""
    ids = torch.arange(12).view(3, 4)[:1]
    with without_gradients(model), in_step(unwrapped(model)):
        found = unwrapped(model).generate(
            input_ids=ids, max_new_tokens=3 + 4 * rank, do_sample=False, eos_token_id=None
        )
    written: list[list[int]] = found.tolist()
    return written


def _local(weight: torch.Tensor) -> torch.Tensor:
    return weight.to_local() if hasattr(weight, "to_local") else weight


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], Path(sys.argv[3]), Path(sys.argv[4]), sys.argv[5])
