"""Storage as this version and every earlier one left it is read by today's trainer."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from contract.golden_documents import GOLDEN, KINDS, STORAGE, version
from contract.golden_storage import (
    DIGEST,
    STEP,
    fit,
    shape_of_checkpoint,
    write_checkpoints,
    write_outputs,
)
from contract.test_golden import VERSIONS, lacking

from luthier_api.finetuning import FineTuning
from luthier_api.meta import Model
from luthier_api.optimizejob import SourceRef
from luthier_api.readable import readable_part
from luthier_api.runspec import (
    AdapterOrder,
    BundleOrder,
    OptimizeOrder,
    RunSpec,
    read_order,
)
from luthier_trainer.bundle.fetch import fetch, fetch_ask, locate
from luthier_trainer.bundle.index import Index
from luthier_trainer.bundle.previous import read_previous
from luthier_trainer.data import record
from luthier_trainer.optimize import fetch as optimize_fetch
from luthier_trainer.optimize.run import artifact_of
from luthier_trainer.pod.attempts import AttemptRecord, Attempts
from luthier_trainer.pod.claim import Claim, read_claim, take_claim
from luthier_trainer.pod.finished import finished
from luthier_trainer.published.ask import Ask
from luthier_trainer.storage.filestore import FileStore
from luthier_trainer.training import checkpoint
from luthier_trainer.training.checkpointfolder import complete_steps, step_folder

OF_ALL = [(of, kind) for of in VERSIONS for kind in KINDS]
Order = RunSpec | OptimizeOrder | BundleOrder


@pytest.fixture
def output(of: str, kind: str, tmp_path: Path) -> Path:
    """A copy: readers may write."""
    return Path(shutil.copytree(GOLDEN / of / STORAGE / kind, tmp_path / "output"))


@pytest.fixture
def order(of: str, kind: str, output: Path) -> Order:
    """The order that the output was made by, found there again."""
    found = read_order((GOLDEN / of / kind / "order.json").read_bytes())
    return found.model_copy(update={"output": f"file://{output}"})


def document(output: Path, name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((output / name).read_text())
    return found


# What is written.


def test_this_version_writes_what_lies_there(tmp_path: Path) -> None:
    write_outputs(tmp_path)
    there = GOLDEN / version() / STORAGE
    remedy = "what is written has changed: see test_golden.py"
    mine, theirs = (
        {
            path.relative_to(root).as_posix(): path
            for path in root.rglob("*")
            # Of a checkpoint weights and digests are another with each torch.
            if path.is_file() and "checkpoints" not in path.parts
        }
        for root in (tmp_path, there)
    )
    assert mine.keys() == theirs.keys(), remedy
    for name, path in mine.items():
        assert path.read_text() == theirs[name].read_text(), (name, remedy)


def test_this_version_writes_a_checkpoint_as_it_lies_there(tmp_path: Path) -> None:
    write_checkpoints(tmp_path / "FineTuneJob")
    there = GOLDEN / version() / STORAGE
    for root in (tmp_path, there):
        folder = root / "FineTuneJob" / step_folder(STEP)
        named = {file["name"] for file in document(folder, "manifest.json")["files"].values()}
        assert {path.name for path in folder.iterdir()} == {"manifest.json", *named}
    assert shape_of_checkpoint(tmp_path) == shape_of_checkpoint(there) != []


# How it is read.


@pytest.mark.parametrize(("of", "kind"), OF_ALL)
def test_a_claim_is_the_runs_own(of: str, kind: str, output: Path, order: Order) -> None:
    store = FileStore(output)
    claim = read_claim(store)
    assert claim
    assert read_whole(Claim, document(output, "claim.json"))
    assert claim.began
    base = "sha256:base" if kind == "FineTuneJob" else None
    assert claim.base == base
    assert take_claim(store, order, DIGEST, Attempts(store, order.run), base) == claim


@pytest.mark.parametrize(("of", "kind"), [it for it in OF_ALL if it[1] == "FineTuneJob"])
def test_a_look_at_the_data_compares_with_it(of: str, kind: str, output: Path) -> None:
    store = FileStore(output)
    left = record.left(store)
    assert left
    assert read_whole(record.DataRecord, document(output, record.RECORD))
    assert (left.digest, left.validators) == (DIGEST, {"0/train.jsonl": "70 etag"})
    rows = record.left_rows(store, left)
    assert rows
    assert (rows.total, rows.kept.tolist()) == (7, list(range(7)))


@pytest.mark.parametrize(("of", "kind"), OF_ALL)
def test_the_pods_before_are_known(of: str, kind: str, output: Path, order: Order) -> None:
    attempts = Attempts(FileStore(output), order.run)
    assert [it.outcome for it in attempts.earlier] == ["Interrupted", "Succeeded"]
    assert attempts.own.ordinal == 3
    assert (attempts.restarts.failures, attempts.restarts.disruptions) == (0, 1)
    assert (attempts.usage.cpu_seconds, attempts.usage.trained_tokens) == (3.5, 7)
    for path in (output / "attempts").iterdir():
        assert read_whole(AttemptRecord, json.loads(path.read_text()))


@pytest.mark.parametrize(("of", "kind"), OF_ALL)
def test_a_finished_output_gives_its_result_again(
    of: str, kind: str, output: Path, order: Order
) -> None:
    store = FileStore(output)
    found = finished(store, order)
    assert found
    manifest, artifact = found
    assert artifact.uri == order.output
    result = readable_part(KINDS[kind]["result"], manifest["result"])
    assert lacking(result.to_json(), manifest["result"]) == []
    # As one of another resource, which was ordered the same, it needs all that the claim says.
    stranger = order.model_copy(update={"run": order.run.model_copy(update={"uid": "other"})})
    base = "sha256:base" if kind == "FineTuneJob" else None
    assert finished(store, stranger, DIGEST, base)
    assert finished(store, stranger) is None
    if kind == "OptimizeJob":
        assert artifact_of(*found).precision == "int8"


@pytest.mark.parametrize(("of", "kind"), [(of, "FineTuneJob") for of in VERSIONS])
def test_others_take_a_tuned_model(of: str, kind: str, output: Path, tmp_path: Path) -> None:
    manifest = document(output, "manifest.json")
    assert read_whole(FineTuning, manifest["spec"])
    found = finished(
        FileStore(output), read_order((GOLDEN / of / kind / "order.json").read_bytes())
    )
    assert found
    sha256 = found[1].manifest_sha256
    source = SourceRef(uri=f"file://{output}", manifest_sha256=sha256)

    optimizing = read_order((GOLDEN / of / "OptimizeJob" / "order.json").read_bytes())
    assert isinstance(optimizing, OptimizeOrder)
    optimizing = optimizing.model_copy(
        update={
            "source": source,
            "optimizing": optimizing.optimizing.model_copy(update={"adapter": "Merge"}),
        }
    )
    fetched = optimize_fetch.fetch(optimizing, tmp_path / "fetched")
    assert (fetched.method, fetched.custom_code) == ("full", True)
    assert fetched.tuning
    assert fetched.began
    assert (fetched.model / "config.json").read_text() == "model/config.json\n"

    bundling = read_order((GOLDEN / of / "AdapterBundle" / "order.json").read_bytes())
    adapter = AdapterOrder(name="tone", source=source)
    located = locate(adapter, bundling.model_copy(update={"file_roots": [str(output)]}), "x")
    assert (located.base_digest, located.custom_code) == ("sha256:base", True)
    assert fetch(located, tmp_path).keys() == located.digests.keys()  # type: ignore[union-attr]
    asked = fetch_ask(located)
    assert asked
    assert read_whole(Ask, document(output, "adapter/ask.json"))


@pytest.mark.parametrize(("of", "kind"), [(of, "AdapterBundle") for of in VERSIONS])
def test_the_next_package_takes_what_is_the_same(
    of: str, kind: str, output: Path, order: Order
) -> None:
    previous = read_previous(order.output, order)
    assert previous
    base, adapter, failed = (
        previous.base("base-key"),
        previous.adapter("adapter-key"),
        previous.failed("failed-key"),
    )
    assert base
    assert adapter
    assert adapter.ask
    assert failed
    assert failed.proof
    assert read_whole(Index, document(output, "index.json"))


@pytest.mark.parametrize(("of", "kind"), [(of, "FineTuneJob") for of in VERSIONS])
def test_a_training_goes_on_from_its_checkpoint(of: str, kind: str, output: Path) -> None:
    run = fit(output.parent / "run")
    shutil.copytree(output / "checkpoints", run.folder / "store" / "checkpoints")
    found = checkpoint.read_latest(run.store, run.folder)
    assert found
    snapshot, _ = found
    assert (complete_steps(run.store)[-1], snapshot.step) == (STEP, STEP)
    outcome = run()
    steps = [entry["step"] for entry in outcome.journal.entries if "loss" in entry]
    assert steps[-1] == 6
    # What was logged before is in the journal once, and nothing is done again.
    assert sorted(set(steps)) == steps
    anew = fit(output.parent / "anew")
    anew()
    # Another torch rounds otherwise, or it were bit by bit.
    torch.testing.assert_close(run.weights, anew.weights, rtol=1e-2, atol=1e-3)


def read_whole(model: type[Model], written: dict[str, Any]) -> bool:
    return lacking(model.read(written).to_json(), written) == []
