"""Credentials that can't be sent are refused unseen, and code of the user's finds none."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from unit.trainer.hub import Hub
from unit.trainer.support import MakeSpec, Seaweed, TrainerProcess, folder_of

from luthier_api.result import ExitCode
from luthier_api.runspec import RunSpec
from luthier_trainer import main
from luthier_trainer.errors import TrainerError
from luthier_trainer.finetune.run import Run
from luthier_trainer.models import cache
from luthier_trainer.pages.facts import Facts
from luthier_trainer.pages.finetunecard import card
from luthier_trainer.pod.usercode import UserCode, has_code
from luthier_trainer.storage.open import open_store

TOKEN = "hf_QwErTyUiOpAsDfGhJkL"
KEY = "-----BEGIN PRIVATE KEY-----\nMIIEvQIBADANBgkqhkiG9w0B\n-----END PRIVATE KEY-----\n"


@pytest.fixture
def hub() -> Iterator[Hub]:
    hub = Hub()
    yield hub
    hub.close()


def test_a_line_break_behind_the_hubs_token_is_no_part_of_it(
    hub: Hub, make_spec: MakeSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", f"{TOKEN}\n")
    cache.find(make_spec(model="hf://own/tiny", hub_endpoint=hub.url))
    assert hub.requests[0][1] == f"Bearer {TOKEN}"


@pytest.mark.parametrize("value", [KEY, f"{TOKEN}\r\nX-Header: 1", f"{TOKEN}\0", f"{TOKEN}é"])
def test_a_token_that_no_header_holds(
    value: str,
    hub: Hub,
    make_spec: MakeSpec,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    environment = {**os.environ, "HF_TOKEN": value}  # which the system's can't hold, of a NUL
    monkeypatch.setattr(os, "environ", environment)
    with pytest.raises(TrainerError) as caught:
        cache.find(make_spec(model="hf://own/tiny", hub_endpoint=hub.url))
    assert caught.value.error.code == "InvalidCredentials"
    assert caught.value.exit_code == ExitCode.DENIED
    assert "HF_TOKEN" in caught.value.error.message
    for text in (str(caught.value), *capsys.readouterr()):
        assert "MIIE" not in text
        assert TOKEN[:12] not in text
    assert hub.requests == []


@pytest.mark.parametrize("name", ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"])
def test_a_key_of_s3_that_no_header_holds(
    name: str,
    s3: Any,
    seaweed: Seaweed,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv(name, KEY)
    with pytest.raises(TrainerError) as caught:
        open_store("s3://store/x", seaweed.access(), "output.uri").entries()
    assert caught.value.error.code == "InvalidCredentials"
    assert name in caught.value.error.message
    for text in (str(caught.value), *capsys.readouterr()):
        assert "MIIE" not in text


def test_line_breaks_behind_the_keys_of_s3_are_no_part_of_them(
    s3: Any, seaweed: Seaweed, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, f"{os.environ[name]}\n")
    assert open_store("s3://store/none", seaweed.access(), "output.uri").entries() == []


@pytest.mark.parametrize(
    "endpoint", ["http://anne:S3cretPassw0rd@127.0.0.1:9", "http://S3cretPassw0rd@127.0.0.1:9"]
)
def test_a_password_in_an_address_isnt_told(
    endpoint: str, make_spec: MakeSpec, s3: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = make_spec(
        model="hf://own/tiny",
        hub_endpoint=endpoint,
        storage={"endpoint": endpoint, "retry_seconds": 0},
    )
    texts = []
    for reach in (
        lambda: cache.find(spec),
        lambda: open_store("s3://store/x", spec.storage, "output.uri").entries(),
    ):
        with pytest.raises(TrainerError) as caught:
            reach()
        texts.append(str(caught.value))
    for text in (*texts, *capsys.readouterr()):
        assert "S3cret" not in text


_PROGRAM = """
import json, os, sys
from pathlib import Path
from luthier_trainer import credentials
from luthier_trainer.machine import runtime

credentials.take_over()
runtime.restart_with_settings(sys.argv[1], apart=True)
print(json.dumps({
    "environment": dict(os.environ),
    "proc": Path("/proc/self/environ").read_bytes().decode(),
    "key": credentials.credential("AWS_SECRET_ACCESS_KEY", ""),
    "token": credentials.credential("HF_TOKEN", ""),
}))
"""


def test_the_process_starts_anew_without_credentials_in_its_environment(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(_PROGRAM)
    done = subprocess.run(
        [sys.executable, str(program), str(tmp_path)],
        env={
            **os.environ,
            "AWS_ACCESS_KEY_ID": "AKIAEXAMPLEEXAMPLE",
            "AWS_SECRET_ACCESS_KEY": "the-secret-of-s3",
            "HF_TOKEN": TOKEN,
            "OTHER": "stays",
        },
        capture_output=True,
        check=True,
        timeout=60,
    )
    found = json.loads(done.stdout)
    assert (found["key"], found["token"]) == ("the-secret-of-s3", TOKEN)
    assert found["environment"]["OTHER"] == "stays"
    for text in (json.dumps(found["environment"]), found["proc"]):
        assert "the-secret-of-s3" not in text
        assert TOKEN not in text
        assert "AKIAEXAMPLE" not in text


@pytest.fixture
def with_code(make_spec: MakeSpec) -> RunSpec:
    code = {"configMapRef": {"name": "code", "key": "loss.py"}, "entrypoint": "loss"}
    return make_spec(training={"loss": code})


def test_results_say_whether_code_of_the_users_ran(make_spec: MakeSpec, with_code: RunSpec) -> None:
    facts = Facts("sha256:0", "sha256:1", "rows", 1, "adapter", "AutoModelForCausalLM")
    for spec, own in ((make_spec(), False), (with_code, True)):
        assert has_code(spec) is own
        result = Run(spec).result("Succeeded")
        assert result.to_json()["customCode"] is own
        assert ("Code of the user's own ran" in card(spec, None, facts)) is own


@pytest.mark.parametrize(
    "text",
    [
        "import os\nraise ValueError('sent ' + os.environ['AWS_SECRET_ACCESS_KEY'])\n",
        "import os\nprint(os.environ['AWS_SECRET_ACCESS_KEY'][::1])\nloss = None\n",
        "import os\nkey = os.environ['AWS_SECRET_ACCESS_KEY']\nraise ValueError(key.encode())\n",
    ],
)
def test_code_of_the_users_tells_no_secret(
    text: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wJalrXUtnFEMIK7MDENG")
    source = tmp_path / "loss.py"
    source.write_text(text)
    with pytest.raises(TrainerError) as caught:
        UserCode(source, "loss", "training.loss").entrypoint("loss")
    assert caught.value.error.code == "UserCodeFailed"
    for told in (str(caught.value), *capsys.readouterr()):
        assert "wJalrXUtn" not in told


def test_a_defects_traceback_tells_no_secret(
    make_spec: MakeSpec, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    run = Run(make_spec())

    def broken() -> Any:
        try:
            raise KeyError(f"b'Bearer {TOKEN}'")
        except KeyError as error:
            raise ValueError("no header") from error

    monkeypatch.setattr(run, "execute", broken)
    monkeypatch.setattr(run.pod.interrupt, "install", lambda: None)  # signals are the tests'
    end, code = main._execute(run)
    assert code == ExitCode.INTERNAL
    told = capsys.readouterr().err
    assert "Traceback" in told
    assert "no header" in told
    for text in (told, end.to_bytes().decode()):
        assert TOKEN[:14] not in text


_CURIOUS = """
import os
from pathlib import Path

print(sorted(os.environ.items()))
print(Path("/proc/self/environ").read_bytes())
print("names:", sorted(name for name in os.environ if "AWS" in name or "TOKEN" in name))

def loss(outputs, batch):
    return outputs.logits.float().pow(2).mean()
"""


def test_a_whole_run_with_code_of_the_users(
    make_spec: MakeSpec, start_trainer: Callable[..., TrainerProcess], tmp_path: Path
) -> None:
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "loss.py").write_text(_CURIOUS)
    code = {"configMapRef": {"name": "code", "key": "loss.py"}, "entrypoint": "loss"}
    spec = make_spec(
        training={"maxSteps": 1, "loss": code},
        dataset={"test": None},
        metrics=["loss"],
        config_maps_dir=str(tmp_path),
    )
    secrets = {"AWS_SECRET_ACCESS_KEY": "wJalrXUtnFEMIK7MDENG", "HF_TOKEN": TOKEN}
    process = start_trainer(spec, AWS_ACCESS_KEY_ID="AKIAEXAMPLEEXAMPLE", **secrets)
    assert process.wait() == 0, process.log.read_text()
    log = process.log.read_text()
    names = next(line for line in log.splitlines() if "names: [" in line)
    assert "TOKENIZERS_PARALLELISM" in names
    assert not any(name in names for name in ("AWS_ACCESS_KEY_ID", *secrets))
    assert "[hidden]" not in log  # there was nothing to hide
    assert process.result()["customCode"] is True
    manifest = json.loads((folder_of(spec) / "manifest.json").read_text())
    assert manifest["customCode"] is True
    assert "Code of the user's own ran" in (folder_of(spec) / "README.md").read_text()
