"""`--set`: changes to the spec before it is checked."""

import re
from pathlib import Path
from typing import Any

import pytest

from luthier_cli.errors import CliError
from luthier_cli.overrides import apply
from luthier_cli.paths import file_uri

SPEC = {"training": {"maxSteps": 100, "epochs": None}, "task": "classification"}


@pytest.mark.parametrize(
    ("setting", "expected"),
    [
        ("training.maxSteps=5", {"training": {"maxSteps": 5, "epochs": None}}),
        (
            "spec.training.learningRate=1e-5",
            {"training": SPEC["training"] | {"learningRate": 1e-5}},
        ),
        ("training.maxSteps=null", {"training": {"epochs": None}}),
        ("evaluation.metrics=[loss, f1]", {"evaluation": {"metrics": ["loss", "f1"]}}),
        ('dataset.template="{a} = {b}"', {"dataset": {"template": "{a} = {b}"}}),
        ("method.lora.rank=4", {"method": {"lora": {"rank": 4}}}),
    ],
)
def test_apply(setting: str, expected: dict[str, Any]) -> None:
    assert apply(SPEC, [setting]) == SPEC | expected


def test_the_original_stays() -> None:
    apply(SPEC, ["training.maxSteps=5", "task=generation"])
    assert SPEC["training"] == {"maxSteps": 100, "epochs": None}
    assert SPEC["task"] == "classification"


@pytest.mark.parametrize(
    "setting", ["training.maxSteps", "=5", "a..b=1", "task.deeper=1", "task=[a"]
)
def test_what_can_not_be_set(setting: str) -> None:
    with pytest.raises(CliError, match=re.escape(f"--set {setting}")):
        apply(SPEC, [setting])


def test_file_uri() -> None:
    assert file_uri(Path("/data/my model@2")) == "file:///data/my%20model%402"
    assert file_uri(Path("out")) == f"file://{Path.cwd()}/out"
