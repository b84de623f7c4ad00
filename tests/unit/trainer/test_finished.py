"""Whose result an output is that is finished already: the same rule for every kind."""

from pathlib import Path

import pytest
from unit.trainer import bundle_support, optimize_support
from unit.trainer.support import spec_maker

from luthier_api.result import RunEnd
from luthier_api.runspec import RunOrder
from luthier_api.runstatus import Usage
from luthier_trainer.errors import TrainerError
from luthier_trainer.pod.attempts import Attempts
from luthier_trainer.pod.claim import take_claim
from luthier_trainer.pod.finished import finished
from luthier_trainer.pod.publish import publish
from luthier_trainer.storage.filestore import FileStore

DIGEST = "sha256:sources"
KINDS = ("FineTuneJob", "OptimizeJob", "AdapterBundle")


def make_order(kind: str, place: Path) -> RunOrder:
    """Of that kind; its sources are nowhere."""
    if kind == "FineTuneJob":
        return spec_maker(place / "model", place / "data", place)()
    if kind == "AdapterBundle":
        return bundle_support.order_maker(place / "base", place)({"plain": place / "plain"})
    place.joinpath("manifest.json").write_text("{}")
    return optimize_support.order_maker(place, place)()


@pytest.fixture(params=KINDS)
def order(request: pytest.FixtureRequest, tmp_path: Path) -> RunOrder:
    return make_order(request.param, tmp_path)


@pytest.fixture
def store(tmp_path: Path) -> FileStore:
    return FileStore(tmp_path / "store")


def claim(store: FileStore, order: RunOrder, digest: str = DIGEST) -> Attempts:
    attempts = Attempts(store, order.run)
    take_claim(store, order, digest, attempts)
    return attempts


@pytest.fixture
def uri(store: FileStore, order: RunOrder, tmp_path: Path) -> str:
    """Where the order's run has published."""
    attempts = claim(store, order)
    attempts.begin(0)
    end = RunEnd(revision=order.run.revision, attempt=1, outcome="Succeeded")
    artifact = publish(store, tmp_path / "nothing", order, {}, end, attempts.fence)
    attempts.end("Succeeded", None, Usage())
    return artifact.uri


def by_another(order: RunOrder) -> RunOrder:
    return order.model_copy(update={"run": order.run.model_copy(update={"uid": "uid-2"})})


def test_nothing_is_published(store: FileStore, order: RunOrder) -> None:
    claim(store, order)
    assert finished(store, order) is None
    assert finished(store, order, DIGEST) is None
    assert finished(store, by_another(order), DIGEST) is None


def test_a_resource_gets_its_own_before_it_reads_anything(
    store: FileStore, order: RunOrder, uri: str
) -> None:
    found = finished(store, order)
    assert found
    manifest, artifact = found
    own = order.run.to_json()
    # The uid is the cluster's own business: whoever reads an artifact isn't to know it.
    del own["uid"]
    assert manifest["run"] == own
    assert artifact.uri == uri


def test_another_gets_it_once_it_has_read_the_same_sources(
    store: FileStore, order: RunOrder, uri: str
) -> None:
    other = by_another(order)
    assert finished(store, other) is None
    found = finished(store, other, DIGEST)
    assert found
    assert found[1].uri == uri


def test_another_with_other_sources_gets_nothing(
    store: FileStore, order: RunOrder, uri: str
) -> None:
    other = by_another(order)
    assert finished(store, other, "sha256:others") is None
    with pytest.raises(TrainerError) as caught:
        claim(store, other, "sha256:others")
    # What its namesake made stays; the operator opens a revision that is free.
    changed = "RevisionTaken" if order.run.kind == "FineTuneJob" else "SourceChanged"
    assert caught.value.error.code == changed


def test_another_of_another_shape_gets_nothing(store: FileStore, order: RunOrder, uri: str) -> None:
    other = by_another(order).model_copy(update={"shape_hash": "f" * 64})
    assert finished(store, other, DIGEST) is None


def test_what_nobody_claims_is_nobodys(store: FileStore, order: RunOrder, uri: str) -> None:
    (Path(uri.removeprefix("file://")) / "claim.json").unlink()
    assert finished(store, order, DIGEST) is None
