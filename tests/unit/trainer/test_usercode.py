"""A user's own loss: loaded, called, and its faults told by the user's file and line."""

import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from unit.trainer.support import colour_rows, spec_maker, write_jsonl

from luthier_api.result import ExitCode
from luthier_api.runspec import RunSpec
from luthier_trainer.errors import TrainerError
from luthier_trainer.finetune.run import Run
from luthier_trainer.machine import runtime
from luthier_trainer.training.ownloss import load_loss

GOOD = """
import torch

def mean_square(outputs, batch):
    return ((outputs - batch["labels"]) ** 2).mean()

class Weighted:
    def __init__(self):
        self.weight = 2.0
    def __call__(self, outputs, batch):
        return self.weight * mean_square(outputs, batch)

class Module(torch.nn.Module):
    def forward(self, outputs, batch):
        return mean_square(outputs, batch)

class Forward:
    def forward(self, output1, output2, label):
        return (output1 - output2 - label).abs().mean()
"""


def write(tmp_path: Path, text: str) -> Path:
    source = tmp_path / "loss.py"
    source.write_text(text)
    return source


def test_it_imports_what_is_hidden_from_the_libraries(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also in a function, that is called when they are loaded."""
    (tmp_path / "rarely_used.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(runtime, "_UNUSED", ("rarely_used", "not_installed"))
    for name in runtime._UNUSED:
        monkeypatch.setitem(sys.modules, name, None)  # type: ignore[arg-type]
    text = "def loss(outputs, batch):\n    import rarely_used\n    return outputs.sum()\n"
    loss = load_loss(write(tmp_path, text), "loss")
    assert loss(torch.ones(2, requires_grad=True), {}).item() == 2
    assert sys.modules["rarely_used"] is not None
    assert sys.modules["not_installed"] is None


@pytest.mark.parametrize(("name", "factor"), [("mean_square", 1), ("Weighted", 2), ("Module", 1)])
def test_functions_and_classes(name: str, factor: float, tmp_path: Path) -> None:
    loss = load_loss(write(tmp_path, GOOD), name)
    outputs = torch.tensor([1.0, 3.0], requires_grad=True)
    found = loss(outputs, {"labels": torch.zeros(2)})
    assert found.item() == 5 * factor
    assert found.shape == ()
    assert not loss.of_pairs
    found.backward()  # type: ignore[no-untyped-call]
    assert outputs.grad is not None


def test_a_loss_of_pairs(tmp_path: Path) -> None:
    loss = load_loss(write(tmp_path, GOOD), "Forward")
    assert loss.of_pairs
    one = torch.tensor([1.0], requires_grad=True)
    assert loss(one, torch.tensor([0.25]), torch.tensor([0.5])).item() == 0.25


@pytest.mark.parametrize(
    ("text", "name", "told"),
    [
        ("def loss(o, b):\n    x = 1\n    return o / nothing\n", "loss", "loss.py, line 3: Name"),
        ("import torch\ndef f(o):\n  raise KeyError('label')\ndef loss(o, b):\n  return f(o)\n",
         "loss", "loss.py, line 3: KeyError"),
        ("def loss(o, b):\n    return torch.mean(o)\n\nimport torch\ndef broken(:\n", "loss",
         "loss.py, line 5: SyntaxError"),
        ("import nothing_like_this\n", "loss", "loss.py, line 1: ModuleNotFoundError"),
        ("class loss:\n    def __init__(self, weight):\n        pass\n", "loss", "TypeError"),
        ("def other(o, b):\n    return 1\n", "loss", "loss.py has no loss"),
        ("def loss(o):\n    return o\n", "loss", "must take (outputs, batch)"),
        ("loss = 3\n", "loss", "can't be called"),
        ("def loss(o, b):\n    return 1.0\n", "loss", "returned float: return a tensor"),
        ("def loss(o, b):\n    return o.repeat(2)\n", "loss",
         "shape [4]: return one number, or one of each of the 2 examples"),
        ("import sys\ndef loss(o, b):\n    sys.exit(0)\n", "loss", "loss.py, line 3: SystemExit"),
        ("def loss(o, b):\n    return o.detach().sum()\n", "loss", "doesn't depend on the model"),
    ],
)  # fmt: skip
def test_faults_are_told(text: str, name: str, told: str, tmp_path: Path) -> None:
    outputs = torch.ones(2, requires_grad=True)
    with pytest.raises(TrainerError) as caught:
        load_loss(write(tmp_path, text), name)(outputs, {"labels": torch.zeros(2)})
    assert caught.value.exit_code == ExitCode.UNSUPPORTED
    assert caught.value.error.code == "UserCodeFailed"
    assert caught.value.error.param == "training.loss"
    assert told in caught.value.error.message


def test_one_number_of_each_example(tmp_path: Path) -> None:
    text = "def loss(o, b):\n    return o * b['labels']\n"
    loss = load_loss(write(tmp_path, text), "loss")
    outputs = torch.tensor([1.0, 3.0], requires_grad=True)
    assert loss(outputs, {"labels": torch.tensor([2.0, 1.0])}).tolist() == [2.0, 3.0]


def test_what_it_prints_goes_to_the_log(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = "print('loading')\ndef loss(o, b):\n    print(o.shape, end='')\n    return o.sum()\n"
    load_loss(write(tmp_path, text), "loss")(torch.ones(2, requires_grad=True), {})
    out, err = capsys.readouterr()
    assert out == ""
    assert [line.split("s ", 1)[1] for line in err.splitlines()] == [
        "loss: loading",
        "loss: torch.Size([2])",
    ]


def test_a_lack_of_memory_is_no_fault_of_the_code(tmp_path: Path) -> None:
    """Its remedy is another: from_exception tells it."""
    text = "def loss(o, b):\n    raise RuntimeError('not enough memory: you tried 4 GB')\n"
    with pytest.raises(RuntimeError, match="not enough memory"):
        load_loss(write(tmp_path, text), "loss")(torch.ones(2, requires_grad=True), {})


CODE = """
import torch.nn.functional as F

def losses(outputs, batch):
    logits, labels = outputs.logits[:, :-1], batch["labels"][:, 1:]
    losses = F.cross_entropy(logits.transpose(1, 2), labels, reduction="none")
    return losses.sum(1) / (labels != -100).sum(1)

def mean(outputs, batch):
    return losses(outputs, batch).mean()

def evaluate_model(model_path, test_dataset, metric_type):
    return {"rows": len(test_dataset)}
"""


@pytest.mark.parametrize("entrypoint", ["mean", "losses"])
def test_accumulated_batches_equal_one_large_one_through_a_whole_run(
    entrypoint: str, tiny_model: Path, tmp_path: Path
) -> None:
    """Batches of 5 and 1 too: each example counts alike."""
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "code.py").write_text(CODE)

    data = tmp_path / "data"
    write_jsonl(data / "train.jsonl", colour_rows(6))
    write_jsonl(data / "test.jsonl", colour_rows(3, offset=6))
    weights = []
    for batch, accumulated in ((6, 1), (5, 2)):
        place = tmp_path / f"{batch}x{accumulated}"
        spec = spec_maker(tiny_model, data, place)(
            training={
                "maxSteps": 3,
                "optimizer": "sgd",  # Adam makes much of gradients that are mere rounding
                "learningRate": 1.0,
                "loss": code(entrypoint),
                "perDeviceBatchSize": batch,
                "gradientAccumulationSteps": accumulated,
            },
            lora={"dropout": 0.0},
            config_maps_dir=str(tmp_path),
        )
        document = spec.to_json()
        document["fineTuning"]["evaluation"]["script"] = code("evaluate_model")
        result = Run(RunSpec.model_validate(document)).execute()
        assert result.evaluation
        assert result.evaluation.tuned["script_rows"] == 3
        weights.append(load_file(place / "output" / "adapter" / "adapter_model.safetensors"))
    whole, in_parts = weights
    assert any(bool(each.any()) for name, each in whole.items() if "lora_B" in name)
    torch.testing.assert_close(in_parts, whole, rtol=1e-3, atol=1e-5)


def code(entrypoint: str) -> dict[str, Any]:
    return {"configMapRef": {"name": "code", "key": "code.py"}, "entrypoint": entrypoint}
