"""Whole runs on texts: what becomes of those that are too long, and rows as tokens kept for the
next run."""

import json
from pathlib import Path
from typing import Any

import pytest
from unit.trainer.support import MakeSpec, folder_of

from luthier_trainer.errors import TrainerError
from luthier_trainer.finetune import finetune
from luthier_trainer.finetune.run import Run
from luthier_trainer.objectives import items
from luthier_trainer.training.environment import difference

SHORT = "a tomato 7"
TRAIN = {"a.txt": "w1 w2 tomato " * 30, "b.txt": SHORT, "c.txt": "7 meadow ocean " * 50}
TEST = {"d.txt": "w3 tomato meadow " * 40, "e.txt": SHORT}


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    for split, files in (("train", TRAIN), ("test", TEST)):
        (tmp_path / "texts" / split).mkdir(parents=True)
        for name, content in files.items():
            (tmp_path / "texts" / split / name).write_text(content)
    return tmp_path / "texts"


def order(make_spec: MakeSpec, texts: Path, long_rows: str, **more: Any) -> Any:
    return make_spec(
        task="generation",
        metrics=["loss", "perplexity"],
        dataset={"uri": f"file://{texts}", "template": "{text}", "longRows": long_rows},
        training={"maxSteps": 3, "maxLength": 32, "perDeviceBatchSize": 4},
        **more,
    )


def test_long_texts_are_learnt_and_measured_in_chunks(
    make_spec: MakeSpec, texts: Path, tiny_tokenizer: Any
) -> None:
    whole = {name: len(tiny_tokenizer(text).input_ids) + 1 for name, text in TRAIN.items()}
    spec = order(make_spec, texts, "Chunk")
    result = Run(spec).execute()
    assert result.dataset
    facts = result.dataset
    assert (facts.train, facts.test, facts.truncated, facts.chunked) == (3, 2, 0, 2)
    assert (facts.tokens, facts.tokens_max) == (sum(whole.values()), max(whole.values()))
    assert facts.chunks == sum(-(-(length - 1) // 31) for length in whole.values() if length > 32)
    manifest = json.loads((folder_of(spec) / "manifest.json").read_text())
    assert manifest["dataset"]["chunks"] == facts.chunks
    page = (folder_of(spec) / "report" / "data.html").read_text()
    assert f"(2 of 3) are learnt in {facts.chunks} chunks: longer than maxLength 32" in page
    assert result.evaluation
    assert result.evaluation.examples == 2
    cut = Run(order(make_spec, texts, "Cut", output=f"{spec.output}-cut")).execute()
    assert cut.dataset
    assert cut.evaluation
    assert (cut.dataset.truncated, cut.dataset.chunked) == (2, 0)
    assert cut.dataset.tokens_max == facts.tokens_max
    assert cut.dataset.tokens == 2 * 32 + whole["b.txt"]
    # Of the base, which is the same: more of the texts is measured.
    assert cut.evaluation.base != result.evaluation.base


@pytest.mark.parametrize("emptied", ["none", "train"])
def test_rows_that_are_too_long_end_the_run_before_it_trains(
    emptied: str,
    make_spec: MakeSpec,
    texts: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Those that the result is measured on, too."""

    def never(*_: Any) -> Any:
        raise AssertionError("it was loaded")

    monkeypatch.setattr(finetune, "load", never)
    if emptied == "train":
        for name in ("a.txt", "c.txt"):
            (texts / "train" / name).write_text(SHORT)
    run = Run(order(make_spec, texts, "Refuse"))
    with pytest.raises(TrainerError) as caught:
        run.execute()
    error = caught.value.error
    assert (error.code, error.param) == ("RowsTooLong", "dataset.longRows")
    assert ("train/a.txt:1 (" in error.message) == (emptied == "none")
    assert ("test/d.txt:1 (" in error.message) == (emptied == "train")
    assert run.result("Failed", caught.value).dataset_valid is False


def test_rows_of_which_none_is_too_long_are_not_refused(make_spec: MakeSpec, texts: Path) -> None:
    for path in texts.glob("*/*.txt"):
        path.write_text(f"{SHORT} {path.stem}")
    assert Run(order(make_spec, texts, "Refuse")).execute().outcome == "Succeeded"


def test_the_next_run_finds_the_rows_as_tokens(
    make_spec: MakeSpec,
    texts: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(items, "FEW", 0)
    first = order(make_spec, texts, "Chunk")
    one = Run(first).execute()
    assert "from the cache" not in capsys.readouterr().err
    two = Run(order(make_spec, texts, "Chunk", output=f"{first.output}-2")).execute()
    told = capsys.readouterr().err
    assert told.count("from the cache") == 2  # those of train, and those that are measured
    assert "tokens, encoded in" not in told
    assert (one.dataset, one.evaluation) == (two.dataset, two.evaluation)
    monkeypatch.undo()
    in_memory = Run(order(make_spec, texts, "Chunk", output=f"{first.output}-3")).execute()
    assert (one.dataset, one.evaluation) == (in_memory.dataset, in_memory.evaluation)


def test_batches_by_estimated_lengths_are_told_when_they_are_gone_on_from() -> None:
    before = {"luthier": "1", "lengths": "estimated"}
    told = difference(before, {"luthier": "1", "lengths": "exact"})
    assert told
    assert "the lengths that batches are made by (estimated before, exact now)" in told
    assert difference({"luthier": "1"}, {"luthier": "1", "lengths": "exact"}) is None
