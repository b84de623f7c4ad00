"""A chat template of one's own: what a run reads for it, and what it makes of the revision."""

from typing import Any

import pytest

from luthier_api.finetuning import FineTuning
from luthier_api.revision import shape_hash
from luthier_api.sources import of_fine_tuning

OUTPUT = "s3://artifacts/models"


def tuning(**dataset: Any) -> FineTuning:
    return FineTuning.model_validate(
        {
            "model": {"uri": "s3://models/chat"},
            "task": "generation",
            "training": {"maxSteps": 1},
            "dataset": {
                "uri": "s3://datasets/chats.jsonl",
                "columns": {"messages": "messages"},
                "evalFraction": 0.1,
                **dataset,
            },
        }
    )


def test_it_shapes_the_result_only_where_it_is_set() -> None:
    plain = shape_hash(tuning(), OUTPUT)
    assert shape_hash(tuning(chatTemplate=None), OUTPUT) == plain
    own = [{"text": "a"}, {"text": "b"}, {"configMapRef": {"name": "chat", "key": "a.jinja"}}]
    hashes = {shape_hash(tuning(chatTemplate=each), OUTPUT) for each in own}
    assert len(hashes | {plain}) == 4


def test_it_is_a_text_to_be_mounted_and_no_code_that_needs_consent() -> None:
    reference = {"configMapRef": {"name": "chat", "key": "a.jinja"}}
    reads = of_fine_tuning(tuning(chatTemplate=reference))
    assert reads.config_maps() == {"chat": ["a.jinja"]}
    assert reads.code == ()
    assert of_fine_tuning(tuning(chatTemplate={"text": "a"})).config_maps() == {}


@pytest.mark.parametrize(
    "columns",
    [
        {"instruction": "instruction", "output": "output"},
        {"instruction": "instruction", "input": "input", "output": "output"},
        {"prompt": "prompt", "completion": "completion"},
    ],
)
def test_columns_of_conversations(columns: dict[str, str]) -> None:
    found = tuning(columns=columns, chatTemplate={"text": "a"})
    assert found.dataset.columns
    assert found.dataset.columns.model_dump(exclude_none=True) == columns
