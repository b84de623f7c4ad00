"""Folders whose files are named after months, parts, or not at all as splits are."""

from pathlib import Path

import pytest
from unit.trainer.data_support import GOOD, lines
from unit.trainer.support import spec_maker

from luthier_api.result import ExitCode
from luthier_trainer.data.examples import Examples
from luthier_trainer.data.prepare import load
from luthier_trainer.errors import TrainerError

CSV = b"text,label\n"


def _load(tmp_path: Path, files: dict[str, bytes], **dataset: object) -> Examples:
    folder = tmp_path / "data"
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    make_spec = spec_maker(tmp_path / "model", folder, tmp_path)
    return load(make_spec(dataset={"test": None, **dataset}), tmp_path / "fetched")


@pytest.mark.parametrize("below", ["", "data/"])
def test_files_of_other_names_are_all_train(tmp_path: Path, below: str) -> None:
    files = {
        f"{below}jan.csv": CSV + b"a,red\nb,green\n",
        f"{below}feb.csv": CSV + b"c,red\n",
        f"{below}mar-2024.csv": CSV + b"d,green\n",
        "README.md": b"# colours",
    }
    examples = _load(tmp_path, files, evalFraction=0.25)
    places = {example.place for example in [*examples.train, *examples.eval]}
    assert places == {"feb.csv:2", "jan.csv:2", "jan.csv:3", "mar-2024.csv:2"}


def test_a_file_can_be_chosen_by_its_name(tmp_path: Path) -> None:
    files = {"jan.csv": CSV + b"a,red\nb,green\n", "feb.csv": CSV + b"c,red\n"}
    examples = _load(tmp_path, files, train="jan", test="feb")
    assert (examples.facts.train, examples.facts.test) == (2, 1)


@pytest.mark.parametrize(
    ("files", "code", "words"),
    [
        (["part_1.csv", "part_test.csv"], "UnknownSplit", ["'train'", "only part_1, part_test"]),
        (["dev.jsonl", "test.jsonl"], "UnknownSplit", ["'train', only dev, test", "train.jsonl"]),
        (["jan.csv", "feb.jsonl"], "AmbiguousSplit", ["feb.jsonl, jan.csv", "one format"]),
        (["train.csv", "train.jsonl"], "AmbiguousSplit", ["keep one per split"]),
        (["data.xlsx", "notes.log"], "DatasetNotFound", ["there is data.xlsx, notes.log: convert"]),
    ],
)
def test_what_is_there_is_told(
    tmp_path: Path, files: list[str], code: str, words: list[str]
) -> None:
    with pytest.raises(TrainerError) as caught:
        _load(tmp_path, dict.fromkeys(files, GOOD))
    assert caught.value.error.code == code
    for word in words:
        assert word in caught.value.error.message
    assert ": :" not in caught.value.error.message


def test_files_without_rows_are_named(tmp_path: Path) -> None:
    with pytest.raises(TrainerError, match=r"EmptyDataset: feb\.csv: no rows") as caught:
        _load(tmp_path, {"jan.csv": CSV, "feb.csv": CSV})
    assert caught.value.exit_code == ExitCode.DATA


def test_a_mixed_source_that_lacks_train_is_named(tmp_path: Path) -> None:
    more = tmp_path / "more"
    more.mkdir()
    (more / "test.jsonl").write_bytes(lines(("x", "red")))
    with pytest.raises(TrainerError, match="no split 'train', only test") as caught:
        _load(tmp_path, {"train.jsonl": GOOD}, mix=[{"uri": f"file://{more}"}])
    assert caught.value.error.param == "dataset.mix[0].uri"
