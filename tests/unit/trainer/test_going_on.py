"""Training that goes on from an earlier result, or from an adapter by its URI."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from unit.trainer.support import MakeSpec, folder_of

from luthier_api.optimizejob import SourceRef
from luthier_api.result import ExitCode, RunResult
from luthier_api.runspec import RunSpec
from luthier_trainer.errors import TrainerError
from luthier_trainer.finetune.run import Run

Make = Callable[..., RunSpec]
HEAD: dict[str, Any] = {
    "dataset": {"template": None, "columns": {"text": "text", "label": "label"}},
    "metrics": ["accuracy", "loss"],
}


@pytest.fixture
def make(make_spec: MakeSpec, tmp_path: Path) -> Make:
    """make(number, adapter=None, training={}, **overrides): the order of that revision."""

    def make(
        number: int,
        adapter: dict[str, Any] | None = None,
        training: dict[str, Any] | None = None,
        **fields: Any,
    ) -> RunSpec:
        name = f"r{number}-{'ab' * 4}"
        spec = make_spec(
            output=f"file://{tmp_path}/out/team-a/colours/{name}",
            run={"revision": name},
            training={"maxSteps": 6, **(training or {})},
            **fields,
        )
        if adapter is None:
            return spec
        tuning = spec.fine_tuning
        model = type(tuning.model).model_validate({**tuning.model.to_json(), "adapter": adapter})
        return spec.model_copy(update={"fine_tuning": tuning.model_copy(update={"model": model})})

    return make


def ref(result: RunResult) -> SourceRef:
    assert result.artifact
    return SourceRef(**dict(result.artifact), revision=result.revision)


# As good as nothing is learnt: what the model can, it could before.
STILL: dict[str, Any] = {"maxSteps": 1, "learningRate": 1e-9}


@pytest.mark.parametrize(
    "fields",
    [
        pytest.param({}, id="lora"),
        pytest.param({"method": {"type": "full"}}, id="full"),
        pytest.param({"method": {"type": "adapter"}}, id="adapter"),
        pytest.param({"method": {"type": "ia3"}}, id="ia3"),
        pytest.param({"method": {"type": "prefix"}}, id="prefix"),
        pytest.param(HEAD, id="head"),
    ],
)
def test_it_begins_with_what_the_earlier_one_learnt(make: Make, fields: dict[str, Any]) -> None:
    first = Run(make(1, **fields)).execute()
    order = make(2, training=STILL, start_from=ref(first), **fields)
    second = Run(order).execute()
    assert first.evaluation
    assert second.evaluation
    assert second.evaluation.tuned == pytest.approx(first.evaluation.tuned, rel=1e-3)
    assert second.evaluation.base == pytest.approx(first.evaluation.base, rel=1e-5)
    assert second.evaluation.tuned["loss"] != pytest.approx(
        second.evaluation.base["loss"], rel=0.01
    )
    manifest = json.loads((folder_of(order) / "manifest.json").read_text())
    assert manifest["startedFrom"] == ref(first).to_json()
    assert first.revision in (folder_of(order) / "README.md").read_text()


def test_an_attempt_goes_on_from_its_checkpoint_whatever_became_of_the_start(
    make: Make, tmp_path: Path
) -> None:
    first = Run(make(1)).execute()
    order = make(2, start_from=ref(first))
    whole = Run(order).execute()
    weights = folder_of(order) / "adapter" / "adapter_model.safetensors"
    before = weights.read_bytes()
    (folder_of(order) / "manifest.json").unlink()
    shutil.rmtree(folder_of(order) / "checkpoints" / "step-000006")
    shutil.rmtree(folder_of(make(1)))
    # What is in use by then doesn't matter either: the claim says what it began with.
    again = Run(make(2, start_from=SourceRef(uri="file:///other", manifest_sha256="0" * 64)))
    result = again.execute()
    assert weights.read_bytes() == before
    assert result.evaluation == whole.evaluation
    manifest = json.loads((folder_of(order) / "manifest.json").read_text())
    assert manifest["startedFrom"] == ref(first).to_json()


def test_a_result_is_found_again_only_with_the_same_start(make: Make) -> None:
    first = Run(make(1)).execute()
    orders = [make(number, start_from=ref(first)) for number in (2, 3)]
    shape = {"shape_hash": "ab" * 32}
    second, third = (Run(order.model_copy(update=shape)).execute() for order in orders)
    assert second.artifact != first.artifact
    assert third.artifact == second.artifact


@pytest.mark.parametrize("part", ["", "/adapter"])
def test_an_adapter_by_its_uri(make: Make, part: str) -> None:
    first = Run(make(1)).execute()
    assert first.artifact
    uri = f"{first.artifact.uri}{part}"
    second = Run(make(2, {"uri": uri}, STILL)).execute()
    assert first.evaluation
    assert second.evaluation
    assert second.evaluation.tuned == pytest.approx(first.evaluation.tuned, rel=1e-3)


def refused(order: RunSpec) -> TrainerError:
    with pytest.raises(TrainerError) as caught:
        Run(order).execute()
    return caught.value


def test_what_does_not_fit_is_told_with_its_remedy(
    make: Make, tiny_model: Path, tmp_path: Path
) -> None:
    first = Run(make(1, training={"maxSteps": 1})).execute()
    start = ref(first)

    error = refused(make(2, start_from=start, lora={"rank": 4}))
    assert (error.error.code, error.error.param) == ("AdapterUnusable", "model.adapter")
    assert "method.lora.rank is 8 there, and 4 here" in error.error.message

    error = refused(make(3, start_from=start, lora={"targetModules": ["q_proj"]}))
    assert "it has weights that the settings don't ask for" in error.error.message

    error = refused(make(4, start_from=start, method={"type": "ia3"}))
    assert (error.error.code, error.error.param) == ("AdapterOfAnotherMethod", "method.type")
    assert error.exit_code == ExitCode.UNSUPPORTED

    base = shutil.copytree(tiny_model, tmp_path / "base")
    (base / "config.json").write_text((base / "config.json").read_text() + "\n")
    error = refused(make(5, start_from=start, model=f"file://{base}"))
    assert (error.error.code, error.error.param) == ("AdapterOfAnotherBase", "model.uri")

    error = refused(make(6, {"uri": f"file://{tmp_path}/nothing"}))
    assert (error.error.code, error.exit_code) == ("AdapterNotFound", ExitCode.NOT_FOUND)

    # An operator that doesn't know the field says no start: it mustn't train from none.
    error = refused(make(7, {"fineTuneJobRef": {"name": "tone"}}))
    assert error.error.code == "InvalidRunSpec"
