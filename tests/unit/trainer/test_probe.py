"""A look at the data of a revision: cheap where nothing moved, exact where something did."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from unit.trainer.hub import DATA, Hub
from unit.trainer.support import (
    MakeSpec,
    Seaweed,
    TrainerProcess,
    colour_rows,
    folder_of,
    spec_maker,
    write_jsonl,
)
from unit.trainer.test_https import Answer, Server, StartServer, start  # noqa: F401

from luthier_api.result import ExitCode, ProbeResult
from luthier_api.retraining import RowChanges
from luthier_api.runspec import ProbeOrder, RunOrder, RunSpec
from luthier_trainer.data import prepare, record, sources
from luthier_trainer.data.hashes import compare, row_hashes
from luthier_trainer.errands.probe import Probe
from luthier_trainer.errors import TrainerError
from luthier_trainer.finetune.run import Run
from luthier_trainer.storage.open import open_store


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A folder of 42 train and 30 test rows, to be changed."""
    folder = tmp_path / "colours"
    write_jsonl(folder / "train.jsonl", colour_rows(42))
    write_jsonl(folder / "test.jsonl", colour_rows(30, offset=1000))
    return folder


@pytest.fixture
def make(tmp_path: Path, data: Path) -> MakeSpec:
    """Runs whose data is looked at, and whose model isn't there."""
    return spec_maker(tmp_path / "no-model", data, tmp_path)


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The URIs whose files are fetched."""
    found: list[str] = []
    fetch = sources.fetch

    def fetching(uri: str, *rest: Any, **more: Any) -> Any:
        found.append(uri)
        return fetch(uri, *rest, **more)

    monkeypatch.setattr(sources, "fetch", fetching)
    return found


def leave(spec: RunSpec, tmp_path: Path) -> str:
    """What a run leaves that was made from the data as it is; returns its digest."""
    examples = prepare.load(spec, tmp_path / "as-it-was")
    record.leave(open_store(spec.output, spec.storage, "output.uri"), examples)
    return examples.digest


def order_of(spec: RunSpec, digest: str | None = None) -> ProbeOrder:
    """The order to look at the data of that run."""
    shared = {name: getattr(spec, name) for name in RunOrder.model_fields}
    return ProbeOrder(
        **{**shared, "role": "probe"}, fine_tuning=spec.fine_tuning, dataset_digest=digest
    )


def look(spec: RunSpec, digest: str | None = None) -> ProbeResult:
    return Probe(order_of(spec, digest)).execute()


def test_data_that_did_not_move_is_not_read(
    make: MakeSpec, tmp_path: Path, read: list[str]
) -> None:
    digest = leave(make(), tmp_path)
    read.clear()
    found = look(make())
    assert (found.outcome, found.changed, found.rows_read) == ("Succeeded", False, False)
    assert (found.dataset_digest, found.rows) == (digest, RowChanges(total=72))
    assert read == []


def test_rows_that_came_went_and_changed_are_counted(
    make: MakeSpec, data: Path, tmp_path: Path
) -> None:
    leave(make(), tmp_path)
    rows = colour_rows(42)[2:] + colour_rows(5, offset=500)  # 2 gone, 5 new …
    rows[0] = {**rows[0], "text": "another text"}  # … and one changed: gone, and new
    write_jsonl(data / "train.jsonl", rows)
    found = look(make())
    assert found.changed
    assert found.rows_read
    assert found.rows == RowChanges(total=75, new=6, gone=3)


def test_a_row_more_of_the_same_counts(make: MakeSpec, data: Path, tmp_path: Path) -> None:
    leave(make(), tmp_path)
    write_jsonl(data / "train.jsonl", colour_rows(42) + colour_rows(1))
    assert look(make()).rows == RowChanges(total=73, new=1)


def test_a_file_written_anew_with_the_same_content_is_read_once(
    make: MakeSpec, data: Path, tmp_path: Path, read: list[str]
) -> None:
    digest = leave(make(), tmp_path)
    os.utime(data / "train.jsonl", ns=(0, 0))
    first = look(make())
    assert (first.changed, first.rows_read, first.dataset_digest) == (False, True, digest)
    read.clear()
    second = look(make())
    assert (second.changed, second.rows_read, second.dataset_digest) == (False, False, digest)
    assert read == []


def test_too_few_new_rows_are_not_read_each_night(
    make: MakeSpec, data: Path, tmp_path: Path, read: list[str]
) -> None:
    leave(make(), tmp_path)
    write_jsonl(data / "train.jsonl", colour_rows(43))
    first = look(make())
    read.clear()
    second = look(make())
    assert read == []
    assert second == first.model_copy(update={"rows_read": False})
    assert second.changed


def test_data_that_was_put_back_is_unchanged(make: MakeSpec, data: Path, tmp_path: Path) -> None:
    leave(make(), tmp_path)
    write_jsonl(data / "train.jsonl", colour_rows(43))
    assert look(make()).changed
    write_jsonl(data / "train.jsonl", colour_rows(42))
    found = look(make())
    assert (found.changed, found.rows) == (False, RowChanges(total=72))


def test_a_file_of_another_split_counts_for_nothing(
    make: MakeSpec, data: Path, tmp_path: Path
) -> None:
    leave(make(), tmp_path)
    write_jsonl(data / "validation.jsonl", colour_rows(9, offset=300))
    assert not look(make()).rows_read


def test_of_a_mix_every_source_is_looked_at(make: MakeSpec, tmp_path: Path) -> None:
    more = tmp_path / "more.jsonl"
    write_jsonl(more, colour_rows(12, offset=700))
    mix = {"mix": [{"uri": f"file://{more}", "weight": 0.5}]}
    leave(make(dataset=mix), tmp_path)
    assert not look(make(dataset=mix)).rows_read
    write_jsonl(more, colour_rows(14, offset=700))
    found = look(make(dataset=mix))
    # Whatever the weights draw, a row of a source is one.
    assert (found.changed, found.rows) == (True, RowChanges(total=86, new=2))


def test_rows_of_expressions_are_those_that_are_counted(
    make: MakeSpec, data: Path, tmp_path: Path
) -> None:
    dataset = {"train": "train[:30]", "eval": "train[30:]"}
    leave(make(dataset=dataset), tmp_path)
    rows = colour_rows(42)
    rows[40] = {"text": "new in eval", "label": "red"}
    write_jsonl(data / "train.jsonl", rows)
    assert look(make(dataset=dataset)).rows == RowChanges(total=72, new=1, gone=1)


def test_a_claim_that_is_mounted(make: MakeSpec, tmp_path: Path, read: list[str]) -> None:
    rows = tmp_path / "claims/corpus/rows.jsonl"
    write_jsonl(rows, colour_rows(20))
    spec = make(
        dataset={"uri": "pvc://corpus/rows.jsonl", "test": None, "evalFraction": 0.2},
        claims_dir=str(tmp_path / "claims"),
    )
    leave(spec, tmp_path)
    read.clear()
    assert not look(spec).rows_read
    assert read == []
    write_jsonl(rows, colour_rows(21))
    assert look(spec).rows == RowChanges(total=21, new=1)


def test_a_config_map_is_compared_by_its_content(make: MakeSpec, tmp_path: Path) -> None:
    """The kubelet writes it anew for every pod."""
    rows = tmp_path / "maps/corpus/rows.jsonl"
    write_jsonl(rows, colour_rows(20))
    spec = make(
        dataset={"uri": "configmap://corpus/rows.jsonl", "test": None, "evalFraction": 0.2},
        config_maps_dir=str(tmp_path / "maps"),
    )
    leave(spec, tmp_path)
    os.utime(rows, ns=(0, 0))
    assert not look(spec).rows_read
    write_jsonl(rows, colour_rows(19))
    assert look(spec).rows == RowChanges(total=19, gone=1)


@pytest.mark.parametrize("key", ["colours", "colours/train.jsonl"], ids=["folder", "file"])
def test_in_s3_etags_tell(
    make: MakeSpec, tmp_path: Path, seaweed: Seaweed, s3: Any, read: list[str], key: str
) -> None:
    def put(rows: list[dict[str, str]]) -> None:
        body = "".join(json.dumps(row) + "\n" for row in rows).encode()
        s3.put_object(Bucket="datasets", Key=f"{name}/colours/train.jsonl", Body=body)

    name = tmp_path.name
    put(colour_rows(20))
    spec = make(
        output=f"s3://artifacts/{name}",
        dataset={"uri": f"s3://datasets/{name}/{key}", "test": None, "evalFraction": 0.2},
        storage=seaweed.access(),
    )
    leave(spec, tmp_path)
    read.clear()
    put(colour_rows(20))  # the same again has the same ETag
    assert not look(spec).rows_read
    assert read == []
    put(colour_rows(23))
    found = look(spec)
    assert (found.changed, found.rows) == (True, RowChanges(total=23, new=3))


def test_on_a_hub_its_listing_tells(
    make: MakeSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub = Hub()
    spec = make(dataset={"uri": "hf://datasets/own/tiny/data", "test": None}, hub_endpoint=hub.url)
    before = prepare.look(spec)
    assert before is not None
    assert set(before) == {f"0/train-0000{n}-of-00002.jsonl" for n in range(2)}
    assert prepare.look(spec) == before
    grown = DATA["data/train-00000-of-00002.jsonl"] * 2
    monkeypatch.setitem(DATA, "data/train-00000-of-00002.jsonl", grown)
    assert prepare.look(spec) != before
    assert hub.downloads() == []
    hub.close()


def test_over_https_the_servers_validators_tell(
    make: MakeSpec,
    tmp_path: Path,
    start: StartServer,  # noqa: F811
) -> None:
    def answer(count: int, **headers: str) -> Answer:
        body = "".join(json.dumps(row) + "\n" for row in colour_rows(count)).encode()
        return Answer(body=body, headers=headers)

    server: Server = start()
    uri = server.put("/rows.jsonl", answer(20, ETag='"one"'))
    spec = make(dataset={"uri": uri, "test": None, "evalFraction": 0.2})
    leave(spec, tmp_path)
    assert not look(spec).rows_read
    server.put("/rows.jsonl", answer(22, ETag='"two"'))
    assert look(spec).rows == RowChanges(total=22, new=2)
    server.put("/rows.jsonl", answer(20))  # one that sends none
    found = look(spec)
    assert (found.changed, found.rows_read) == (False, True)


def test_of_a_revision_that_left_no_record_the_digest_tells(
    make: MakeSpec, data: Path, tmp_path: Path
) -> None:
    digest = prepare.load(make(), tmp_path / "before").digest
    first = look(make(), digest)
    assert (first.changed, first.rows_read, first.rows) == (False, True, None)
    assert not look(make(), digest).rows_read
    write_jsonl(data / "train.jsonl", colour_rows(43))
    assert look(make(), digest).changed


def test_a_revision_whose_data_could_not_be_used_has_any_other(make: MakeSpec) -> None:
    assert look(make()).changed


def test_bad_data_is_told_as_a_run_would(make: MakeSpec, data: Path, tmp_path: Path) -> None:
    leave(make(), tmp_path)
    (data / "train.jsonl").write_text('{"text": "no label"}\n')
    before = sorted(folder_of(make()).rglob("*"))
    with pytest.raises(TrainerError) as caught:
        look(make())
    assert caught.value.exit_code == ExitCode.DATA
    assert caught.value.error.code == "UnknownTemplateField"
    assert sorted(folder_of(make()).rglob("*")) == before


def test_data_that_is_gone(make: MakeSpec, data: Path, tmp_path: Path) -> None:
    leave(make(), tmp_path)
    for file in data.iterdir():
        file.unlink()
    with pytest.raises(TrainerError) as caught:
        look(make())
    assert caught.value.error.code == "DatasetNotFound"


def test_a_record_that_is_broken_is_as_good_as_none(
    make: MakeSpec, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    digest = leave(make(), tmp_path)
    (folder_of(make()) / record.RECORD).write_text("{")
    found = look(make(), digest)
    assert (found.changed, found.rows_read) == (False, True)
    assert "can't be read" in capsys.readouterr().err


def test_a_pod_that_looks_ends_with_its_word(
    make: MakeSpec, data: Path, tmp_path: Path, start_trainer: Callable[..., TrainerProcess]
) -> None:
    leave(make(), tmp_path)
    write_jsonl(data / "train.jsonl", colour_rows(43))
    order: Any = order_of(make())
    trainer = start_trainer(order)
    assert trainer.wait() == 0, trainer.log.read_text()
    told = ProbeResult.read(trainer.result())
    assert (told.outcome, told.changed, told.rows) == (
        "Succeeded",
        True,
        RowChanges(total=73, new=1),
    )


def test_a_run_leaves_what_a_look_needs(make_spec: MakeSpec, read: list[str]) -> None:
    spec = make_spec(training={"maxSteps": 1})
    made = Run(spec).execute()
    read.clear()
    found = look(spec)
    assert (found.changed, found.rows_read, found.rows) == (False, False, RowChanges(total=72))
    assert found.dataset_digest == made.dataset_digest
    assert read == []


def test_of_very_many_rows_a_sample_stands_for_all() -> None:
    random = np.random.default_rng(0)
    before = random.integers(0, 2**64, 200_000, dtype=np.uint64)
    now = np.concatenate([before[30_000:], random.integers(0, 2**64, 50_000, dtype=np.uint64)])
    exact = compare(row_hashes(before), row_hashes(now))
    assert exact == RowChanges(total=220_000, new=50_000, gone=30_000)
    kept = row_hashes(before, most=20_000)
    assert len(kept.kept) <= 20_000
    about = compare(kept, row_hashes(now))
    assert about.total == 220_000
    assert about.new == pytest.approx(50_000, rel=0.05)
    assert about.gone == pytest.approx(30_000, rel=0.05)
    assert compare(kept, kept) == RowChanges(total=200_000)
