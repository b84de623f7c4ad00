"""Whether training here is the Trainer's own: it learns our batches, from our initial weights.

Both sides log the mean loss of the same steps, and both adapters answer the same held-out rows by
the same code: what differs is the arithmetic.
"""

import json
import os
import tempfile
from pathlib import Path

from bench.cases import cases
from bench.figures import Rows
from bench.quality import EXAMPLES, accuracy, training_of
from bench.training import PEER_BATCH, journal, run_peer, train

SEED = 2
EVERY = 10  # steps between losses
WEIGHTS, BATCHES = "weights.safetensors", "batches.json"
_FOLDER = "LUTHIER_BENCH_BEGIN"


def rows() -> Rows:
    """(what, figure) for the table."""
    case, steps = cases()[0], EXAMPLES // PEER_BATCH
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        begin = folder / "begin"
        begin.mkdir()
        os.environ[_FOLDER] = str(begin)
        training = {**training_of(case, SEED, PEER_BATCH), "logEverySteps": EVERY}
        train(case.for_us(), training, folder, module="bench.parity")
        logged = [entry for entry in journal(folder) if "loss" in entry]
        ours = [entry["loss"] for entry in logged if entry["step"] % EVERY == 0]

        peer = case.for_peer(folder, steps, PEER_BATCH, False, SEED)
        more = {"begin": str(begin), "every": EVERY, "save": str(folder / "adapter")}
        theirs = run_peer({**peer, **more}, folder).losses
        found = accuracy(case, folder / "output" / "adapter"), accuracy(case, folder / "adapter")
    # The first steps' mean has a step more on one side: each logs its first step in its own way.
    pairs = list(zip(ours, theirs, strict=True))[1:]
    furthest = max(abs(one / other - 1) for one, other in pairs)
    return [
        ("losses of the same steps, Luthier", ", ".join(f"{loss:.4f}" for loss, _ in pairs)),
        ("and Trainer", ", ".join(f"{loss:.4f}" for _, loss in pairs)),
        ("furthest apart", f"{100 * furthest:.3f} %"),
        ("accuracy, Luthier and Trainer", " and ".join(f"{each:.3f}" for each in found)),
    ]


def main() -> None:
    """The trainer, which writes down what it begins with: trained weights, and its batches."""
    from safetensors.torch import save_file

    from luthier_trainer.main import main as run
    from luthier_trainer.training import loader, loop

    folder, learn = Path(os.environ[_FOLDER]), loop.train

    def written(model, objective, items, eval_items, session, snapshot):  # type: ignore[no-untyped-def]
        trained = {n: p.detach() for n, p in model.named_parameters() if p.requires_grad}
        save_file(trained, folder / WEIGHTS)
        batches = [
            [(list(items[i].ids), list(items[i].targets)) for i in batch]
            for batch in loader.plan(items, session)(0)
        ]
        (folder / BATCHES).write_text(json.dumps(batches))
        return learn(model, objective, items, eval_items, session, snapshot)

    loop.train = written
    run()


if __name__ == "__main__":
    main()
