"""A base that ends in a head: for the same labels it is kept, whatever their order; for others, be
they as many, it is a new one."""

from pathlib import Path
from typing import Any

import pytest
import torch
from unit.trainer.support import MakeSpec, folder_of
from unit.trainer.tiny import tiny_folder

from luthier_api.result import RunResult
from luthier_trainer import documents
from luthier_trainer.finetune.run import Run
from luthier_trainer.models.architecture import describe
from luthier_trainer.models.heads import Head
from luthier_trainer.models.load import load_base
from luthier_trainer.models.precision import Precision

CLASSIFIER = "AutoModelForSequenceClassification"
COLOURS: dict[str, Any] = {
    "dataset": {"template": None, "columns": {"text": "text", "label": "label"}},
    "metrics": ["accuracy", "loss"],
}


def with_head(name: str, labels: tuple[str, ...], folder: Path) -> Path:
    """A model that was published with a head for these labels, of weights that stand out."""
    import transformers

    source = tiny_folder(name)
    config = transformers.AutoConfig.from_pretrained(source)
    config.id2label = dict(enumerate(labels))
    config.label2id = {label: index for index, label in enumerate(labels)}
    if config.pad_token_id is None:
        config.pad_token_id = 0
    torch.manual_seed(99)
    model = getattr(transformers, CLASSIFIER).from_pretrained(source, config=config)
    with torch.no_grad():
        for row, weight in enumerate(_final(model).weight):
            weight.fill_(row + 1)
    model.save_pretrained(folder)
    transformers.AutoTokenizer.from_pretrained(source).save_pretrained(folder)
    return folder


def _final(model: Any) -> Any:
    """The layer with an output for each label."""
    found = [
        module
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Linear)
        and module.out_features == model.config.num_labels
        and not name.startswith(f"{model.base_model_prefix}.")
    ]
    return found[-1]


def loaded(folder: Path, labels: tuple[str, ...], seed: int = 7) -> Any:
    head = Head(CLASSIFIER, labels)
    return load_base(folder, head, Precision("fp32"), 64, seed, frozen=False, pad_id=0)


@pytest.mark.parametrize("name", ["bert", "roberta", "llama", "bart"])
def test_the_same_labels_keep_it(name: str, tmp_path: Path) -> None:
    folder = with_head(name, ("red", "blue", "green"), tmp_path)
    ordered = describe(folder).ordered(["blue", "green", "red"])
    assert ordered == ("red", "blue", "green")
    weight = _final(loaded(folder, ordered)).weight
    assert weight[:, 0].tolist() == [1, 2, 3]


@pytest.mark.parametrize("name", ["bert", "roberta", "llama", "bart"])
@pytest.mark.parametrize(
    "labels", [("a", "b", "c"), ("a", "b", "c", "d"), ("blue", "green", "red")]
)
def test_other_labels_have_a_new_one(name: str, labels: tuple[str, ...], tmp_path: Path) -> None:
    """Of a seed's weights, as of a base without a head. Labels in another order are others."""
    folder = with_head(name, ("red", "blue", "green"), tmp_path)
    model = loaded(folder, labels)
    weight = _final(model).weight
    assert weight.shape[0] == len(labels)
    assert weight.std() < 0.5
    assert torch.equal(weight, _final(loaded(folder, labels)).weight)
    assert not torch.equal(weight, _final(loaded(folder, labels, seed=8)).weight)
    # All else is the base's.
    own = loaded(folder, ("red", "blue", "green")).state_dict()
    final = {id(each) for each in _final(model).parameters()}
    for key, parameter in model.named_parameters():
        if id(parameter) not in final:
            assert torch.equal(parameter, own[key]), key


@pytest.mark.parametrize(
    "labels",
    [None, {"0": "a", "2": "b"}, {"0": 1}, ["a", "b"]],
    ids=["none", "gap", "number", "list"],
)
def test_a_config_that_names_no_labels_has_none(labels: Any, tmp_path: Path) -> None:
    import json

    config: dict[str, Any] = {"model_type": "bert"}
    if labels is not None:
        config["id2label"] = labels
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert describe(tmp_path).labels == ()
    assert describe(tmp_path).ordered(["a", "b"]) == ("a", "b")


@pytest.mark.parametrize("method", [{"type": "full"}, {"type": "lora"}], ids=["full", "lora"])
def test_a_run_goes_on_with_the_head_of_its_base(
    method: dict[str, Any], make_spec: MakeSpec, tmp_path: Path
) -> None:
    """What a run published is the base of the next: that one's base answers as well as it did."""
    training = {"maxSteps": 24, "learningRate": 0.003}
    first = make_spec(
        model=f"file://{tiny_folder('bert')}",
        output=f"file://{tmp_path}/first",
        method={"type": "full"},
        training=training,
        **COLOURS,
    )
    before = Run(first).execute()
    second = make_spec(
        model=f"file://{folder_of(first)}/model",
        output=f"file://{tmp_path}/second",
        method=method,
        training={**training, "maxSteps": 1},
        **COLOURS,
    )
    after = Run(second).execute()
    assert isinstance(before, RunResult)
    assert isinstance(after, RunResult)
    assert before.evaluation
    assert after.evaluation
    assert before.evaluation.tuned["loss"] < before.evaluation.base["loss"]
    assert after.evaluation.base == pytest.approx(before.evaluation.tuned, abs=1e-5)
    assert before.resolved["head"] == "new"
    assert after.resolved["head"] == "the base's own: its labels are the same"
    manifest = documents.parse((folder_of(second) / "manifest.json").read_bytes())
    assert manifest["resolved"]["head"] == after.resolved["head"]
