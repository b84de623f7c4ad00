"""Rows as tokens on disk: what is read is what was encoded, and half a store is none."""

import json
import math
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from array import array
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from unit.trainer.objectives_support import (
    CHATS,
    COMPLETIONS,
    LABELLED,
    LABELS,
    PAIRS,
    TAGGED,
    tokenizer_of,
)

from luthier_api.training import Similarity
from luthier_trainer.data.examples import Example
from luthier_trainer.errors import Interrupted
from luthier_trainer.finetune import tokencache
from luthier_trainer.finetune.tokencache import TokenCache
from luthier_trainer.machine.cachefolder import locked
from luthier_trainer.objectives import items as items_module
from luthier_trainer.objectives.causal import Causal
from luthier_trainer.objectives.chat import ChatEncoder
from luthier_trainer.objectives.classifier import Classifier
from luthier_trainer.objectives.items import begins, count, counts, lengths
from luthier_trainer.objectives.numbers import halves, joined, parted, whole
from luthier_trainer.objectives.pairs import Pairs
from luthier_trainer.objectives.seq2seq import Seq2Seq
from luthier_trainer.objectives.tagger import Tagger
from luthier_trainer.objectives.tokens import Encoder, compact
from luthier_trainer.objectives.tokenstore import DamagedError, StoredItems, write

WAIT_SECONDS = 60


def causal(length: int, learn_prompt: bool, chunk: bool = False) -> Causal:
    tokenizer = tokenizer_of("llama")
    return Causal(tokenizer, Encoder(tokenizer, length, learn_prompt, 3, chunk=chunk), length)


def chats(length: int, learn_all: bool) -> Causal:
    tokenizer = tokenizer_of("qwen2")
    return Causal(tokenizer, ChatEncoder(tokenizer, length, learn_all), length)


UNSAID = [replace(PAIRS[0], label=None), *PAIRS]
FORMS: dict[str, tuple[Callable[[int], Any], Sequence[Example]]] = {
    "completion": (lambda n: causal(n, False), COMPLETIONS),
    "text": (lambda n: causal(n, True), COMPLETIONS),
    "chunks": (lambda n: causal(n, True, chunk=True), COMPLETIONS),
    "chat": (lambda n: chats(n, False), CHATS),
    "whole chat": (lambda n: chats(n, True), CHATS),
    "classes": (lambda n: Classifier(tokenizer_of("bert"), LABELS, n), LABELLED),
    "tags": (lambda n: Tagger(tokenizer_of("bert"), ["LOC", "PER"], n), TAGGED),
    "pairs": (
        lambda n: Pairs(tokenizer_of("bert"), n, Similarity(objective="in_batch_negatives")),
        UNSAID,
    ),
    "seq2seq": (lambda n: Seq2Seq(tokenizer_of("t5"), n), COMPLETIONS),
}


def plain(item: Any) -> list[Any]:
    """Its fields; NaN equals itself."""
    fields = [getattr(item, name) for name in item.__slots__]
    return ["NaN" if isinstance(it, float) and math.isnan(it) else it for it in fields]


@pytest.fixture(autouse=True)
def in_stores(monkeypatch: pytest.MonkeyPatch) -> None:
    """However few the rows are."""
    monkeypatch.setattr(items_module, "FEW", 0)
    monkeypatch.setattr(items_module, "_EXAMPLES", 2)


def cache(folder: Path, **shape: Any) -> TokenCache:
    return TokenCache(folder / "cache", folder / "scratch", {"tokenizer": "a", **shape})


def entries(folder: Path) -> list[Path]:
    return [path for path in (folder / "cache").iterdir() if path.suffix != ".lock"]


def ignore(_: int) -> None:
    pass


@pytest.mark.parametrize("length", [6, 64])
@pytest.mark.parametrize("name", FORMS)
def test_a_store_is_what_is_encoded(name: str, length: int, tmp_path: Path) -> None:
    make, examples = FORMS[name]
    objective = make(length)
    direct = list(objective.encode(examples))
    done: list[int] = []
    stored = cache(tmp_path).items("train", objective, examples, done.append)
    again = cache(tmp_path).items("train", objective, examples, done.append)
    for items in (stored, again, pickle.loads(pickle.dumps(again))):
        assert isinstance(items, StoredItems)
        assert [plain(item) for item in items] == [plain(item) for item in direct]
        assert items[-1:] == items[len(direct) - 1 :]
        assert list(lengths(items)) == list(lengths(direct)) == [len(item) for item in direct]
        assert counts(items).tolist() == counts(direct).tolist()
        assert begins(items) == begins(direct)
    # Only the first time, and all of them.
    assert sum(done) == len(examples)
    assert len(entries(tmp_path)) == 1


def test_few_rows_stay_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(items_module, "FEW", 4)
    objective = causal(64, False)
    assert isinstance(cache(tmp_path).items("train", objective, COMPLETIONS, ignore), list)
    assert not (tmp_path / "cache").exists()
    monkeypatch.setattr(items_module, "FEW_CHARACTERS", 100)
    stored = cache(tmp_path).items("train", objective, COMPLETIONS, ignore)
    assert isinstance(stored, StoredItems)


@given(
    st.lists(st.integers(-(2**31), 2**31 - 1), max_size=4),
    st.lists(st.lists(st.integers(-(2**31), 2**31 - 1), max_size=5), max_size=4),
)
def test_what_is_joined_is_parted(single: list[int], sequences: list[list[int]]) -> None:
    found, parts = parted(joined(single, *sequences), len(single), len(sequences))
    assert (list(found), [list(part) for part in parts]) == (single, sequences)


@given(st.floats())
def test_a_float_is_its_halves(value: float) -> None:
    assert whole(*halves(value)) == value or math.isnan(value)


IDS = st.lists(st.integers(0, 200_000), max_size=8)


@given(IDS, IDS, st.booleans(), st.none() | IDS, st.integers(0, 99), st.booleans())
def test_tokens_are_their_numbers(
    prompt: list[int], said: list[int], learn: bool, asked: Any, cut: int, continues: bool
) -> None:
    spans = [(0, len(prompt) // 2), (len(prompt) // 2, len(prompt))]
    item = compact(prompt, said, learn, spans, asked, cut, cut // 2, continues)
    again = type(item).of_numbers(item.numbers)
    assert again == item
    assert isinstance(again.prompt, array)


def test_what_shapes_tokens_names_the_store(tmp_path: Path) -> None:
    objective = causal(64, False)
    for shape in ({}, {"tokenizer": "b"}, {"maxLength": 9}, {"dataset": {"longRows": "Chunk"}}):
        cache(tmp_path, **shape).items("train", objective, COMPLETIONS, ignore)
    cache(tmp_path).items("watched", objective, COMPLETIONS, ignore)
    assert len(entries(tmp_path)) == 5


def damage_shorter(store: Path) -> None:
    path = store / "numbers.i32"
    path.write_bytes(path.read_bytes()[:-4])


def damage_bit(store: Path) -> None:
    path = store / "numbers.i32"
    data = bytearray(path.read_bytes())
    data[9] ^= 1
    path.write_bytes(data)


def damage_counts(store: Path) -> None:
    path = store / "counts.i32"
    path.write_bytes(b"\1" * path.stat().st_size)


def damage_link(store: Path) -> None:
    path = store / "ends.i64"
    path.rename(store / "elsewhere")
    path.symlink_to(store / "elsewhere")


def damage_pipe(store: Path) -> None:
    (store / "numbers.i32").unlink()
    os.mkfifo(store / "numbers.i32")


def damage_file(store: Path) -> None:
    for path in store.iterdir():
        path.unlink()
    store.rmdir()
    store.write_text("no folder")


DAMAGES: tuple[Callable[[Path], object], ...] = (
    damage_shorter,
    damage_bit,
    damage_counts,
    damage_link,
    damage_pipe,
    damage_file,
    lambda store: (store / "manifest.json").unlink(),
    lambda store: (store / "manifest.json").write_text("{"),
    lambda store: (store / "manifest.json").write_text(json.dumps({"format": 1, "files": {}})),
    lambda store: (store / "manifest.json").write_text(json.dumps({"format": 1, "files": 7})),
)


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_store_is_made_anew(
    damage: Callable[[Path], object], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    objective = causal(64, False)
    direct = objective.encode(COMPLETIONS)
    cache(tmp_path).items("train", objective, COMPLETIONS, ignore)
    [store] = entries(tmp_path)
    damage(store)
    with pytest.raises(DamagedError):
        StoredItems(store, objective.item.of_numbers)
    found = cache(tmp_path).items("train", objective, COMPLETIONS, ignore)
    assert list(found) == list(direct)
    assert "are made anew" in capsys.readouterr().err
    assert list(cache(tmp_path).items("train", objective, COMPLETIONS, ignore)) == list(direct)
    assert "from the cache" in capsys.readouterr().err


def test_a_store_that_becomes_shorter_is_an_error_not_a_signal(tmp_path: Path) -> None:
    objective = causal(64, False)
    items = cache(tmp_path).items("train", objective, COMPLETIONS, ignore)
    [store] = entries(tmp_path)
    os.truncate(store / "numbers.i32", 8)
    with pytest.raises(OSError, match="start the run again"):
        _ = items[3]


@pytest.mark.parametrize("failure", [Interrupted, ValueError])
def test_a_writer_that_is_stopped_leaves_nothing(
    failure: type[BaseException], tmp_path: Path
) -> None:
    def stop(_: int) -> None:
        raise failure

    objective = causal(64, False)
    with pytest.raises(failure):
        cache(tmp_path).items("train", objective, COMPLETIONS, stop)
    assert entries(tmp_path) == []
    found = cache(tmp_path).items("train", objective, COMPLETIONS, ignore)
    assert list(found) == list(objective.encode(COMPLETIONS))


KILLED = """
import os, signal, sys
from pathlib import Path
from luthier_trainer.objectives import items
items.FEW, items._EXAMPLES = 0, 1
from luthier_trainer.data.examples import Completion
from luthier_trainer.objectives.tokens import Tokens, compact
from luthier_trainer.finetune.tokencache import TokenCache

class Objective:
    item = Tokens
    def encode(self, examples):
        return [compact([1, 2], [3], False) for _ in examples]

def on_rows(_):
    print("a row", flush=True)
    if sys.argv[2] == "wait":
        signal.pause()

folder = Path(sys.argv[1])
cache = TokenCache(folder / "cache", folder / "scratch", {"tokenizer": "a"})
rows = [Completion("a", "b", "b", f"x:{n}") for n in range(4)]
found = cache.items("train", Objective(), rows, on_rows)
print("done", len(found), flush=True)
"""


def writer(folder: Path, how: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-c", KILLED, str(folder), how], stdout=subprocess.PIPE, text=True
    )


def test_a_writer_that_is_killed_leaves_no_store_and_the_next_one_tidies_up(
    tmp_path: Path,
) -> None:
    killed = writer(tmp_path, "wait")
    assert killed.stdout
    assert killed.stdout.readline() == "a row\n"
    [partial] = entries(tmp_path)
    assert partial.name.startswith(".")
    # The second one waits for the first, which never ends by itself.
    second = writer(tmp_path, "go on")
    assert second.stdout
    time.sleep(0.5)
    killed.send_signal(signal.SIGKILL)
    killed.wait(WAIT_SECONDS)
    output, _ = second.communicate(timeout=WAIT_SECONDS)
    assert output.splitlines()[-1] == "done 4"
    assert second.returncode == 0
    [store] = entries(tmp_path)
    assert not store.name.startswith(".")


def test_what_killed_writers_of_other_rows_left_goes_too(tmp_path: Path) -> None:
    leftover = tmp_path / "cache" / ".0123-abc"
    written = tmp_path / "cache" / ".4567-def"
    for folder in (leftover, written):
        folder.mkdir(parents=True)
    with locked(tmp_path / "cache" / "4567.lock", "being tested"):
        cache(tmp_path).items("train", causal(64, False), COMPLETIONS, ignore)
    assert not leftover.exists()
    assert written.exists()


def test_two_writers_at_once_make_one_store(tmp_path: Path) -> None:
    objective = causal(64, False)
    entered, go_on = threading.Event(), threading.Event()
    done: dict[str, list[int]] = {"first": [], "second": []}
    found: dict[str, list[Any]] = {}

    def first(rows: int) -> None:
        done["first"].append(rows)
        entered.set()
        assert go_on.wait(WAIT_SECONDS)

    def run(name: str, told: Callable[[int], None]) -> None:
        found[name] = list(cache(tmp_path).items("train", objective, COMPLETIONS, told))

    threads = [threading.Thread(target=run, args=("first", first))]
    threads[0].start()
    assert entered.wait(WAIT_SECONDS)
    threads.append(threading.Thread(target=run, args=("second", done["second"].append)))
    threads[1].start()
    time.sleep(0.5)
    assert "second" not in found
    go_on.set()
    for thread in threads:
        thread.join(WAIT_SECONDS)
    assert found["first"] == found["second"] == list(objective.encode(COMPLETIONS))
    assert (sum(done["first"]), done["second"]) == (len(COMPLETIONS), [])


def test_what_is_used_least_makes_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    objective = causal(64, False)
    held = cache(tmp_path, n=0).items("train", objective, COMPLETIONS, ignore)
    names = {}
    for number in range(1, 4):
        before = set(entries(tmp_path))
        cache(tmp_path, n=number).items("train", objective, COMPLETIONS, ignore)
        [names[number]] = set(entries(tmp_path)) - before
        os.utime(names[number] / "manifest.json", (number, number))
    cache(tmp_path, n=1).items("train", objective, COMPLETIONS, ignore)  # used now
    size = sum(path.stat().st_size for path in names[1].iterdir())
    monkeypatch.setattr(tokencache, "_MOST_BYTES", 2 * size)
    cache(tmp_path, n=4).items("train", objective, COMPLETIONS, ignore)
    kept = set(entries(tmp_path))
    assert names[1] in kept
    assert not {names[2], names[3]} & kept
    monkeypatch.setattr(tokencache, "_MOST_BYTES", 0)
    cache(tmp_path, n=5).items("train", objective, COMPLETIONS, ignore)
    # What a pod has open stays.
    assert list(held) == list(objective.encode(COMPLETIONS))
    assert Path(held.folder) in entries(tmp_path)  # type: ignore[attr-defined]


def test_without_a_cache_to_write_to_the_store_is_in_scratch(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "cache").write_text("no folder")
    objective = causal(64, False)
    for _ in range(2):
        found = cache(tmp_path).items("train", objective, COMPLETIONS, ignore)
        assert list(found) == list(objective.encode(COMPLETIONS))
        assert (tmp_path / "scratch" / "tokens").is_dir()
    assert "can't be kept in the cache" in capsys.readouterr().err


def test_no_rows_are_a_store_too(tmp_path: Path) -> None:
    write(tmp_path, [], count)
    empty = StoredItems(tmp_path, Encoder)
    assert (len(empty), list(empty), begins(empty)) == (0, [], [])
