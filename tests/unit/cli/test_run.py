"""`luthier run` with the real trainer and a tiny model."""

import json
import re
import signal
import subprocess
from pathlib import Path

import pytest
from unit.cli.command import COMMAND, environment, luthier
from unit.cli.tiny import MANIFEST, write_dataset, write_model
from unit.trainer.hub import COMMIT, Hub

from luthier_cli.errors import CliError
from luthier_cli.order import Options, output_uri, read_manifests, read_order
from luthier_cli.paths import file_uri
from luthier_cluster import Cluster
from luthier_cluster.wait import until

WITHIN = 240


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="session")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_dataset(tmp_path_factory.mktemp("dataset") / "things.jsonl")


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    file = tmp_path / "things.yaml"
    file.write_text(MANIFEST)
    return file


def arguments(manifest: Path, model: Path, dataset: Path, tmp_path: Path) -> list[str]:
    local = ["--model", str(model), "--dataset", str(dataset), "--output", str(tmp_path / "out")]
    return ["run", str(manifest), *local]


@pytest.mark.timeout(WITHIN + 60)
def test_a_run_to_its_end(manifest: Path, model: Path, dataset: Path, tmp_path: Path) -> None:
    options = [*arguments(manifest, model, dataset, tmp_path), "-o", "json"]
    changes = ("--set", "training.maxSteps=4")
    done = luthier(*options, *changes, within=WITHIN, HOME=str(tmp_path))
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout)
    assert (summary["outcome"], summary["steps"]) == ("Complete", 4)
    assert summary["evaluation"]["tuned"].keys() == {"accuracy", "loss"}
    folder = tmp_path / "out" / "team-a" / "things" / summary["revision"]
    assert summary["artifact"]["uri"] == file_uri(folder)
    assert {"manifest.json", "adapter/adapter_model.safetensors"} <= {
        file["path"] for file in summary["files"]
    }
    assert Path(summary["lossCurve"]).read_bytes().startswith(b"\x89PNG")
    assert len(summary["samples"]) == 20
    assert "Training" in done.stderr
    assert Path(summary["log"]).is_relative_to(tmp_path)
    assert "finishedBefore" not in summary
    assert summary["folder"] == str(folder)

    again = luthier(*options, *changes, within=WITHIN, HOME=str(tmp_path))
    assert again.returncode == 0, again.stderr
    found = json.loads(again.stdout)
    assert found["finishedBefore"]
    assert found["evaluation"] == summary["evaluation"]


@pytest.mark.timeout(WITHIN + 60)
def test_a_search_on_this_machine(
    manifest: Path, model: Path, dataset: Path, tmp_path: Path
) -> None:
    search = """
  search:
    trials: 2
    parallelism: 2
    objective: {metric: accuracy}
    space:
      learningRate: {type: float, low: 0.0001, high: 0.01, log: true}
"""
    manifest.write_text(MANIFEST.rstrip() + search)
    options = [*arguments(manifest, model, dataset, tmp_path), "-o", "json"]
    done = luthier(*options, "--set", "training.maxSteps=4", within=WITHIN, HOME=str(tmp_path))
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout)
    told = summary["search"]
    assert (summary["outcome"], told["complete"], told["trials"]) == ("Complete", 2, 2)
    assert told["best"]["settings"].keys() == {"learningRate"}
    assert "report/search.html" in {file["path"] for file in summary["files"]}
    assert [it["state"] for it in told["table"]] == ["Complete"] * 2


@pytest.mark.timeout(2 * WITHIN + 60)
def test_ctrl_c_and_on_from_there(
    manifest: Path, model: Path, dataset: Path, tmp_path: Path
) -> None:
    # More steps than any machine makes before the signal: the one checkpoint is the interruption's.
    steps = 100_000
    command = [
        *[*COMMAND, *arguments(manifest, model, dataset, tmp_path)],
        *["--set", f"training.maxSteps={steps}", "--set", f"training.saveEverySteps={steps}"],
    ]
    logs = tmp_path / ".cache" / "luthier" / "logs"

    screen = tmp_path / "screen.txt"

    def start() -> subprocess.Popen[str]:
        with screen.open("w") as shown:
            return subprocess.Popen(
                command,
                env=environment(HOME=str(tmp_path), PYTHONUNBUFFERED="1"),
                stdout=shown,
                stderr=subprocess.PIPE,
                text=True,
            )

    process = start()
    await_step(process, logs)
    # The log may be ahead of the reports, by which the screen knows what Ctrl-C does.
    assert until(lambda: "Training" in screen.read_text(), WITHIN)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=WITHIN)
    out = screen.read_text()
    assert process.returncode == 130, out + err
    assert "saving a checkpoint" in out
    assert "Checkpoint  of step" in out
    assert "the same command goes on from the last checkpoint" in err

    [folder] = (tmp_path / "out" / "team-a" / "things").iterdir()
    [checkpoint] = (folder / "checkpoints").iterdir()
    step = int(checkpoint.name.rpartition("-")[2])
    assert 0 < step < steps
    [log] = logs.iterdir()
    before = log.read_text().count("\n")

    process = start()
    await_step(process, logs, before)
    # Twice: the second one doesn't wait for the checkpoint.
    process.send_signal(signal.SIGTERM)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=WITHIN)
    assert process.returncode == 130
    assert f"step {step}" in "\n".join(log.read_text().splitlines()[before:])


def await_step(process: subprocess.Popen[str], logs: Path, lines: int = 0) -> None:
    """Until the log has a step after so many lines. The screen shows one every ten seconds."""

    def stepped() -> bool:
        assert process.poll() is None, process.communicate()
        new = [line for log in logs.glob("*") for line in log.read_text().splitlines()[lines:]]
        return any(re.search(r" step \d+/", line) for line in new)

    assert until(stepped, WITHIN)


@pytest.mark.timeout(WITHIN + 60)
def test_bad_data_fails_with_its_place(
    manifest: Path, model: Path, dataset: Path, tmp_path: Path
) -> None:
    broken = tmp_path / "broken.jsonl"
    lines = dataset.read_text().splitlines()
    broken.write_text("\n".join([*lines[:6], '{"text": ', *lines[6:]]))
    command = arguments(manifest, model, broken, tmp_path)
    done = luthier(*command, within=WITHIN, HOME=str(tmp_path))
    assert done.returncode == 1
    assert "things: Failed" in done.stdout
    assert "broken.jsonl:7: not JSON" in done.stdout
    assert "[spec.dataset.uri]" in done.stdout


@pytest.mark.timeout(WITHIN + 60)
def test_results_go_to_s3_when_asked(
    control_plane: Cluster, manifest: Path, model: Path, dataset: Path, tmp_path: Path
) -> None:
    import boto3

    keys = {
        "AWS_ACCESS_KEY_ID": control_plane.s3_access_key,
        "AWS_SECRET_ACCESS_KEY": control_plane.s3_secret_key,
    }
    s3 = boto3.client(
        "s3",
        endpoint_url=control_plane.s3_endpoint,
        region_name="us-east-1",
        aws_access_key_id=control_plane.s3_access_key,
        aws_secret_access_key=control_plane.s3_secret_key,
    )
    s3.create_bucket(Bucket="artifacts")
    command = ["run", str(manifest), "--model", str(model), "--dataset", str(dataset), "--s3"]
    endpoint = ["--s3-endpoint", control_plane.s3_endpoint, "-o", "json"]
    done = luthier(*command, *endpoint, within=WITHIN, HOME=str(tmp_path), **keys)
    assert done.returncode == 0, done.stderr
    uri = json.loads(done.stdout)["artifact"]["uri"]
    assert uri.startswith("s3://artifacts/models/team-a/things/r1-")
    prefix = uri.removeprefix("s3://artifacts/")
    listed = s3.list_objects_v2(Bucket="artifacts", Prefix=prefix)["Contents"]
    assert f"{prefix}/manifest.json" in {item["Key"] for item in listed}


@pytest.mark.timeout(WITHIN + 60)
def test_a_model_of_the_hub_that_the_environment_names(
    manifest: Path, model: Path, dataset: Path, tmp_path: Path
) -> None:
    hub = Hub()
    hub.commits = {COMMIT: {path.name: path.read_bytes() for path in model.iterdir()}}
    manifest.write_text(MANIFEST.replace("s3://models/tiny", "hf://own/tiny"))
    output = ["--dataset", str(dataset), "--output", str(tmp_path / "out"), "-o", "json"]
    try:
        done = luthier(
            *["run", str(manifest), "--set", "training.maxSteps=2", *output],
            within=WITHIN,
            HOME=str(tmp_path),
            HF_ENDPOINT=hub.url,
            HF_TOKEN="of-mine",
        )
    finally:
        hub.close()
    assert done.returncode == 0, done.stderr
    assert {token for _, token in hub.requests} == {"Bearer of-mine"}
    written = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert [path for path in written if b"of-mine" in path.read_bytes()] == []


def test_an_invalid_manifest_does_not_start(manifest: Path) -> None:
    done = luthier("run", str(manifest), "--set", "training.epochs=1")
    assert done.returncode == 1
    assert "spec.training.epochs: maxSteps and epochs exclude each other" in done.stderr


def test_a_model_that_is_not_there(manifest: Path) -> None:
    done = luthier("run", str(manifest), "--model", "/nowhere")
    assert done.returncode == 2
    assert "error: /nowhere doesn't exist" in done.stderr


@pytest.mark.parametrize(
    ("options", "uri"),
    [
        (Options(), file_uri(Path("out"))),
        (Options(output="/data/out"), "file:///data/out"),
        (Options(output="s3://mine/x"), "s3://mine/x"),
        (Options(s3=True), "s3://artifacts/models"),
    ],
)
def test_where_results_go(manifest: Path, options: Options, uri: str) -> None:
    [read] = read_manifests(str(manifest), options)
    assert output_uri(read, options) == uri


def test_a_folder_as_the_manifests_output(manifest: Path) -> None:
    manifest.write_text(MANIFEST.replace("s3://artifacts/models", "file:///data/models"))
    read = read_order(str(manifest), Options()).manifest
    assert read.declared_output == "file:///data/models"
    with pytest.raises(CliError, match=re.escape("--s3: output.uri is file")):
        output_uri(read, Options(s3=True))
