"""A tokenizer with tokens that the model has no embedding of."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from unit.trainer.tiny import VOCABULARY, tiny_folder

from luthier_trainer.errors import TrainerError
from luthier_trainer.models.load import load_tokenizer
from luthier_trainer.models.vocabulary import check_vocabulary

ARCHITECTURES = ("llama", "gpt2", "bert", "t5", "bart")


def copy(name: str, folder: Path) -> Path:
    return Path(shutil.copytree(tiny_folder(name), folder / name))


def change(path: Path, **fields: Any) -> None:
    document = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps({**document, **fields}))


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("special", [True, False])
def test_added_tokens_without_a_row(architecture: str, special: bool, tmp_path: Path) -> None:
    folder = copy(architecture, tmp_path)
    tokenizer = load_tokenizer(folder)
    check_vocabulary(folder, tokenizer)
    rows = json.loads((folder / "config.json").read_text())["vocab_size"]
    added = [f"<|new-{n}|>" for n in range(rows + 3 - len(tokenizer))]
    tokenizer.add_tokens(added, special_tokens=special)
    tokenizer.save_pretrained(folder)
    with pytest.raises(TrainerError, match="resize them") as caught:
        check_vocabulary(folder, load_tokenizer(folder))
    assert (caught.value.error.code, caught.value.error.param) == ("ModelUnusable", "model.uri")
    assert f"{rows + 3:,} tokens" in caught.value.error.message
    assert f"{rows:,} rows" in caught.value.error.message


def test_more_rows_than_tokens_are_usual(tmp_path: Path) -> None:
    folder = copy("llama", tmp_path)
    change(folder / "config.json", vocab_size=VOCABULARY + 1000)
    check_vocabulary(folder, load_tokenizer(folder))


def test_a_place_of_an_image_is_never_met_in_a_text(tmp_path: Path) -> None:
    """Gemma 3 of 1B has such a token, and no row for it."""
    folder = copy("gemma3", tmp_path)
    tokenizer = load_tokenizer(folder)
    change(folder / "config.json", vocab_size=len(tokenizer))
    tokenizer.add_tokens(["<image_soft_token>"], special_tokens=True)
    check_vocabulary(folder, tokenizer)


@pytest.mark.parametrize("file", ["config.json", "generation_config.json"])
@pytest.mark.parametrize(
    ("key", "value"),
    [("eos_token_id", 70000), ("eos_token_id", [1, 70000]), ("pad_token_id", 70000)],
)
def test_special_tokens_out_of_range(file: str, key: str, value: Any, tmp_path: Path) -> None:
    folder = copy("llama", tmp_path)
    change(folder / file, **{key: value})
    with pytest.raises(TrainerError, match=f"{file} has the {key} 70,000"):
        check_vocabulary(folder, load_tokenizer(folder))


def test_none_and_minus_one_are_no_tokens(tmp_path: Path) -> None:
    folder = copy("llama", tmp_path)
    change(folder / "config.json", pad_token_id=-1, eos_token_id=None)
    check_vocabulary(folder, load_tokenizer(folder))
