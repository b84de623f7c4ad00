"""The parts of a search: values of trials, rungs, records that workers share, what is told."""

import json
import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from unit.trainer.support import MakeSpec, Seaweed

from luthier_api.finetuning import FineTuning
from luthier_api.progress import MAX_REPORT_BYTES
from luthier_api.runspec import RunIdentity, S3Access
from luthier_api.search import Prune, Search
from luthier_trainer.errors import Superseded
from luthier_trainer.pages.importance import importance
from luthier_trainer.pod.attempts import Attempts
from luthier_trainer.search import asha, standing
from luthier_trainer.search.records import Holder, Record, Records, Take
from luthier_trainer.search.result import page as search_page
from luthier_trainer.search.run import SearchRun
from luthier_trainer.search.shared import Shared
from luthier_trainer.search.strategies import settings_of, uniform
from luthier_trainer.search.trial import Trial
from luthier_trainer.search.worker import Worker
from luthier_trainer.storage.filestore import FileStore
from luthier_trainer.storage.objectstore import ObjectStore
from luthier_trainer.storage.open import open_store
from luthier_trainer.storage.s3 import S3Store

SPACE: dict[str, Any] = {
    "learningRate": {"type": "float", "low": 1e-6, "high": 1e-3, "log": True},
    "lora.rank": {"type": "int", "low": 8, "high": 64, "step": 8},
    "maxLength": {"type": "int", "low": 8, "high": 512, "log": True},
    "perDeviceBatchSize": {"type": "choice", "values": [8, 16, 32]},
    "weightDecay": {"type": "float", "low": 0, "high": 0.3, "step": 0.1},
    "method.type": {"type": "choice", "names": ["lora", "ia3"]},
}


def search(**fields: Any) -> Search:
    document = {"objective": {"metric": "accuracy"}, "space": SPACE, "seed": 7, **fields}
    return Search.model_validate(document)


def tuning(of: Search) -> FineTuning:
    document = {
        "model": {"uri": "s3://models/smollm2"},
        "task": "classification",
        "dataset": {"uri": "s3://data/a.jsonl", "template": "{text}: {label}", "evalFraction": 0.1},
        "training": {"maxSteps": 100},
        "search": of.to_json(),
    }
    return FineTuning.model_validate(document)


def record(number: int, value: float | None = None, state: str = "Complete", **more: Any) -> Record:
    settings = more.pop("settings", {"learningRate": 10.0 ** -(3 + number % 4)})
    fields = {
        "number": number,
        "settings": settings,
        "held_by": Holder(uid="uid-1", attempt=1, worker=0),
        "started": "2026-01-02T03:04:05",
        "ended": None if state == "Running" else f"2026-01-02T03:04:{number:02}",
        "state": state,
        "value": value,
        **more,
    }
    return Record.model_validate(fields)


# A changed value here makes another search of every spec that has one.
RANDOM: list[dict[str, Any]] = [
    {
        "learningRate": 0.00028306,
        "lora.rank": 64,
        "maxLength": 15,
        "method.type": "ia3",
        "perDeviceBatchSize": 16,
        "weightDecay": 0.3,
    },
    {
        "learningRate": 0.000245057,
        "lora.rank": 24,
        "maxLength": 466,
        "method.type": "ia3",
        "perDeviceBatchSize": 16,
        "weightDecay": 0.0,
    },
    {
        "learningRate": 1.1914e-05,
        "lora.rank": 32,
        "maxLength": 96,
        "method.type": "ia3",
        "perDeviceBatchSize": 16,
        "weightDecay": 0.0,
    },
]
GRID = ["16 ia3", "8 lora", "16 lora", "24 lora", "32 ia3", "24 ia3"]


def test_random_values_are_the_same_on_every_machine() -> None:
    assert [settings_of(search(), number, []) for number in range(3)] == RANDOM


def test_a_grids_order_is_the_same_on_every_machine() -> None:
    space = {name: SPACE[name] for name in ("lora.rank", "method.type")}
    grid = search(strategy="grid", space=space)
    found = [settings_of(grid, number, []) for number in range(16)]
    told = [f"{it['lora.rank']:g} {it['method.type']}" for it in found]
    assert told[:6] == GRID
    assert len({*told}) == 16


def test_random_values_are_in_their_ranges_and_fill_them() -> None:
    found = [settings_of(search(seed=1), number, []) for number in range(300)]
    assert {it["lora.rank"] for it in found} == {*range(8, 65, 8)}
    assert {it["perDeviceBatchSize"] for it in found} == {8, 16, 32}
    assert {it["weightDecay"] for it in found} == {0, 0.1, 0.2, 0.3}
    assert {it["method.type"] for it in found} == {"lora", "ia3"}
    rates = [float(it["learningRate"]) for it in found]
    assert 1e-6 <= min(rates) < 2e-6
    assert 5e-4 < max(rates) <= 1e-3
    assert 0.4 < sum(rate < 10**-4.5 for rate in rates) / 300 < 0.6
    lengths = [it["maxLength"] for it in found]
    assert all(isinstance(it, int) and 8 <= it <= 512 for it in lengths)
    assert min(lengths) < 12
    assert 0 <= uniform(0, 0, "") < 1


def test_tpe_begins_by_chance_and_then_goes_where_the_best_trials_were() -> None:
    space = {"learningRate": SPACE["learningRate"]}
    tpe, chance = search(strategy="tpe", space=space), search(space=space)
    known: list[Record] = []
    for number in range(30):
        settings = settings_of(tpe, number, known)
        if number < 10:
            assert settings == settings_of(chance, number, [])
        assert settings == settings_of(tpe, number, known), "asked again, it is the same"
        distance = abs(math.log10(float(settings["learningRate"])) + 4.5)
        known.append(record(number, -distance, settings=settings))
    near = [it for it in known[10:] if (it.value or 0.0) > -0.5]
    assert len(near) > 10


def test_tpe_knows_of_failed_pruned_and_running_trials_and_of_other_types() -> None:
    tpe = search(strategy="tpe")
    known = [record(n, n / 10, settings=settings_of(tpe, n, [])) for n in range(12)]
    known[0] = record(0, None, "Failed", settings=known[0].settings)
    known[1] = record(1, 0.1, "Pruned", settings=known[1].settings)
    known.append(record(12, None, "Running", settings=known[2].settings))
    found = settings_of(tpe, 13, known)
    assert found.keys() == SPACE.keys()
    assert found["lora.rank"] in range(8, 65, 8)


RUNGS = Prune(reduction=3, min_steps=20)


def test_the_rungs_are_the_first_steps_times_powers_of_the_reduction() -> None:
    assert asha.rung_at(RUNGS, 19, []) is None
    assert asha.rung_at(RUNGS, 20, []) == 20
    assert asha.rung_at(RUNGS, 59, [20]) is None
    assert asha.rung_at(RUNGS, 65, [20]) == 60
    assert asha.rung_at(RUNGS, 200, []) == 180


def test_the_best_third_of_a_rung_goes_on_and_nobody_waits() -> None:
    def goes_on(value: float, *others: float) -> bool:
        return asha.goes_on(value, others, RUNGS, maximize=True)

    assert goes_on(0.1)
    assert goes_on(0.5, 0.4)
    assert goes_on(0.5, 0.5)
    assert not goes_on(0.4, 0.5)
    assert goes_on(0.8, 0.9, 0.1, 0.2, 0.3, 0.4)
    assert not goes_on(0.8, 0.9, 0.85, 0.2, 0.3, 0.4)
    assert not goes_on(math.nan)
    assert asha.goes_on(0.1, [0.2, 0.3], RUNGS, maximize=False)
    assert asha.at_rung([{20: 0.1}, {60: 0.2}, {20: 0.3}], 20) == [0.1, 0.3]


def test_the_best_is_a_trial_that_went_to_its_end() -> None:
    known = [record(0, 0.5), record(1, 0.9, "Pruned"), record(2, 0.7), record(3, 0.7)]
    best = standing.best_of(search(), known)
    assert best is not None
    assert best.number == 2
    lowest = search(objective={"metric": "eval_loss", "direction": "minimize"})
    best = standing.best_of(lowest, known)
    assert best is not None
    assert best.number == 0
    assert standing.best_of(search(), known[1:2]) is None


def test_a_search_stops_after_trials_without_gain() -> None:
    patient = search(stopAfter={"trialsWithoutGain": 2})
    known = [record(0, 0.5), record(1, 0.4), record(2, 0.6), record(3, 0.6)]
    assert standing.stopped(patient, known) is None
    assert standing.stopped(search(), known) is None
    told = standing.stopped(patient, [*known, record(4, 0.1, "Pruned")])
    assert told == "no gain in 2 trials (stopAfter.trialsWithoutGain)"


def test_what_is_told_fits_in_a_report_whatever_there_is() -> None:
    long = {f"{name}": "x" * 64 for name in SPACE}
    known = [record(n, n / 1000, settings=long, error="e" * 1000) for n in range(500)]
    status = standing.status_of(tuning(search(trials=500)), known)
    assert len(json.dumps(status.to_json())) < MAX_REPORT_BYTES / 2
    numbers = [it.number for it in status.table]
    assert numbers == sorted(numbers)
    assert status.best is not None
    assert status.best.number == 499
    assert 499 in numbers
    assert 1 < len(numbers) <= 50
    assert (status.trials, status.complete, status.running) == (500, 500, 0)


def test_the_table_shows_no_values_that_the_method_has_not() -> None:
    settings = {"method.type": "ia3", "lora.rank": 8, "learningRate": 1.5e-05}
    trial = standing.trial_of(tuning(search()), record(0, 0.5, settings=settings))
    assert trial.settings == {"method.type": "ia3", "learningRate": "1.5e-05"}


def test_importance_is_the_share_of_differences_that_a_setting_tells() -> None:
    settings = [{"a": n % 2, "b": (n * 7) % 5, "c": n / 40} for n in range(40)]
    values = [1.0 * it["a"] + 0.01 * it["b"] for it in settings]
    found = importance(values, settings)
    assert next(iter(found)) == "a"
    assert found["a"] > 0.9
    assert found["c"] < 0.1
    assert importance([0.5] * 40, settings) == {"a": 0, "b": 0, "c": 0}


def test_the_page_shows_every_trial_and_loads_nothing() -> None:
    known = [
        record(n, n / 20, state, settings=settings_of(search(), n, []))
        for n, state in enumerate(["Complete"] * 16 + ["Pruned"] * 4)
    ]
    known.append(record(20, None, "Failed", settings=known[0].settings, error="<b>boom</b>"))
    page = search_page("team/<tone>", tuning(search(trials=21)), known)
    assert page.count("<polyline") == 21, "a line for each measured trial, and the best so far"
    assert "&lt;b&gt;boom" in page
    assert "team/&lt;tone&gt;" in page
    assert "<mark>best</mark>" in page
    assert "http" not in page.replace("http-equiv", "")
    assert "lora.rank" in page
    empty = search_page("a/b", tuning(search()), [])
    assert "No trial was measured" in empty


@pytest.fixture(params=["file", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[ObjectStore]:
    if request.param == "file":
        yield FileStore(tmp_path / "output")
        return
    seaweed: Seaweed = request.getfixturevalue("seaweed")
    request.getfixturevalue("s3")
    access = S3Access(endpoint=seaweed.endpoint, region="us-east-1")
    yield S3Store(f"s3://models/{tmp_path.name}", access, "output.uri")


def worker(store: ObjectStore, index: int = 0, attempt: int = 1, uid: str = "uid-1") -> Records:
    identity = RunIdentity(namespace="a", name="b", uid=uid, revision="r1-a", attempt=attempt)
    return Records(store, identity, index)


SETTINGS: dict[str, float | str] = {"learningRate": 0.001, "method.type": "lora"}


def test_a_trial_is_one_workers(store: ObjectStore) -> None:
    first, second = worker(store, 0), worker(store, 1)
    claimed = first.claim(0, SETTINGS)
    assert claimed is not None
    assert second.claim(0, SETTINGS) is None
    assert second.read() == [claimed]
    assert not second.may_take(claimed)
    # The pod that follows on the same index takes it back.
    successor = worker(store, 0)
    assert successor.may_take(claimed)
    taken = successor.take(claimed, 4)
    assert taken is not None
    assert [it.step for it in taken.takes] == [0, 4]
    assert successor.take(claimed, 4) is None, "what was read is no longer so"
    # And who held it before writes no more.
    with pytest.raises(Superseded):
        first.write(claimed, step=8)
    ended = successor.end(taken, "Complete", value=0.5, step=8)
    assert (ended.state, ended.takes[-1].outcome) == ("Complete", "Ended")
    assert second.read() == [ended]
    assert not worker(store, 0).may_take(ended)


def test_what_an_earlier_attempt_left_is_anybodys(store: ObjectStore) -> None:
    before = worker(store, 3)
    running, failed, done = (before.claim(n, SETTINGS) for n in range(3))
    assert running
    assert failed
    assert done
    failed = before.end(failed, "Failed", error="boom")
    done = before.end(done, "Complete", value=0.5)
    assert not before.may_take(failed)
    later = worker(store, 0, attempt=2)
    assert [later.may_take(it) for it in later.read()] == [True, True, False]
    again = later.take(failed, 2)
    assert again is not None
    assert (again.state, again.error, again.takes) == (
        "Running",
        None,
        [Take(pod=again.takes[0].pod, step=2)],
    )
    # So it is of a resource that was deleted and applied again.
    assert worker(store, 0, uid="uid-2").may_take(running)


def test_one_worker_publishes_and_its_successor_goes_on_with_it(store: ObjectStore) -> None:
    first, second = worker(store, 0), worker(store, 1)
    assert first.closing() is None
    assert first.close(4)
    assert not second.close(4)
    assert worker(store, 0).close(4)
    assert worker(store, 7, attempt=2).close(4), "of an earlier attempt nobody is left"
    assert not first.close(4)
    second.go_on()
    assert second.closing() is None


def test_all_but_the_record_of_a_trial_goes(store: ObjectStore) -> None:
    records = worker(store)
    assert records.claim(0, SETTINGS)
    assert records.claim(1, SETTINGS)
    for number in (0, 1):
        store.write(f"trials/{number:04d}/checkpoints/step-000008/manifest.json", b"{}")
        store.write(f"trials/{number:04d}/checkpoints/blobs/aa", b"weights")
    records.prune([0])
    keys = [entry.key for entry in store.entries("trials/")]
    assert [key for key in keys if key.startswith("trials/0000")] == ["trials/0000/trial.json"]
    assert len([key for key in keys if key.startswith("trials/0001")]) == 3


def test_a_pod_that_was_told_to_stop_did_not_die_of_its_trial(store: ObjectStore) -> None:
    records = worker(store)
    claimed = records.claim(0, SETTINGS)
    assert claimed
    assert records.release(claimed).takes[-1].outcome == "Interrupted"
    assert records.taken(records.read()) == 1


@pytest.fixture
def at_work(make_spec: MakeSpec, tmp_path: Path) -> Worker:
    """A worker of two trials whose first has ended."""
    spec = make_spec()
    document = {**spec.fine_tuning.to_json(), "search": search(trials=2).to_json()}
    tuned = FineTuning.model_validate(document)
    spec = spec.model_copy(update={"fine_tuning": tuned})
    output = open_store(spec.output, spec.storage, "output.uri")
    records = Records(output, spec.run, 0)
    claimed = records.claim(0, SETTINGS)
    assert claimed
    records.end(claimed, "Complete", value=0.5)
    attempts = Attempts(output, spec.run, 0)
    return Worker(Shared(SearchRun(spec).state, attempts, records, output, tmp_path))


@pytest.mark.parametrize("given_up", [False, True])
def test_a_trial_that_begins_while_the_end_is_decided_is_waited_for(
    at_work: Worker, monkeypatch: pytest.MonkeyPatch, given_up: bool
) -> None:
    """Or, where its worker has given it up for that decision, the decision stands."""
    shared = at_work.shared
    other = Records(shared.output, shared.state.spec.run, 1)
    begun: list[Record] = []
    close, go_on = shared.records.close, shared.records.go_on

    def closing(best: int) -> bool:
        if not begun:
            claimed = other.claim(1, SETTINGS)
            assert claimed
            begun.append(claimed)
        return close(best)

    def going_on() -> None:
        go_on()
        if given_up:
            other.drop(begun[0])

    monkeypatch.setattr(shared.records, "close", closing)
    monkeypatch.setattr(shared.records, "go_on", going_on)
    best = at_work._to_publish()
    if given_up:
        assert best
        assert best.number == 0
        assert other.is_closing()
    else:
        assert best is None
        assert not other.is_closing()


def test_a_rung_that_a_dead_pod_had_noted_is_decided_again(at_work: Worker) -> None:
    """It had died before the trial ended there: its successor comes to the same decision."""
    shared = at_work.shared
    pruning = search(trials=3, prune={"minSteps": 2, "reduction": 3})
    tuned = shared.tuning.model_copy(update={"search": pruning})
    spec = shared.state.spec.model_copy(update={"fine_tuning": tuned})
    shared = replace(shared, state=SearchRun(spec).state)
    first = shared.records.claim(1, SETTINGS)
    assert first
    assert Trial(shared, first).goes_on(2, {"accuracy": 0.9})
    second = shared.records.claim(2, SETTINGS)
    assert second
    trial = Trial(shared, second)
    assert not trial.goes_on(2, {"accuracy": 0.1})
    again = shared.records.take(trial.record, 1)
    assert again
    successor = Trial(shared, again)
    assert not successor.goes_on(2, {"accuracy": 0.1})
    assert successor.pruned
    assert Trial(shared, again).goes_on(1, {"accuracy": 0.1}), "no rung"
