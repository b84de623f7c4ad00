"""Rows of answers, and runs that learn from them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from unit.trainer.support import LABELS, MakeSpec, colour_rows, write_jsonl

from luthier_api.runspec import RunSpec

MakePreference = Callable[..., RunSpec]
METRICS = ["preference_accuracy", "preference_margin", "reward_accuracy", "reward_margin", "loss"]
# Neither the metrics of two answers nor kl.
ONE_BY_ONE_METRICS = ["reward_accuracy", "reward_margin", "loss"]


def pair_rows(count: int, offset: int = 0) -> list[dict[str, Any]]:
    """The right colour is preferred to the next one."""
    rows = []
    for row in colour_rows(count, offset):
        wrong = LABELS[(LABELS.index(row["label"]) + 1) % len(LABELS)]
        prompt = f"Text: {row['text']}\nColour:"
        rows.append({"prompt": prompt, "chosen": f" {row['label']}", "rejected": f" {wrong}"})
    return rows


def single_rows(count: int, offset: int = 0) -> list[dict[str, Any]]:
    """The right colour is desirable, another one isn't: by turns."""
    return [
        {
            "prompt": row["prompt"],
            "completion": row["rejected"] if number % 2 else row["chosen"],
            "label": not number % 2,
        }
        for number, row in enumerate(pair_rows(count, offset))
    ]


def chat_rows(count: int, offset: int = 0) -> list[dict[str, Any]]:
    """Whole conversations, as UltraFeedback has them."""
    return [
        {
            side: [
                {"role": "user", "content": row["prompt"]},
                {"role": "assistant", "content": row[side].strip()},
            ]
            for side in ("chosen", "rejected")
        }
        for row in pair_rows(count, offset)
    ]


PAIRED = {"prompt": "prompt", "chosen": "chosen", "rejected": "rejected"}
SINGLE = {"prompt": "prompt", "completion": "completion", "label": "label"}
CHATS = {"chosen": "chosen", "rejected": "rejected"}


def write_rows(folder: Path, rows: Callable[..., list[dict[str, Any]]], train: int = 45) -> Path:
    write_jsonl(folder / "train.jsonl", rows(train))
    write_jsonl(folder / "test.jsonl", rows(18, offset=1000))
    return folder


def preference_maker(make_spec: MakeSpec, folder: Path) -> MakePreference:
    """Makes runs of 8 steps; keywords override as make_spec's, `preference` and `columns` too."""

    def make(
        *,
        preference: dict[str, Any] | None = None,
        columns: dict[str, str] | None = None,
        rows: Callable[..., list[dict[str, Any]]] = pair_rows,
        training: dict[str, Any] | None = None,
        dataset: dict[str, Any] | None = None,
        **fields: Any,
    ) -> RunSpec:
        place = folder / "preferences" / rows.__name__
        if not place.exists():
            write_rows(place, rows)
        columns = columns or {pair_rows: PAIRED, single_rows: SINGLE, chat_rows: CHATS}[rows]
        defaults: dict[str, Any] = {
            "task": "preference",
            "metrics": METRICS if rows is not single_rows else ONE_BY_ONE_METRICS,
            "evaluation": {"maxNewTokens": 4},
        }
        return make_spec(
            **{
                **defaults,
                **fields,
                "dataset": {
                    "uri": f"file://{place}",
                    "template": None,
                    "columns": columns,
                    **(dataset or {}),
                },
                "training": {
                    "maxSteps": 8,
                    "learningRate": 1e-2,
                    "preference": preference or {},
                    **(training or {}),
                },
            }
        )

    return make


@pytest.fixture
def make_preference(make_spec: MakeSpec, tmp_path: Path) -> MakePreference:
    return preference_maker(make_spec, tmp_path)
