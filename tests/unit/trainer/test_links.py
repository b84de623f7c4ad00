"""Folders that others fill: links lead nowhere outside, and nothing but files is opened."""

import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from unit.trainer.hub import FILES, Hub
from unit.trainer.support import MakeSpec

from luthier_api.meta import CodeRef
from luthier_api.result import ExitCode, RunEnd
from luthier_api.runspec import RunSpec, S3Access
from luthier_trainer.data.sources import fetch
from luthier_trainer.errors import TrainerError
from luthier_trainer.models import cache
from luthier_trainer.pod import publish, usercode
from luthier_trainer.storage.open import open_store

SECRET = "s3cret-of-the-pod"
Make = Callable[[Path, Path], None]


def link(place: Path, outside: Path) -> None:
    place.symlink_to(outside)


def relative_link(place: Path, outside: Path) -> None:
    place.symlink_to(os.path.relpath(outside, place.parent))


def link_of_a_link(place: Path, outside: Path) -> None:
    between = place.parent / "between"
    between.symlink_to(outside)
    place.symlink_to("between")


def through_a_folder(place: Path, outside: Path) -> None:
    (place.parent / "folder").symlink_to(outside.parent)
    place.symlink_to(Path("folder", outside.name))


def environment(place: Path, outside: Path) -> None:
    del outside
    place.symlink_to("/proc/self/environ")


def pipe(place: Path, outside: Path) -> None:
    del outside
    os.mkfifo(place)


def a_socket(place: Path, outside: Path) -> None:
    del outside
    before = Path.cwd()
    os.chdir(place.parent)  # an address has few characters
    try:
        with socket.socket(socket.AF_UNIX) as found:
            found.bind(place.name)
    finally:
        os.chdir(before)


def device(place: Path, outside: Path) -> None:
    del outside
    place.symlink_to("/dev/zero")


OUTWARD: list[Make] = [link, relative_link, link_of_a_link, through_a_folder, environment, device]
REFUSED: list[Make] = [*OUTWARD, pipe, a_socket]


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    path = tmp_path / "outside" / "secret.jsonl"
    path.parent.mkdir()
    path.write_text(f'{{"text": "{SECRET}"}}\n')
    return path


@pytest.fixture
def claim(tmp_path: Path) -> Path:
    folder = tmp_path / "claims" / "shared"
    folder.mkdir(parents=True)
    return folder


@pytest.fixture
def spec(make_spec: MakeSpec, tmp_path: Path) -> RunSpec:
    """A platform that lets runs read one folder."""
    roots = [str(tmp_path / "claims")]
    return make_spec(
        claims_dir=roots[0], config_maps_dir=roots[0], file_roots=[str(tmp_path / "claims/shared")]
    )


def refusal(call: Callable[[], Any]) -> TrainerError:
    with pytest.raises(TrainerError) as caught:
        call()
    assert caught.value.error.code in ("PathEscapes", "NotAFile")
    assert caught.value.exit_code == ExitCode.DENIED
    assert SECRET not in str(caught.value)
    return caught.value


def base_of(scheme: str, claim: Path) -> str:
    return f"file://{claim}" if scheme == "file" else f"{scheme}://shared"


@pytest.mark.parametrize("scheme", ["file", "pvc", "configmap"])
@pytest.mark.parametrize("make", REFUSED)
def test_a_dataset(
    make: Make, scheme: str, spec: RunSpec, claim: Path, outside: Path, tmp_path: Path
) -> None:
    make(claim / "train.jsonl", outside)
    base = base_of(scheme, claim)
    named = refusal(lambda: fetch(f"{base}/train.jsonl", spec, tmp_path / "one"))
    assert "train.jsonl" in named.error.message
    assert named.error.param == "dataset.uri"
    if scheme != "configmap":
        refusal(lambda: fetch(base, spec, tmp_path / "all"))


@pytest.mark.parametrize("scheme", ["file", "pvc"])
@pytest.mark.parametrize(
    "name",
    [
        "chat_template.jinja",
        "tokenizer_config.json",
        "model-00001-of-00002.safetensors",
        "vocab.txt",
        "additional_chat_templates/tool.jinja",
        "special_tokens_map.json",
    ],
)
@pytest.mark.parametrize("make", [environment, relative_link, pipe])
def test_a_models_folder(
    make: Make, name: str, scheme: str, spec: RunSpec, claim: Path, outside: Path
) -> None:
    for each, content in FILES.items():
        (claim / each).write_bytes(content)
    (claim / name).parent.mkdir(exist_ok=True)
    make(claim / name, outside)
    refused = refusal(lambda: cache.find_model(base_of(scheme, claim), None, spec, "model.uri"))
    assert refused.error.param == "model.uri"


def test_a_folder_that_a_library_would_follow(spec: RunSpec, claim: Path, outside: Path) -> None:
    for each, content in FILES.items():
        (claim / each).write_bytes(content)
    (claim / "additional_chat_templates").symlink_to(outside.parent)
    found = cache.find_model(f"file://{claim}", None, spec, "model.uri")
    refusal(lambda: cache.local_folder(found, spec))


@pytest.mark.parametrize("deep", ["", "deeper"])
@pytest.mark.parametrize("scheme", ["file", "pvc"])
@pytest.mark.parametrize("make", REFUSED)
def test_what_lies_in_a_folder_that_a_library_would_follow(
    make: Make, scheme: str, deep: str, spec: RunSpec, claim: Path, outside: Path
) -> None:
    """The folder itself lies where it may."""
    model, planted = claim / "model", claim / "planted" / deep
    model.mkdir()
    for each, content in FILES.items():
        (model / each).write_bytes(content)
    planted.mkdir(parents=True)
    make(planted / "x.jinja", outside)
    (model / "additional_chat_templates").symlink_to("../planted")
    found = cache.find_model(f"{base_of(scheme, claim)}/model", None, spec, "model.uri")
    refused = refusal(lambda: cache.local_folder(found, spec))
    assert "additional_chat_templates" in refused.error.message


def test_folders_that_lead_in_a_circle(spec: RunSpec, claim: Path) -> None:
    for each, content in FILES.items():
        (claim / each).write_bytes(content)
    (claim / "templates").mkdir()
    (claim / "templates" / "all").symlink_to("..")
    (claim / "again").symlink_to("templates")
    found = cache.find_model(f"file://{claim}", None, spec, "model.uri")
    assert cache.local_folder(found, spec) == claim


def test_links_within_are_followed(spec: RunSpec, claim: Path, tmp_path: Path) -> None:
    """As the kubelet makes them in ConfigMaps, and hubs' caches in folders."""
    (claim / "..2026_01").mkdir()
    (claim / "..data").symlink_to("..2026_01")
    (claim / "..2026_01" / "train.jsonl").write_bytes(b"{}\n")
    (claim / "train.jsonl").symlink_to("..data/train.jsonl")
    for scheme in ("file", "pvc", "configmap"):
        uri = f"{base_of(scheme, claim)}/train.jsonl"
        [file] = fetch(uri, spec, tmp_path / scheme).splits["train"]
        assert file.path.read_bytes() == b"{}\n"
    blobs, snapshot = claim / "blobs", claim / "snapshots" / "main"
    blobs.mkdir()
    snapshot.mkdir(parents=True)
    for name, content in FILES.items():
        (blobs / name).write_bytes(content)
        (snapshot / name).symlink_to(f"../../blobs/{name}")
    model = cache.find_model("pvc://shared/snapshots/main", None, spec, "model.uri")
    folder = cache.local_folder(model, spec)
    assert (folder / "config.json").read_bytes() == FILES["config.json"]


@pytest.mark.parametrize("make", OUTWARD)
def test_an_adapter(make: Make, claim: Path, outside: Path, tmp_path: Path) -> None:
    (claim / "adapter_config.json").write_text("{}")
    make(claim / "adapter_model.safetensors", outside)
    store = open_store(f"file://{claim}", S3Access(), "source.adapterUri", [str(claim)])
    refusal(store.entries)
    refusal(lambda: store.download("adapter_model.safetensors", tmp_path / "copy"))
    refusal(lambda: store.read("adapter_model.safetensors"))
    assert not (tmp_path / "copy").exists()


@pytest.mark.parametrize("make", REFUSED)
def test_code_in_a_config_map(make: Make, spec: RunSpec, claim: Path, outside: Path) -> None:
    make(claim / "loss.py", outside)
    code = CodeRef.model_validate(
        {"configMapRef": {"name": "shared", "key": "loss.py"}, "entrypoint": "loss"}
    )
    refusal(lambda: usercode.source_of(code, spec, "training.loss"))


@pytest.fixture
def cached(make_spec: MakeSpec) -> Any:
    """A model in a cache that other pods can write, and how to ask for it again."""
    hub = Hub()
    spec = make_spec(model="hf://own/tiny", hub_endpoint=hub.url)
    yield lambda: cache.local_folder(cache.find(spec), spec)
    hub.close()


def plant_a_template(folder: Path, outside: Path) -> None:
    (folder / "chat_template.jinja").write_text("planted")
    del outside


def plant_a_link(folder: Path, outside: Path) -> None:
    (folder / "config.json").unlink()
    outside.write_text("{}")
    (folder / "config.json").symlink_to(outside)


def plant_a_folder(folder: Path, outside: Path) -> None:
    folder.rename(folder.with_name("moved"))
    folder.symlink_to(outside.parent)


def plant_a_pipe(folder: Path, outside: Path) -> None:
    (folder / "config.json").unlink()
    os.mkfifo(folder / "config.json")
    del outside


@pytest.mark.parametrize("plant", [plant_a_template, plant_a_link, plant_a_folder, plant_a_pipe])
def test_what_was_planted_in_a_cache_is_downloaded_anew(
    plant: Callable[[Path, Path], None], cached: Any, outside: Path
) -> None:
    folder = cached()
    plant(folder, outside)
    again = cached()
    assert again == folder
    names = {name for name in FILES if not name.endswith(".md")}
    assert {path.name: path.read_bytes() for path in again.iterdir()} == {
        name: FILES[name] for name in names
    }
    assert not any(path.is_symlink() for path in (again, *again.iterdir()))


def test_a_lock_leads_nowhere(cached: Any, outside: Path) -> None:
    folder = cached()
    before = outside.read_text()
    lock = folder.with_name(f"{folder.name}.lock")
    lock.unlink()
    lock.symlink_to(outside)
    assert cached() == folder
    assert outside.read_text() == before


def test_what_code_links_to_isnt_published(spec: RunSpec, outside: Path, tmp_path: Path) -> None:
    folder = tmp_path / "artifact"
    (folder / "model").mkdir(parents=True)
    (folder / "model" / "config.json").write_text("{}")
    (folder / "model" / "taken.json").symlink_to(outside)
    (folder / "all").symlink_to(outside.parent)
    store = open_store(f"file://{tmp_path}/output", S3Access(), "output.uri")
    end = RunEnd(revision="r1", attempt=1, outcome="Succeeded")
    publish.publish(store, folder, spec, {}, end, lambda: None)
    assert [e.key for e in store.entries()] == ["manifest.json", "model/config.json"]


def test_a_file_that_may_not_be_read_is_told(
    spec: RunSpec, claim: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (claim / "train.jsonl").write_text("{}\n")

    def denied(*_: object) -> int:  # root may read all
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "open", denied)
    with pytest.raises(TrainerError) as caught:
        fetch(f"file://{claim}/train.jsonl", spec, tmp_path / "data")
    assert caught.value.error.code == "FileDenied"
