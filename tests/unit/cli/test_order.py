"""What `luthier run` takes from the manifest's file, and what it leaves to a cluster."""

import os
from pathlib import Path

import pytest
from unit.cli.command import luthier
from unit.cli.tiny import MANIFEST

from luthier_api.finetunejob import FineTuneJobSpec
from luthier_cli import configmaps
from luthier_cli.errors import CliError
from luthier_cli.order import Options, Order, read_order

LOSS = "training.loss={configMapRef: {name: code, key: loss.py}, entrypoint: Loss}"
SCRIPT = "evaluation.script={configMapRef: {name: code, key: eval.py}, entrypoint: measure}"
ROWS = "dataset.uri=configmap://rows/train.csv"
CONFIG_MAPS = """\
---
apiVersion: v1
kind: ConfigMap
metadata: {name: code, namespace: team-a}
data:
  loss.py: |
    def Loss(outputs, batch): ...
  other.py: ""
---
apiVersion: v1
kind: ConfigMap
metadata: {name: rows, namespace: team-a}
binaryData: {train.csv: dGV4dCxsYWJlbAo=}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: elsewhere, namespace: team-b}
data: {train.csv: "text,label"}
"""


def order(folder: Path, *settings: str, allow_code: bool = False) -> Order:
    file = folder / "things.yaml"
    file.write_text(MANIFEST + CONFIG_MAPS)
    return read_order(str(file), Options(settings=settings, allow_code=allow_code))


def test_config_maps_of_the_same_file_lie_where_the_trainer_looks(tmp_path: Path) -> None:
    read = order(tmp_path, LOSS, ROWS, allow_code=True)
    configmaps.write(read.config_maps, tmp_path / "maps")
    files = {path.relative_to(tmp_path / "maps").as_posix(): path.read_text()
             for path in (tmp_path / "maps").rglob("*") if path.is_file()}  # fmt: skip
    assert files == {
        "code/loss.py": "def Loss(outputs, batch): ...\n",
        "rows/train.csv": "text,label\n",
    }


@pytest.mark.parametrize("code", [LOSS, SCRIPT])
def test_code_must_be_allowed(tmp_path: Path, code: str) -> None:
    with pytest.raises(CliError) as refused:
        order(tmp_path, code)
    assert "runs code of your own" in str(refused.value)
    assert "--allow-code" in refused.value.remedy


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("dataset.uri=configmap://none/train.csv", "no ConfigMap none in"),
        # Another namespace's isn't there for this one.
        ("dataset.uri=configmap://elsewhere/train.csv", "no ConfigMap elsewhere in"),
        ("dataset.uri=configmap://rows/test.csv", "has no key test.csv"),
        (SCRIPT, "has no key eval.py"),
        ("model.uri=pvc://models/m", "spec.model.uri: pvc://models/m is a cluster's volume"),
        ("dataset.mix=[{uri: pvc://data/b.csv}]", "spec.dataset.mix[0].uri"),
    ],
)
def test_what_is_not_here_is_named(tmp_path: Path, setting: str, words: str) -> None:
    with pytest.raises(CliError) as refused:
        order(tmp_path, setting, allow_code=True)
    assert words in str(refused.value)
    assert refused.value.remedy


def test_a_hubs_token_is_the_environments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hub = "model={uri: hf://org/m, tokenSecretRef: {name: hub, key: token}}"
    monkeypatch.delenv("HF_TOKEN", raising=False)
    with pytest.raises(CliError) as refused:
        order(tmp_path, hub)
    assert "HF_TOKEN" in refused.value.remedy
    monkeypatch.setenv("HF_TOKEN", "hf_x")
    spec = order(tmp_path, hub).manifest.spec
    assert isinstance(spec, FineTuneJobSpec)
    assert spec.model.token_secret_ref is not None
    assert os.environ["HF_TOKEN"] == "hf_x"


@pytest.mark.parametrize(
    ("setting", "variable", "words"),
    [
        ("tracking={mlflow: {}}", "MLFLOW_TRACKING_URI", "names no server"),
        (
            "tracking={mlflow: {uri: 'http://m', tokenSecretRef: {name: m, key: token}}}",
            "MLFLOW_TRACKING_TOKEN",
            "the Secret m isn't read on this machine",
        ),
        (
            "tracking={wandb: {apiKeySecretRef: {name: w, key: key}}}",
            "WANDB_API_KEY",
            "the Secret w isn't read on this machine",
        ),
    ],
)
def test_trackers_and_their_logins_are_the_environments(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, setting: str, variable: str, words: str
) -> None:
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_TRACKING_TOKEN", "WANDB_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(CliError, match=words) as refused:
        order(tmp_path, setting)
    assert variable in refused.value.remedy
    monkeypatch.setenv(variable, "http://mlflow:5000")
    spec = order(tmp_path, setting).manifest.spec
    assert isinstance(spec, FineTuneJobSpec)
    assert spec.tracking


def test_a_folder_of_mlflows_is_no_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "./mlruns")
    with pytest.raises(CliError, match="names no server"):
        order(tmp_path, "tracking={mlflow: {}}")


def test_the_command_says_so(tmp_path: Path) -> None:
    file = tmp_path / "things.yaml"
    file.write_text(MANIFEST + CONFIG_MAPS)
    done = luthier("run", str(file), "--set", LOSS)
    assert done.returncode == 2
    assert "allow it with --allow-code" in done.stderr
