"""An OptimizeJob on conversations: which day its prompts tell, and what its README asks."""

import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from unit.trainer.optimize_support import QUICK, tiny_decoder
from unit.trainer.support import folder_of
from unit.trainer.test_optimize_source import by_uri

from luthier_api.runspec import OptimizeOrder
from luthier_trainer.models.load import load_tokenizer
from luthier_trainer.optimize.fetch import fetch
from luthier_trainer.optimize.rows import read_rows
from luthier_trainer.optimize.run import Optimization
from luthier_trainer.pod.attempts import Attempts
from luthier_trainer.pod.claim import take_claim
from luthier_trainer.storage.open import open_store

TEMPLATE = (
    "{{ strftime_now('Today: %d %b %Y') }}\n{% for m in messages %}<|{{ m.role }}|>\n"
    "{{ m.content }}{{ eos_token }}\n{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>\n{% endif %}"
)
DAY = datetime(2024, 7, 26, 23, 59, 59, tzinfo=UTC)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A decoder whose chat template writes the date."""
    folder = tiny_decoder("llama", tmp_path_factory.mktemp("dated"))
    tokenizer = load_tokenizer(folder)
    tokenizer.chat_template = TEMPLATE
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture
def order(model: Path, tmp_path: Path) -> OptimizeOrder:
    rows = tmp_path / "chats.jsonl"
    said = [("a tomato?", "red"), ("the ocean?", "deep blue")] * 4
    for user, assistant in said:
        turns = [("user", user), ("assistant", assistant)]
        messages = [{"role": role, "content": content} for role, content in turns]
        with rows.open("a") as file:
            file.write(json.dumps({"messages": messages}) + "\n")
    return by_uri(
        tmp_path,
        model,
        None,
        precisions=["fp32"],
        benchmark=QUICK,
        evaluation={
            "task": "generation",
            "dataset": {
                "uri": f"file://{rows}",
                "columns": {"messages": "messages"},
                "evalFraction": 0.5,
            },
            "maxNewTokens": 4,
        },
    )


def test_every_attempt_asks_with_the_date_on_which_the_revision_began(
    order: OptimizeOrder, tmp_path: Path
) -> None:
    """Which is also what the README asks: a conversation of the rows, as it was measured."""
    store = open_store(order.output, order.storage, "output.uri")
    take_claim(store, order, fetch(order, tmp_path / "f").digest, Attempts(store, order.run))
    claim = json.loads((folder_of(order) / "claim.json").read_text())
    claim["began"] = DAY.isoformat()
    (folder_of(order) / "claim.json").write_text(json.dumps(claim))
    Optimization(order).execute()
    card = (folder_of(order) / "README.md").read_text()
    assert "Once upon a time" not in card
    assert "Today: 26 Jul 2024" in card
    assert "It is asked by conversations" in card


def test_rows_of_another_day_are_measured_anew(order: OptimizeOrder, tmp_path: Path) -> None:
    """What the cache has of them is of other prompts. Of a run's model the run's day counts."""
    fetched = fetch(order, tmp_path / "fetched")
    tokenizer = load_tokenizer(fetched.model)
    later = DAY.replace(day=27)

    def digest(began: datetime, ran: datetime | None = None) -> str:
        source = replace(fetched, began=ran)
        rows = read_rows(source, order, tokenizer, tmp_path / "rows", began)[1]
        assert rows
        text = tokenizer.decode(list(rows.items[0].ids))
        assert f"Today: {(ran or began).day} Jul 2024" in text
        return rows.digest

    assert digest(DAY) == digest(DAY)
    assert digest(DAY) != digest(later)
    assert digest(later, ran=DAY) == digest(DAY)
