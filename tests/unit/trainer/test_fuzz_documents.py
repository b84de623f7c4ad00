"""Whatever lies where a document of ours should: it is used, or refused by an error of ours."""

import contextlib
import hashlib
import json
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from unit.trainer.strange_json import FEW, documents
from unit.trainer.support import spec_maker

from luthier_api.optimizejob import Optimizing, SourceRef
from luthier_api.runspec import AdapterOrder, OptimizeOrder
from luthier_trainer import main
from luthier_trainer.bundle import fetch as bundle_fetch
from luthier_trainer.bundle.previous import read_previous
from luthier_trainer.documents import DocumentError, parse
from luthier_trainer.errors import TrainerError
from luthier_trainer.optimize.fetch import fetch
from luthier_trainer.optimize.packagecache import PackageCache
from luthier_trainer.packages.genai.unfit import UnfitError
from luthier_trainer.pod import publish
from luthier_trainer.pod.attempts import Attempts
from luthier_trainer.pod.claim import read_claim
from luthier_trainer.pod.finished import finished
from luthier_trainer.storage.filestore import FileStore
from luthier_trainer.storage.http import Http, HttpError
from luthier_trainer.storage.hub import HubStore
from luthier_trainer.storage.keys import below, problem

PLACE = Path("/nonexistent/luthier")
SPEC = spec_maker(PLACE / "model", PLACE / "data", PLACE)()
DIGEST = "sha256:" + "0" * 64
MANIFEST: dict[str, Any] = {
    "apiVersion": "luthier.dev/v1alpha1",
    "run": SPEC.run.to_json(),
    "shapeHash": SPEC.shape_hash,
    "spec": SPEC.fine_tuning.to_json(),
    "baseModel": {"uri": "s3://models/x", "digest": DIGEST, "revision": None, "licence": "mit"},
    "datasetDigest": DIGEST,
    "files": {"adapter/adapter_config.json": {"sha256": "0" * 64, "bytes": 3}},
    "result": {"revision": "r1", "attempt": 1, "outcome": "Succeeded"},
}
CLAIM = {
    "kind": "FineTuneJob",
    "uid": "uid-1",
    "namespace": "team-a",
    "name": "colours",
    "shapeHash": "0" * 64,
    "datasetDigest": DIGEST,
}
ATTEMPT = {"uid": "uid-1", "pod": "p", "attempt": 1, "ordinal": 1, "startedAt": "2026-01-01"}
INDEX = {
    "format": 1,
    "base": {
        "key": "k",
        "uri": "s3://models/x",
        "digest": DIGEST,
        "architecture": "llama",
        "precision": "int8",
        "device": "cpu",
        "targetModules": ["q_proj"],
        "files": {"model/model.onnx": {"sha256": "0" * 64, "bytes": 1}},
    },
    "adapters": [],
    "leftOut": [],
    "versions": {},
}
CARD = {
    "sha": "0" * 40,
    "siblings": [{"rfilename": "config.json", "size": 2, "blobId": "x", "lfs": None}],
    "cardData": {"license": "mit"},
}


@contextlib.contextmanager
def folder(**files: bytes) -> Iterator[Path]:
    """Not tmp_path: it is one for all examples."""
    place = Path(tempfile.mkdtemp(prefix="luthier-fuzz-"))
    try:
        for name, data in files.items():
            path = place / name.replace("__", "/").replace("_json", ".json")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        yield place
    finally:
        shutil.rmtree(place)


def survives(call: Callable[[], Any]) -> None:
    """An error of ours is as good as none."""
    with contextlib.suppress(TrainerError, UnfitError):
        call()


@FEW
@given(documents(MANIFEST))
def test_a_document(data: bytes) -> None:
    with contextlib.suppress(DocumentError):
        json.dumps(parse(data), allow_nan=False)


@FEW
@given(documents(SPEC.to_json()))
def test_a_run_spec(data: bytes) -> None:
    with folder(order_json=data) as place:
        survives(lambda: main._read(place / "order.json"))


@FEW
@given(documents(MANIFEST), documents(CLAIM))
def test_an_output_of_before(manifest: bytes, claim: bytes) -> None:
    with folder(manifest_json=manifest, claim_json=claim) as place:
        store = FileStore(place)
        survives(lambda: publish.read_published(store))
        survives(lambda: read_claim(store))
        survives(lambda: finished(store, SPEC, DIGEST))


@FEW
@given(documents(ATTEMPT))
def test_a_record_of_an_attempt(data: bytes) -> None:
    with folder(attempts__a_json=data) as place:
        survives(lambda: Attempts(FileStore(place), SPEC.run).restarts)


@FEW
@given(documents(MANIFEST))
def test_the_manifest_of_what_is_optimised(data: bytes) -> None:
    with folder(manifest_json=data) as place:
        source = SourceRef(uri=f"file://{place}", manifest_sha256=hashlib.sha256(data).hexdigest())
        order = OptimizeOrder(
            run=SPEC.run.model_copy(update={"kind": "OptimizeJob"}),
            optimizing=Optimizing(),
            source=source,
            shape_hash=SPEC.shape_hash,
            output=f"file://{place}/output",
            file_roots=["/"],
        )
        survives(lambda: fetch(order, place / "fetched"))


@FEW
@given(documents(MANIFEST))
def test_the_manifest_of_an_adapter(data: bytes) -> None:
    with folder(manifest_json=data) as place:
        adapter = AdapterOrder(name="a", source=SourceRef(uri=f"file://{place}"))

        def read() -> None:
            located = bundle_fetch.locate(adapter, SPEC, "adapters")
            assert located.base_digest is None or isinstance(located.base_digest, str)

        survives(read)


@FEW
@given(documents(INDEX))
def test_the_index_of_the_package_before(data: bytes) -> None:
    sha256 = hashlib.sha256(data).hexdigest()
    manifest = json.dumps({"files": {"index.json": {"sha256": sha256}}}).encode()
    with folder(manifest_json=manifest, index_json=data) as place:
        found = read_previous(f"file://{place}", SPEC)
        if found:
            assert found.base("another key") is None


@FEW
@given(documents({"files": {"model.onnx": {"sha256": "0" * 64, "bytes": 1}}}))
def test_the_listing_of_a_package(data: bytes) -> None:
    with folder(cache__key__package_json=data, cache__key__measured_x_json=data) as place:
        cache = PackageCache(FileStore(place / "cache"), "uid")
        cache.measured("key", "x")
        assert not cache.fetch("key", place / "fetched") or cache.listing("key") == {}


class Answering(Http):
    """A hub's answer, as JSON has it."""

    answer: Any = None

    def json(self, url: str) -> Any:
        del url
        if self.answer is None:
            raise HttpError(404, "")
        return self.answer


@FEW
@given(documents(CARD))
def test_the_answer_of_a_hub(data: bytes) -> None:
    try:
        answer = json.loads(data)
    except (ValueError, RecursionError):
        return  # told by Http itself
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("luthier_trainer.storage.hub.Http", Answering)
        patch.setattr(Answering, "answer", answer)

        def read() -> None:
            store = HubStore("hf://a/b", "models", None, "http://127.0.0.1:9", 0, "model.uri")
            for entry in store.entries():
                assert problem(entry.key) is None
                assert entry.size >= 0
            assert store.identity.isascii()

        survives(read)


@FEW
@given(
    st.text(max_size=60)
    | st.lists(st.sampled_from(["..", ".", "", "a", "\\", "\0", "\ud800", "x" * 300])).map("/".join)
)
def test_keys_stay_below_their_folder(key: str) -> None:
    base = Path("/base/folder")
    try:
        path = below(base, key)
    except TrainerError as error:
        error.error.message.encode()
    else:
        assert path.is_relative_to(base)
        assert path != base
        assert ".." not in path.parts


@FEW
@given(st.text(max_size=80).map("s3://".__add__) | st.text(max_size=80))
def test_uris(uri: str) -> None:
    from luthier_trainer.storage.uri import last_part, shown, split, url_encoded

    for part in (*split(uri), *last_part(uri), shown(uri)):
        assert isinstance(part, str)
    assert url_encoded(uri.encode(errors="replace").decode()).isascii()
