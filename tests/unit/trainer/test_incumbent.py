"""What is in use answers the rows of the new result's run, as it was published."""

import json
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from unit.trainer.support import MakeSpec, colour_rows, folder_of, write_jsonl

from luthier_api.optimizejob import SourceRef
from luthier_api.result import RunResult
from luthier_api.runspec import RunSpec
from luthier_trainer.finetune import compare, finetune
from luthier_trainer.finetune.job import Job
from luthier_trainer.finetune.load import Plan
from luthier_trainer.finetune.prepare import Prepared
from luthier_trainer.finetune.run import Run
from luthier_trainer.methods.tuned import Tuned

Make = Callable[..., RunSpec]
IN_WORDS: dict[str, Any] = {}
BY_A_HEAD: dict[str, Any] = {
    "dataset": {"template": None, "columns": {"text": "text", "label": "label"}},
    "metrics": ["accuracy", "loss"],
}


@pytest.fixture
def make(make_spec: MakeSpec, tmp_path: Path) -> Make:
    """make(number, steps, **overrides): the order of that revision."""

    def make(number: int, steps: int, **fields: Any) -> RunSpec:
        name = f"r{number}-{'ab' * 4}"
        return make_spec(
            output=f"file://{tmp_path}/out/team-a/colours/{name}",
            run={"revision": name},
            training={"maxSteps": steps},
            anew=True,
            **fields,
        )

    return make


def ref(result: RunResult) -> SourceRef:
    assert result.artifact
    return SourceRef(**dict(result.artifact), revision=result.revision)


@pytest.mark.parametrize(
    ("before", "now"),
    [
        pytest.param({**IN_WORDS}, {**IN_WORDS}, id="lora"),
        pytest.param({"method": {"type": "full"}}, {**IN_WORDS}, id="full-then-lora"),
        pytest.param(
            {"method": {"type": "adapter"}},
            {"method": {"type": "prefix"}},
            id="adapter-then-prefix",
        ),
        pytest.param({"method": {"type": "prefix"}}, {**IN_WORDS}, id="prefix-then-lora"),
        pytest.param({**BY_A_HEAD}, {**BY_A_HEAD, "method": {"type": "full"}}, id="head"),
    ],
)
def test_it_answers_as_it_did_in_its_own_run(
    make: Make, before: dict[str, Any], now: dict[str, Any]
) -> None:
    first = Run(make(1, 6, **before)).execute()
    order = make(2, 9, incumbent=ref(first), **now)
    second = Run(order).execute()
    assert first.evaluation
    assert second.evaluation
    found = second.evaluation
    assert (found.compared_with, found.not_compared) == (first.revision, None)
    assert found.in_use == pytest.approx(first.evaluation.tuned, abs=2e-6)
    for name, gain in found.gain.items():
        assert gain.by == pytest.approx(found.tuned[name] - found.in_use[name], abs=2e-6)
        assert gain.no_interval or (gain.low is not None and gain.low <= gain.by)
    assert found.gain.keys() == found.change.keys()
    document = json.loads((folder_of(order) / "report" / "evaluation.json").read_text())
    assert document["inUse"] == found.in_use
    assert document["intervals"]["inUse"].keys() == found.in_use.keys()
    card = (folder_of(order) / "README.md").read_text()
    assert "| metric | base | in use | tuned |" in card
    assert first.revision in (folder_of(order) / "report" / "index.html").read_text()


@pytest.mark.parametrize("method", ["lora", "full"])
def test_the_tuned_model_has_made_room(
    method: str, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One model at a time: the memory of a machine was asked for one."""
    tuned: list[weakref.ref[Any]] = []
    there: list[bool] = []
    save, measure = finetune.save, compare.measure_incumbent

    def saving(job: Job, prepared: Prepared, plan: Plan, model: Tuned, *rest: Any) -> Any:
        tuned.append(weakref.ref(model.model))
        return save(job, prepared, plan, model, *rest)

    def measuring(*given: Any) -> Any:
        there.append(tuned[0]() is not None)
        return measure(*given)

    first = Run(make(1, 1)).execute()
    monkeypatch.setattr(finetune, "save", saving)
    monkeypatch.setattr(compare, "measure_incumbent", measuring)
    Run(make(2, 2, incumbent=ref(first), method={"type": method})).execute()
    assert there == [False]


def test_it_reads_rows_in_the_form_that_it_learnt(make: Make) -> None:
    first = Run(make(1, 6)).execute()
    other = {"template": "{text} =>{label}"}
    second = Run(make(2, 6, dataset=other, incumbent=ref(first))).execute()
    assert first.evaluation
    assert second.evaluation
    assert second.evaluation.in_use == pytest.approx(first.evaluation.tuned, abs=2e-6)
    assert second.evaluation.tuned != second.evaluation.in_use


def test_a_script_evaluates_both(make: Make, tmp_path: Path) -> None:
    code = tmp_path / "maps" / "code" / "code.py"
    code.parent.mkdir(parents=True)
    code.write_text(
        "from pathlib import Path\n"
        "def score(model_path, test_dataset, metric_type):\n"
        "    weights = Path(model_path, 'adapter', 'adapter_model.safetensors')\n"
        "    return {'bytes': weights.stat().st_size}\n"
    )
    first = Run(make(1, 1, lora={"rank": 2})).execute()
    script = {"configMapRef": {"name": "code", "key": "code.py"}, "entrypoint": "score"}
    order = make(
        2,
        1,
        incumbent=ref(first),
        evaluation={"script": script},
        config_maps_dir=str(tmp_path / "maps"),
    )
    found = Run(order).execute().evaluation
    assert found
    size = (folder_of(make(1, 1)) / "adapter" / "adapter_model.safetensors").stat().st_size
    assert found.in_use["script_bytes"] == size < found.tuned["script_bytes"]
    gain = found.gain["script_bytes"]
    assert (gain.by, gain.low) == (found.tuned["script_bytes"] - size, None)
    assert gain.no_interval


def test_the_result_stands_where_it_cannot_be_compared(
    make: Make, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    rows = [row for row in colour_rows(42) if row["label"] != "red"]
    write_jsonl(tmp_path / "fewer" / "train.jsonl", rows)
    write_jsonl(tmp_path / "fewer" / "test.jsonl", rows[:12])
    fewer = {**BY_A_HEAD["dataset"], "uri": f"file://{tmp_path}/fewer"}
    first = Run(make(1, 1, **{**BY_A_HEAD, "dataset": fewer})).execute()

    def told(number: int, incumbent: SourceRef) -> str:
        order = make(number, 1, incumbent=incumbent, **BY_A_HEAD)
        result = Run(order).execute()
        assert result.artifact
        assert result.evaluation
        found = result.evaluation
        assert (found.compared_with, found.in_use, found.gain) == (None, {}, {})
        assert found.tuned["accuracy"] is not None
        assert found.not_compared
        assert found.not_compared in capfd.readouterr().err
        assert "isn't compared with" in (folder_of(order) / "README.md").read_text()
        return found.not_compared

    assert told(2, ref(first)) == "its classes are others: it doesn't know red"
    gone = ref(first).model_copy(update={"uri": f"file://{tmp_path}/nothing"})
    assert "the FineTuneJob's result was deleted" in told(3, gone)
