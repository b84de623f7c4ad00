"""A bundle of 32 adapters on SmolLM2-135M: built, then built again with one of them changed.

The adapters are of 4 ranks, trained on nothing: their weights are drawn. They lie as FineTuneJobs
leave them, so that each is proven on rows too: few, as that part grows with the adapters. Each
bundle is a process of its own. Times are wall time, with the processes' own CPU time beside it,
which a busy machine changes less.
"""

import hashlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file

from bench.cases import Case
from bench.figures import Rows, figure
from luthier_api.adapterbundle import Bundling
from luthier_api.optimizejob import SourceRef
from luthier_api.runspec import AdapterOrder, BundleOrder, RunIdentity
from luthier_demo import content
from luthier_trainer.models import cache as modelcache
from luthier_trainer.packages.genai.base import read_base
from luthier_trainer.packages.genai.modules import peft_key

ADAPTERS = 32
RANKS = (4, 8, 16, 32)
ROWS = 32
ROUNDS = 5
TOKENS = 64
LIMIT_SECONDS = 3600


def make_adapter(base: Path, folder: Path, number: int, seed: int) -> int:
    """An artifact of an adapter at every projection. Returns the adapter's size in bytes."""
    generator = np.random.default_rng([number, seed])
    rank = RANKS[number % len(RANKS)]
    tensors = {}
    for module, (inputs, outputs) in read_base(base, "", "").modules.items():
        for side, shape in (("A", (rank, inputs)), ("B", (outputs, rank))):
            weight = generator.standard_normal(shape, np.float32) * 0.02
            tensors[peft_key(module, side)] = weight
    adapter = folder / "adapter"
    adapter.mkdir(parents=True, exist_ok=True)
    save_file(tensors, adapter / "adapter_model.safetensors")
    config = {"peft_type": "LORA", "task_type": "CAUSAL_LM", "r": rank, "lora_alpha": 2 * rank}
    modules = {"target_modules": "all-linear", "bias": "none"}
    (adapter / "adapter_config.json").write_text(json.dumps({**config, **modules}))
    (folder / "manifest.json").write_text(json.dumps(manifest(base, adapter)))
    return (adapter / "adapter_model.safetensors").stat().st_size


def manifest(base: Path, adapter: Path) -> dict[str, Any]:
    """What a bundle reads of a FineTuneJob's."""
    case = Case("classes", base, content.dataset(), "lora")
    files = {f"adapter/{path.name}": digest(path) for path in adapter.iterdir()}
    evaluation = {"metrics": ["accuracy"], "maxSamples": ROWS, "batchSize": ROWS}
    spec = {**case.for_us(), "training": {"maxSteps": 1}, "evaluation": evaluation}
    return {
        "baseModel": {"digest": base_digest(base)},
        "spec": spec,
        "datasetDigest": rows_digest(case.data),
        "files": {name: {"sha256": found} for name, found in files.items()},
        # Of weights that were drawn: a guess among ten classes.
        "result": {"evaluation": {"tuned": {"accuracy": 0.1}}},
    }


@cache
def base_digest(base: Path) -> str:
    """As a FineTuneJob tells it."""
    plain = order(base, [], base, 1, None)
    model = modelcache.find_model(f"file://{base}", None, plain, "base.uri")
    return modelcache.digest(base, model)


@cache
def rows_digest(data: Path) -> str:
    """As a FineTuneJob tells it."""
    files = sorted(digest(path) for path in data.iterdir())
    return "sha256:" + hashlib.sha256("\n".join(files).encode()).hexdigest()


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def order(
    base: Path, adapters: list[Path], place: Path, generation: int, previous: str | None
) -> BundleOrder:
    """Of one generation of the bundle, below `place`."""
    return BundleOrder(
        run=RunIdentity(
            kind="AdapterBundle",
            namespace="bench",
            name="bundle",
            uid="bench",
            revision=f"r{generation}",
            attempt=1,
        ),
        shape_hash=f"{generation:064d}",
        output=f"file://{place}/bundles/r{generation}",
        file_roots=["/"],
        cache_dir=str(place / "cache"),
        scratch_dir=str(place / "scratch"),
        bundling=Bundling.model_validate({"base": {"uri": f"file://{base}"}, "precision": "int8"}),
        adapters=[
            AdapterOrder(
                name=path.name,
                source=SourceRef(
                    uri=f"file://{path}", manifest_sha256=digest(path / "manifest.json")
                ),
            )
            for path in adapters
        ]
        or [AdapterOrder(name="none", source=SourceRef(uri=f"file://{place}"))],
        previous=previous,
    )


def build(what: BundleOrder, place: Path) -> tuple[float, float]:
    """(wall seconds, CPU seconds) of a run of its own process."""
    path = place / f"order-{what.run.revision}.json"
    path.write_text(json.dumps(what.to_json()))
    before, started = os.times(), time.monotonic()
    command = [sys.executable, "-m", "luthier_trainer", str(path)]
    subprocess.run(command, check=True, timeout=LIMIT_SECONDS, stdout=sys.stderr)
    wall, after = time.monotonic() - started, os.times()
    cpu = after.children_user + after.children_system
    return wall, cpu - before.children_user - before.children_system


def use(package: Path) -> dict[str, list[float]]:
    """Milliseconds to load an adapter, and tokens/s without and with one."""
    import onnxruntime_genai as og

    index = json.loads((package / "index.json").read_text())
    model = og.Model(str(package / "model"))
    adapters = og.Adapters(model)
    loads = []
    for part in index["adapters"]:
        started = time.perf_counter()
        adapters.load(str(package / part["file"]), part["name"])
        loads.append(1000 * (time.perf_counter() - started))
    speeds: dict[str, list[float]] = {"none": []}
    for _ in range(ROUNDS):
        for part in [None, *index["adapters"][: len(RANKS)]]:
            name = f"rank {part['ranks'][0]}" if part else "none"
            params = og.GeneratorParams(model)
            params.set_search_options(min_length=TOKENS + 8, max_length=TOKENS + 8)
            generator = og.Generator(model, params)
            if part:
                generator.set_active_adapter(adapters, part["name"])
            generator.append_tokens(np.arange(100, 108, dtype=np.int32))
            started = time.perf_counter()
            for _ in range(TOKENS - 1):
                generator.generate_next_token()
            speeds.setdefault(name, []).append((TOKENS - 1) / (time.perf_counter() - started))
    return {"load": loads, **speeds}


def rows() -> Rows:
    """(what, figure) for the table."""
    base = content.model()
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        adapters = [place / "adapters" / f"a{number}" for number in range(ADAPTERS)]
        source = [make_adapter(base, path, i, seed=0) for i, path in enumerate(adapters)]
        first = order(base, adapters, place, 1, None)
        full_wall, full_cpu = build(first, place)
        make_adapter(base, adapters[3], 3, seed=1)
        second = order(base, adapters, place, 2, first.output)
        wall, cpu = build(second, place)
        package = Path(second.output.removeprefix("file://"))
        index: dict[str, Any] = json.loads((package / "index.json").read_text())
        used = use(package)
    model = sum(file["bytes"] for file in index["base"]["files"].values())
    parts = sum(part["bytes"] for part in index["adapters"])
    kept = [part["proof"]["kept"] for part in index["adapters"]]
    return [
        (
            f"bundle of {ADAPTERS} adapters, all proven, each on {ROWS} rows",
            f"{full_wall:.0f} s ({full_cpu:.0f} s of CPU)",
        ),
        (
            "one of them changed",
            f"{wall:.0f} s ({cpu:.0f} s of CPU): {100 * wall / full_wall:.0f} % "
            f"({100 * cpu / full_cpu:.0f} % of CPU)",
        ),
        ("size of the base, int8", f"{model / 1e6:.1f} MB"),
        (
            "size of the adapters",
            f"{parts / 1e6:.1f} MB, {parts / sum(source):.3f} × peft's {sum(source) / 1e6:.1f} MB",
        ),
        ("loading an adapter", figure(used.pop("load"), "ms", 2)),
        (
            "share of their effect that they keep",
            f"{statistics.median(kept):.2f} ({min(kept):.2f} to {max(kept):.2f})",
        ),
        *(
            (f"generating, adapter: {name}", figure(speeds, "tokens/s"))
            for name, speeds in used.items()
        ),
    ]
