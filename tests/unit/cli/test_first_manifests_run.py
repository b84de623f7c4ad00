"""What `luthier convert` and `luthier init` write trains: on a tiny model, on this machine."""

import json
from pathlib import Path
from typing import Any

import pytest
from unit.cli.command import luthier
from unit.cli.tiny import write_dataset, write_model

WITHIN = 240


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_dataset(tmp_path_factory.mktemp("dataset") / "things.jsonl")


def ran(file: Path, model: Path, dataset: Path, *settings: str) -> dict[str, Any]:
    places = (
        "--model",
        str(model),
        "--dataset",
        str(dataset),
        "--output",
        str(file.parent / "out"),
    )
    changes = [word for setting in settings for word in ("--set", setting)]
    done = luthier("run", str(file), *places, "-o", "json", *changes, within=WITHIN,
                   HOME=str(file.parent))  # fmt: skip
    assert done.returncode == 0, done.stderr
    summary: dict[str, Any] = json.loads(done.stdout)
    return summary


@pytest.mark.timeout(WITHIN + 60)
def test_a_converted_command(model: Path, dataset: Path, tmp_path: Path) -> None:
    file = tmp_path / "things.yaml"
    command = ["olive", "finetune", "-m", "acme/tiny", "-d", "things.jsonl", "--lora_r", "4"]
    training = [
        "--max_steps",
        "4",
        "--per_device_train_batch_size",
        "4",
        "--torch_dtype",
        "float32",
    ]
    template = ("--text_template", "{text}\\nKind: {label}")
    done = luthier("convert", "--write", str(file), "--", *command, *training, *template)
    assert done.returncode == 0, done.stderr
    summary = ran(file, model, dataset, "placement.gpus=0")
    assert (summary["outcome"], summary["steps"]) == ("Complete", 4)
    assert {"loss", "perplexity"} <= summary["evaluation"]["tuned"].keys()


@pytest.mark.timeout(WITHIN + 60)
def test_a_first_manifest(model: Path, dataset: Path, tmp_path: Path) -> None:
    file = tmp_path / "things.yaml"
    done = luthier("init", str(file), "--model", str(model), "--dataset", str(dataset))
    assert done.returncode == 0, done.stderr
    summary = ran(file, model, dataset, "training.epochs=1")
    assert summary["outcome"] == "Complete"
    assert {"accuracy", "f1"} <= summary["evaluation"]["tuned"].keys()
