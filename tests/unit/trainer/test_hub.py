"""Models and data sets on a hub, and files over HTTP: against a real server on loopback."""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from unit.trainer.hub import COMMIT, DATA, FILES, Hub
from unit.trainer.support import MakeSpec

from luthier_api.result import ExitCode
from luthier_api.runspec import RunSpec
from luthier_trainer.data.prepare import load
from luthier_trainer.data.sources import fetch
from luthier_trainer.errors import TrainerError
from luthier_trainer.finetune.run import Run
from luthier_trainer.models import cache


@pytest.fixture
def hub() -> Iterator[Hub]:
    server = Hub()
    yield server
    server.close()


def test_a_model_is_downloaded_once(
    hub: Hub, make_spec: MakeSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "secret")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    hub.breaks = 1
    spec = make_spec(model="hf://own/tiny", hub_endpoint=hub.url)
    base = cache.find(spec)
    assert (base.commit, base.licence) == (COMMIT, "apache-2.0")
    folder = cache.local_folder(base, spec)
    assert (folder / "model.safetensors").read_bytes() == FILES["model.safetensors"]
    assert not (folder / "README.md").exists()
    assert {token for _, token in hub.requests} == {"Bearer secret"}
    before = hub.downloads()
    assert cache.local_folder(cache.find(spec), spec) == folder
    assert hub.downloads() == before


def test_a_failed_download_leaves_nothing(hub: Hub, make_spec: MakeSpec) -> None:
    spec = make_spec(model="hf://own/tiny", hub_endpoint=hub.url)
    base = cache.find(spec)
    largest = max(base.entries, key=lambda entry: entry.size)
    base.entries[base.entries.index(largest)] = replace(largest, size=largest.size + 1)
    with pytest.raises(OSError, match="after the download"):
        cache.local_folder(base, spec)
    models = Path(spec.cache_dir, "models")
    assert [path.suffix for path in models.iterdir()] == [".lock"]


@pytest.mark.parametrize("scheme", ["hf", "file", "pvc"])
@pytest.mark.parametrize("param", ["model.uri", "source.modelUri", "base.uri"])
def test_a_model_with_an_adapter_in_its_folder_is_refused_before_it_is_downloaded(
    param: str, scheme: str, hub: Hub, make_spec: MakeSpec, tmp_path: Path
) -> None:
    """transformers would put it on: patterns that never end, weights that are unpickled."""
    files = {**FILES, "adapter_config.json": b"{}", "adapter_model.bin": b""}
    hub.commits = {COMMIT: files}
    folder = tmp_path / "claims" / "shared"
    folder.mkdir(parents=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    roots = str(tmp_path / "claims")
    spec = make_spec(hub_endpoint=hub.url, claims_dir=roots, file_roots=[roots])
    uri = {"hf": "hf://own/tiny", "file": f"file://{folder}", "pvc": "pvc://shared"}[scheme]
    with pytest.raises(TrainerError) as caught:
        cache.find_model(uri, None, spec, param)
    error = caught.value.error
    assert (error.code, error.param) == ("ModelUnusable", param)
    assert "merge it into the model" in error.message
    assert not hub.downloads()


def test_the_commit_and_the_licence_are_in_manifest_and_card(
    hub: Hub, make_spec: MakeSpec, tiny_model: Path
) -> None:
    hub.commits = {COMMIT: {path.name: path.read_bytes() for path in tiny_model.iterdir()}}
    spec = make_spec(
        model="hf://own/tiny",
        hub_endpoint=hub.url,
        dataset={"test": None, "eval": "test"},
        training={"maxSteps": 1},
        metrics=["loss"],
    )
    result = Run(spec).execute()
    output = Path(spec.output.removeprefix("file://"))
    base = json.loads((output / "manifest.json").read_text())["baseModel"]
    digest = base.pop("digest")
    assert base == {"uri": "hf://own/tiny", "revision": COMMIT, "licence": "apache-2.0"}
    card = (output / "README.md").read_text()
    assert f"| base model | `hf://own/tiny` ({digest}) |\n| its commit | `{COMMIT}` |" in card
    assert "| its licence | apache-2.0 |" in card
    assert result.evaluation
    assert result.evaluation.split == "eval"
    for text in (card, (output / "report" / "index.html").read_text()):
        assert "optimistic" in text


@pytest.mark.parametrize(
    ("name", "revision", "code", "exit_code"),
    [
        ("own/gated", None, "HubGated", ExitCode.DENIED),
        ("own/private", None, "HubDenied", ExitCode.DENIED),
        ("own/none", None, "ModelNotFound", ExitCode.NOT_FOUND),
        ("own/tiny", "v9", "RevisionNotFound", ExitCode.NOT_FOUND),
        ("own/pickle", None, "ModelNotSafetensors", ExitCode.UNSUPPORTED),
    ],
)
def test_mistakes(
    hub: Hub, make_spec: MakeSpec, name: str, revision: str | None, code: str, exit_code: ExitCode
) -> None:
    spec = make_spec(model=f"hf://{name}", hub_endpoint=hub.url)
    model = spec.fine_tuning.model.model_copy(update={"revision": revision})
    tuning = spec.fine_tuning.model_copy(update={"model": model})
    spec = spec.model_copy(update={"fine_tuning": tuning})
    with pytest.raises(TrainerError) as caught:
        cache.find(spec)
    assert (caught.value.error.code, caught.value.exit_code) == (code, exit_code)


def test_a_run_goes_on_with_the_commit_that_it_began_with(
    hub: Hub, make_spec: MakeSpec, tiny_model: Path
) -> None:
    """While the branch moves on; and it ends where that commit is gone."""
    old = {path.name: path.read_bytes() for path in tiny_model.iterdir()}
    new = {**old, "model.safetensors": old["model.safetensors"][:-4] + b"\0\0\0\0"}
    hub.commits, moved = {COMMIT: old}, "f" * 40
    spec = make_spec(
        model="hf://own/tiny", hub_endpoint=hub.url, training={"maxSteps": 1}, metrics=["loss"]
    )
    Run(spec).execute()
    manifest = Path(spec.output.removeprefix("file://"), "manifest.json")
    began = json.loads(manifest.read_text())["baseModel"]
    assert began["revision"] == COMMIT

    hub.commits[moved], hub.head = new, moved
    manifest.unlink()
    Run(spec).execute()
    assert json.loads(manifest.read_text())["baseModel"] == began

    del hub.commits[COMMIT]
    manifest.unlink()
    with pytest.raises(TrainerError) as caught:
        Run(spec).execute()
    error = caught.value.error
    assert (error.code, error.param) == ("BaseChanged", "model.uri")
    assert error.message.startswith("hf://own/tiny: the hub no longer has it")
    assert f"began with commit:{COMMIT}" in error.message


def test_a_hub_that_is_down(make_spec: MakeSpec) -> None:
    spec = make_spec(
        model="hf://own/tiny", hub_endpoint="http://127.0.0.1:9", storage={"retrySeconds": 1}
    )
    with pytest.raises(TrainerError) as caught:
        cache.find(spec)
    assert caught.value.error.code == "HubUnavailable"


@pytest.mark.parametrize("uri", ["hf://own/tiny", "hf://datasets/own/tiny/data"])
def test_a_dataset_in_shards(hub: Hub, make_spec: MakeSpec, tmp_path: Path, uri: str) -> None:
    source = fetch(uri, make_spec(hub_endpoint=hub.url), tmp_path / "data", revision="v1")
    assert [file.path.read_bytes() for file in source.splits["train"]] == list(DATA.values())


def test_each_source_of_a_mix_is_read_at_its_own_revision(
    hub: Hub, make_spec: MakeSpec, tmp_path: Path
) -> None:
    mix = [{"uri": "hf://own/tiny", "revision": "v1", "weight": 9}, {"uri": "hf://own/tiny"}]
    plain = load(make_spec(), tmp_path / "plain")
    mixed = load(make_spec(dataset={"mix": mix}, hub_endpoint=hub.url), tmp_path / "mixed")
    assert len(mixed.train) == len(plain.train) + 9 + 1
    asked = [path for path, _ in hub.requests if path.startswith("/api/")]
    assert [path.rpartition("/")[2] for path in asked] == ["v1?blobs=true", "main?blobs=true"]


def test_a_revision_that_a_mix_lacks(hub: Hub, make_spec: MakeSpec, tmp_path: Path) -> None:
    mix = [{"uri": "hf://own/tiny", "revision": "v9"}]
    with pytest.raises(TrainerError) as caught:
        load(make_spec(dataset={"mix": mix}, hub_endpoint=hub.url), tmp_path / "data")
    assert caught.value.error.code == "RevisionNotFound"
    assert caught.value.error.param == "dataset.mix[0].revision"


_DOWNLOAD = """
import json, sys
from luthier_api.runspec import RunSpec
from luthier_trainer.models import cache
spec = RunSpec.model_validate(json.loads(sys.argv[1]))
cache.local_folder(cache.find(spec), spec)
"""


def _download(spec: RunSpec) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", _DOWNLOAD, json.dumps(spec.to_json())])


def test_killed_and_parallel_downloads(hub: Hub, make_spec: MakeSpec) -> None:
    """A process that is killed in the middle leaves no model; several at once download one."""
    spec = make_spec(model="hf://own/tiny", hub_endpoint=hub.url)
    hub.seconds = 60
    first = _download(spec)
    try:
        deadline = time.monotonic() + 60
        while not any("safetensors" in path for path in hub.downloads()):
            assert first.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.05)
    finally:
        first.kill()
        first.wait(30)
    models = Path(spec.cache_dir, "models")
    assert [path for path in models.iterdir() if path.is_dir() and path.name[0] != "."] == []

    hub.seconds = 0.3
    hub.requests.clear()
    others = [_download(spec) for _ in range(3)]
    assert [process.wait(60) for process in others] == [0, 0, 0]
    assert len(hub.downloads()) == 2
    (folder,) = [path for path in models.iterdir() if path.is_dir()]
    assert (folder / "model.safetensors").read_bytes() == FILES["model.safetensors"]


@pytest.mark.parametrize(
    ("uri", "code"),
    [
        ("pvc://claim/x.jsonl", None),
        ("pvc://claim/link.jsonl", "DatasetNotFound"),
        ("pvc://other/x.jsonl", "ClaimNotMounted"),
        ("pvc://claim/out/x.jsonl", "PathEscapes"),
        ("configmap://claim/x.jsonl", None),
        ("configmap://other/x.jsonl", "ConfigMapNotMounted"),
    ],
)
def test_mounted(make_spec: MakeSpec, tmp_path: Path, uri: str, code: str | None) -> None:
    (tmp_path / "mounts" / "claim").mkdir(parents=True)
    (tmp_path / "mounts" / "claim" / "x.jsonl").write_bytes(b"{}\n")
    (tmp_path / "mounts" / "claim" / "out").symlink_to(tmp_path)
    mounts = str(tmp_path / "mounts")
    spec = make_spec(claims_dir=mounts, config_maps_dir=mounts)
    if code is None:
        assert fetch(uri, spec, tmp_path / "f").splits["train"][0].path.read_bytes() == b"{}\n"
        return
    with pytest.raises(TrainerError) as caught:
        fetch(uri, spec, tmp_path / "f")
    assert caught.value.error.code == code
    assert uri.rpartition("/")[0] in caught.value.error.message
