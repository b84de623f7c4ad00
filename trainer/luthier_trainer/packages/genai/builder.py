"""onnxruntime-genai's own builder, in a process of its own; and what its packages still lack."""

import json
import sys
from collections.abc import Mapping
from pathlib import Path

from luthier_api.optimizejob import Int4
from luthier_api.result import ExitCode
from luthier_trainer.errors import TrainerError
from luthier_trainer.machine import child

_SECONDS = 3600


def int4_options(int4: Int4) -> dict[str, str]:
    """By the builder's own names."""
    return {
        "algo_config": int4.algorithm,
        "block_size": str(int4.block_size),
        "is_symmetric": str(int4.symmetric).lower(),
    }


def run(
    model: Path,
    folder: Path,
    precision: str,
    device: str,
    options: Mapping[str, str],
    scratch: Path,
    *,
    what: str,
    param: str,
) -> None:
    """Fill `folder` with a package of `model`. `what` it makes, in words, and the field `param`
    are for errors. Raises TrainerError (BuildFailed, OutOfMemory)."""
    # Code that a model's folder brings never runs, whatever the builder's default.
    options = {"hf_remote": "false", **options}
    command = [
        *(sys.executable, "-m", "onnxruntime_genai.models.builder"),
        *("-i", str(model), "-o", str(folder), "-c", str(scratch / "hub")),
        *("-p", precision, "-e", device),
        *("--extra_options", *(f"{name}={value}" for name, value in options.items())),
    ]
    lines = scratch / f"{folder.name}.log"
    try:
        child.run(command, lines, _SECONDS, {"HF_HUB_OFFLINE": "1"})
    except child.ChildError as error:
        raise TrainerError(
            ExitCode.INTERNAL if error.killed else ExitCode.UNSUPPORTED,
            "OutOfMemory" if error.killed else "BuildFailed",
            f"onnxruntime-genai's builder can't make {what} for {device}: {error}",
            param,
        ) from error


def finish(model: Path, package: Path, precision: str, device: str) -> None:
    """What a package that the builder made of a model still lacks, whatever it is for."""
    if shares_embeddings(precision, device):
        from luthier_trainer.packages.genai.tied import share_embeddings

        share_embeddings(package)
    _end_as_measured(model, package)
    from luthier_trainer.models.save import keep_texts_whole

    keep_texts_whole(package)


def shares_embeddings(precision: str, device: str) -> bool:
    """Whether embeddings that are the output layer's too are stored once by us: the builder does
    it in the other precisions. On a CPU alone, where it can be measured."""
    return precision == "int8" and device == "cpu"


def _end_as_measured(model: Path, package: Path) -> None:
    """Let the package end its answers at the tokens that ours end at: those that the model
    names, the tokenizer's, and the one that its chat template ends a turn with."""
    from luthier_trainer.models.load import load_tokenizer
    from luthier_trainer.objectives.ends import ends_of

    path = package / "genai_config.json"
    config = json.loads(path.read_bytes())
    named = config["model"].get("eos_token_id")
    generation = model / "generation_config.json"
    also = json.loads(generation.read_bytes()).get("eos_token_id") if generation.exists() else None
    config["model"]["eos_token_id"] = ends_of(load_tokenizer(model), named, also)
    path.write_text(json.dumps(config, indent=4) + "\n")
