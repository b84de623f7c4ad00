"""Names of files as people give them, in every kind of URI: encoded, or as they are where a URI
can hold them; and names that can't become a file's."""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import pytest
from pydantic import TypeAdapter, ValidationError
from unit.trainer import hub as hubs
from unit.trainer.hub import Hub
from unit.trainer.support import MakeSpec, Seaweed

from luthier_api.optimizejob import Optimizing, SourceRef
from luthier_api.runspec import OptimizeOrder, S3Access
from luthier_api.uris import Uri
from luthier_cli.paths import file_uri
from luthier_trainer.data.sources import fetch
from luthier_trainer.errors import TrainerError
from luthier_trainer.models import cache
from luthier_trainer.optimize.fetch import fetch as fetch_source
from luthier_trainer.storage.http import Http
from luthier_trainer.storage.keys import below, problem
from luthier_trainer.storage.objectstore import join
from luthier_trainer.storage.open import open_store

ROWS = b'{"text": "a rose", "label": "red"}\n'
NAMES = [
    "größe.jsonl",
    "two words.jsonl",
    "a+b.jsonl",
    "100%.jsonl",
    "50%25.jsonl",
    "c#sharp.jsonl",
    "who?.jsonl",
    "me@home.jsonl",
    "it's.jsonl",
    "{braces}.jsonl",
    "数据.jsonl",
    "a&b=c;d,e.jsonl",
]
RAW = ["größe.jsonl", "a+b.jsonl", "100%.jsonl", "数据.jsonl", "a&b=c;d,e.jsonl"]
FOLDER = "folder with ä + %"


def both(name: str) -> list[str]:
    """As it stands in a URI."""
    return [quote(name), *([name] if name in RAW else [])]


def rows_of(uri: str, spec: Any, folder: Path) -> bytes:
    TypeAdapter(Uri).validate_python(uri)
    [file] = fetch(uri, spec, folder).splits["train"]
    return file.path.read_bytes()


@pytest.mark.parametrize("name", NAMES)
def test_files_and_claims(name: str, make_spec: MakeSpec, tmp_path: Path) -> None:
    folder = tmp_path / "claims" / "data" / FOLDER
    folder.mkdir(parents=True)
    (folder / name).write_bytes(ROWS)
    spec = make_spec(claims_dir=str(tmp_path / "claims"))
    uris = [file_uri(folder / name)]
    uris += [f"pvc://data/{quote(FOLDER)}/{written}" for written in both(name)]
    for number, uri in enumerate(uris):
        assert rows_of(uri, spec, tmp_path / str(number)) == ROWS


def test_folders_and_models(make_spec: MakeSpec, tmp_path: Path) -> None:
    folder = tmp_path / FOLDER
    (folder).mkdir()
    (folder / "train.jsonl").write_bytes(ROWS)
    for name, content in hubs.FILES.items():
        (folder / name).write_bytes(content)
    spec = make_spec()
    assert rows_of(file_uri(folder), spec, tmp_path / "data") == ROWS
    model = cache.find_model(file_uri(folder), None, spec, "model.uri")
    assert (cache.local_folder(model, spec) / "config.json").read_bytes() == b"{}"


@pytest.mark.parametrize("name", NAMES)
def test_objects(name: str, s3: Any, seaweed: Seaweed, make_spec: MakeSpec, tmp_path: Path) -> None:
    prefix = f"names {tmp_path.name}"
    s3.put_object(Bucket="datasets", Key=f"{prefix}/{name}", Body=ROWS)
    spec = make_spec(storage=seaweed.access().model_dump())
    for number, written in enumerate(both(name)):
        uri = f"s3://datasets/{quote(prefix)}/{written}"
        assert rows_of(uri, spec, tmp_path / str(number)) == ROWS


@pytest.fixture
def hub() -> Iterator[Hub]:
    hub = Hub()
    yield hub
    hub.close()


@pytest.mark.parametrize("name", NAMES)
def test_hubs_and_https(
    name: str, hub: Hub, make_spec: MakeSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(hubs.DATA, f"data/{name}", ROWS)
    answer = hub.answer
    asked: list[str] = []

    def decoded(path: str) -> tuple[int, str, bytes]:
        asked.append(path)
        key = unquote(path.partition(f"/resolve/{hubs.COMMIT}/")[2])
        return (200, "", hubs.DATA[key]) if key else answer(path)

    monkeypatch.setattr(hub, "answer", decoded)
    spec = make_spec(hub_endpoint=hub.url)
    for number, written in enumerate(both(name)):
        uri = f"hf://own/tiny/data/{written}"
        assert rows_of(uri, spec, tmp_path / str(number)) == ROWS
        url = f"{hub.url}/datasets/own/tiny/resolve/{hubs.COMMIT}/data/{written}"
        Http(0).download(url, tmp_path / f"http-{number}")
        assert (tmp_path / f"http-{number}").read_bytes() == ROWS
    assert all(path.isascii() for path in asked)


def test_a_path_of_this_machine_has_a_uri(
    tmp_path: Path, make_spec: MakeSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b c.jsonl").write_bytes(ROWS)
    monkeypatch.chdir(tmp_path / "a")
    assert rows_of(file_uri(Path("../b c.jsonl")), make_spec(), tmp_path / "data") == ROWS


def test_the_uri_of_an_object_names_it(tmp_path: Path) -> None:
    store = open_store(file_uri(tmp_path / FOLDER), S3Access(), "output.uri")
    for name in NAMES:
        store.write(f"a/{name}", b"1")
        store.copy(f"b/{name}", join(store.uri, f"a/{name}"))
    assert [entry.key for entry in store.entries("b/")] == sorted(f"b/{name}" for name in NAMES)


@pytest.mark.parametrize(
    ("uri", "words"),
    [
        ("HuggingFaceTB/SmolLM2-135M", "hf://OWNER/NAME"),
        ("s3://data/two words.jsonl", "%20"),
        ("s3://data/c#.jsonl", "%23"),
    ],
)
def test_what_a_uri_cant_hold_has_its_remedy(uri: str, words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        TypeAdapter(Uri).validate_python(uri)


UNSAFE = [
    "",
    "/etc/passwd",
    "data//train.jsonl",
    "../up.jsonl",
    "data/../../up.jsonl",
    "data/./x.jsonl",
    "data/",
    "back\\slash.jsonl",
    "nul\0.jsonl",
    "line\nbreak.jsonl",
    "\ud800.jsonl",
    f"{'x' * 300}.jsonl",
    "x/" * 600 + "x",
]


@pytest.mark.parametrize("key", UNSAFE)
def test_names_that_cant_become_a_files(key: str, tmp_path: Path) -> None:
    assert problem(key)
    with pytest.raises(TrainerError) as caught:
        below(tmp_path, key)
    assert caught.value.error.code == "UnsafeKey"
    caught.value.error.message.encode()


@pytest.mark.parametrize("key", [key for key in UNSAFE if key.endswith(".jsonl")])
def test_a_hub_that_lists_them(
    key: str, hub: Hub, make_spec: MakeSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(hubs.DATA, key, ROWS)
    spec = make_spec(hub_endpoint=hub.url)
    found = fetch("hf://own/tiny/data", spec, tmp_path / "data")
    names = [file.name for files in found.splits.values() for file in files]
    assert names
    assert not any("up" in name or "passwd" in name for name in names)


@pytest.mark.parametrize("key", ["model/../../up.json", "model//etc/x.json", "model/a\\b.json"])
def test_a_manifest_that_names_them(key: str, tmp_path: Path, make_spec: MakeSpec) -> None:

    spec = make_spec()
    output = tmp_path / "artifact"
    output.mkdir()
    data = json.dumps(
        {
            "files": {key: {"sha256": hashlib.sha256(b"x").hexdigest(), "bytes": 1}},
            "spec": spec.fine_tuning.to_json(),
            "baseModel": {"digest": "sha256:0"},
            "datasetDigest": "sha256:1",
        }
    ).encode()
    (output / "manifest.json").write_bytes(data)
    source = SourceRef(uri=f"file://{output}", manifest_sha256=hashlib.sha256(data).hexdigest())
    common = {
        name: getattr(spec, name)
        for name in ("shape_hash", "output", "cache_dir", "scratch_dir", "file_roots")
    }
    order = OptimizeOrder(
        run=spec.run.model_copy(update={"kind": "OptimizeJob"}),
        optimizing=Optimizing(),
        source=source,
        **common,
    )
    with pytest.raises(TrainerError) as caught:
        fetch_source(order, tmp_path / "fetched")
    assert caught.value.error.code == "UnsafeKey"
    assert not (tmp_path / "up.json").exists()
