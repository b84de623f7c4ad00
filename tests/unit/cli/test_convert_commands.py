"""Command lines after `--`: their options, the files that they name, what stands before them."""

import shutil
from pathlib import Path
from typing import Any

import pytest
from unit.cli.command import luthier
from unit.cli.converted import CONFIGS, spec

from luthier_cli import offline
from luthier_cli.convert.commandline import convert_command, options
from luthier_cli.convert.convert import Converted, Naming
from luthier_cli.convert.told import Fate
from luthier_cli.errors import CliError
from luthier_cli.yaml import load_documents


def read(name: str) -> str | None:
    path = CONFIGS / name
    return path.read_text() if path.is_file() else None


def run(line: str) -> Converted:
    done = convert_command(line.split(), Naming(), read, None)
    for document in load_documents(done.yaml):
        assert offline.check_document(document, line) == []
    return done


def fates(done: Converted) -> dict[str, Fate]:
    return {it.field: it.fate for it in done.told}


def test_olive_finetune() -> None:
    done = run(
        "olive finetune -m acme/small -d acme/tones --method qlora --lora_r 8 --target_modules "
        "q_proj,v_proj --text_template {phrase}\\n{tone} --max_steps 100 --learning_rate 1e-4 "
        "--eval_split test --max_samples 1000 -o out/tone --swirl 3"
    )
    assert spec(done, "model.uri") == "hf://acme/small"
    assert spec(done, "dataset") == {
        "uri": "hf://acme/tones",
        "template": "{phrase}\n{tone}",
        "train": "train[:1000]",
        "eval": "test",
    }
    assert spec(done, "method.type") == "qlora"
    assert spec(done, "method.lora") == {
        "rank": 8,
        "alpha": 16,
        "dropout": 0.05,
        "targetModules": ["q_proj", "v_proj"],
    }
    assert spec(done, "training.maxSteps") == 100
    assert spec(done, "training.learningRate") == 1e-4
    assert done.drafts[0].name == "tone"
    assert fates(done)["--swirl"] is Fate.UNKNOWN


def test_olive_learns_from_256_rows_unless_told() -> None:
    done = run("olive finetune -m acme/small -d acme/tones --text_field text")
    assert spec(done, "dataset.train") == "train[:256]"


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (
            "olive quantize -m acme/small --algorithm rtn --precision int4",
            {"source.modelUri": "hf://acme/small", "precisions": ["int4"], "int4.algorithm": "rtn"},
        ),
        ("olive quantize -m acme/small", {"precisions": ["int8"]}),
        (
            "olive auto-opt -m acme/small --device gpu --provider CUDAExecutionProvider "
            "--precision fp16",
            {"target.provider": "CUDAExecutionProvider", "target.device": "cuda",
             "precisions": ["fp16"], "placement.gpus": 1},
        ),
        ("olive optimize -m acme/small --precision int4 --block_size 64", {"int4.blockSize": 64}),
        ("olive capture-onnx-graph -m acme/small --use_dynamo_exporter", {"precisions": ["fp32"]}),
        (
            "olive generate-adapter -m acme/small --adapter_type lora",
            {"base.uri": "hf://acme/small"},
        ),
        (
            "olive convert-adapters -a s3://models/tone s3://models/topic --dtype float16",
            {"adapters": [{"name": "tone", "uri": "s3://models/tone"},
                          {"name": "topic", "uri": "s3://models/topic"}]},
        ),
    ],
)  # fmt: skip
def test_olive(line: str, expected: dict[str, Any]) -> None:
    done = run(line)
    assert {path: spec(done, path) for path in expected} == expected


def test_olive_run() -> None:
    done = run("olive run --config olive-qlora.json --tempdir /tmp")
    assert [draft.kind.name for draft in done.drafts] == ["FineTuneJob", "OptimizeJob"]


@pytest.mark.parametrize("line", ["olive benchmark -m x", "olive tune", "axolotl merge-lora x.yml"])
def test_commands_without_a_counterpart(line: str) -> None:
    with pytest.raises(CliError, match=r"counterpart|trains nothing"):
        run(line)


@pytest.mark.parametrize("line", ["make test", "torchrun train.py"])
def test_no_command_that_is_known(line: str) -> None:
    with pytest.raises(CliError, match="no command that is known"):
        run(line)


def test_trl() -> None:
    done = run(
        "accelerate launch --num_processes 2 trl sft --config trl-sft.yaml --learning_rate 1e-5 "
        "--completion_only_loss"
    )
    assert spec(done, "training.learningRate") == 1e-5
    assert spec(done, "method.lora.rank") == 32
    assert spec(done, "dataset.lossOn") == "Completion"
    assert fates(done)["accelerate launch --num_processes 2"] is Fate.MOOT


def test_llamafactory_with_changes() -> None:
    done = run("FORCE_TORCHRUN=1 llamafactory-cli train llamafactory-sft.yaml learning_rate=2e-5")
    assert spec(done, "training.learningRate") == 2e-5
    assert spec(done, "method.lora.rank") == 8


def test_axolotl_with_changes() -> None:
    done = run("axolotl train axolotl-lora.yaml --learning-rate 2e-5")
    assert spec(done, "training.learningRate") == 2e-5


def test_a_file_that_lacks() -> None:
    with pytest.raises(CliError, match=r"can't read nowhere\.yaml"):
        run("axolotl train nowhere.yaml")


def test_options() -> None:
    words = ["--a", "1", "--b=x=y", "--c", "--d", "1", "2", "-3", "--no-e", "--f", "a"]
    given, others = options(["first", *words])
    assert given == {"a": 1, "b": "x=y", "c": True, "d": [1, 2, -3], "no_e": True, "f": "a"}
    assert others == ["first"]


def test_the_program(tmp_path: Path) -> None:
    done = luthier("convert", "--name", "tone", "--", "olive", "quantize", "-m", "acme/small")
    assert done.returncode == 0, done.stderr
    assert load_documents(done.stdout)[0].value["metadata"] == {"name": "tone"}
    same = luthier("convert", "--name", "tone", "--", "olive quantize -m acme/small")
    assert same.stdout == done.stdout
    shutil.copy(CONFIGS / "axolotl-lora.yaml", tmp_path)
    file = tmp_path / "axolotl-lora.yaml"
    assert luthier("convert", "--", "axolotl", "train", str(file)).returncode == 0
