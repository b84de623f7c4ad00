"""Whole runs on conversations: what is measured, saved and shown."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from unit.trainer.chat_families import template_of
from unit.trainer.support import MakeSpec, folder_of

from luthier_api.runspec import RunSpec
from luthier_trainer.errors import TrainerError
from luthier_trainer.finetune.run import Run
from luthier_trainer.pod.attempts import Attempts
from luthier_trainer.pod.claim import read_claim, take_claim
from luthier_trainer.storage.open import open_store

# Asks with the header alone, and writes an empty block of thought before the last answer.
THINKING = (
    "{% for m in messages %}<|{{ m.role }}|>\n{% if m.role == 'assistant' and loop.last %}<think>\n"
    "\n</think>\n\n{% endif %}{{ m.content }}{{ eos_token }}\n{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>\n{% endif %}"
)
TEXTS = ["a tomato", "the ocean", "a meadow"]
COLOURS = ["red", "deep blue", "green"]


def chats(folder: Path, turns: int = 1) -> str:
    folder.mkdir()
    with (folder / "train.jsonl").open("w") as file:
        for number in range(24):
            messages = []
            for turn in range(turns):
                at = (number + turn) % 3
                messages += [
                    {"role": "user", "content": f"{TEXTS[at]}?"},
                    {"role": "assistant", "content": COLOURS[at]},
                ]
            file.write(json.dumps({"messages": messages}) + "\n")
    return f"file://{folder}/train.jsonl"


def spec_of(make_spec: MakeSpec, folder: Path, turns: int = 1, **options: Any) -> RunSpec:
    dataset = {
        "uri": chats(folder / "rows", turns),
        "template": None,
        "columns": {"messages": "messages"},
        "test": None,
        "evalFraction": 0.25,
        **options.pop("dataset"),
    }
    training = {
        "maxSteps": 60,
        "learningRate": 5e-3,
        "gradientAccumulationSteps": 1,
        "saveEverySteps": 60,
        **options.pop("training", {}),
    }
    return make_spec(
        task="generation",
        dataset=dataset,
        training=training,
        metrics=["exact_match", "rouge"],
        method={"type": "full"},
        evaluation={"maxNewTokens": 40},
        **options,
    )


def test_an_answer_is_compared_as_its_reader_sees_it(make_spec: MakeSpec, tmp_path: Path) -> None:
    """With a template of one's own, which is saved with the result; of chats of two answers."""
    maps = tmp_path / "maps" / "chat"
    maps.mkdir(parents=True)
    (maps / "own.jinja").write_text(THINKING)
    template = {"configMapRef": {"name": "chat", "key": "own.jinja"}}
    dataset = {"chatTemplate": template}
    spec = spec_of(make_spec, tmp_path, 2, dataset=dataset, config_maps_dir=str(maps.parent))
    result = Run(spec).execute()
    assert result.evaluation
    tuned = result.evaluation.tuned
    assert (tuned["exact_match"], tuned["rougeL"]) == (1, 1)
    output = folder_of(spec)
    assert (output / "model" / "chat_template.jinja").read_text() == THINKING
    manifest = json.loads((output / "manifest.json").read_text())
    percent = manifest["dataset"]["tokensLearntPercent"]
    assert 0 < percent < 100
    page = (output / "report" / "data.html").read_text()
    assert "tokens are learnt</figcaption>" in page
    assert f"({percent}%)" in page


def test_every_attempt_sees_the_date_on_which_the_run_began(
    make_spec: MakeSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    template = {"text": template_of("llama3")}
    dataset = {"chatTemplate": template}
    spec = spec_of(make_spec, tmp_path, dataset=dataset, training={"maxSteps": 1})
    store = open_store(spec.output, spec.storage, "output.uri")
    attempts = Attempts(store, spec.run)
    began = take_claim(store, spec, "sha256:x", attempts).began
    assert began
    assert abs((datetime.now(UTC) - began).total_seconds()) < 3600
    claim = json.loads((folder_of(spec) / "claim.json").read_text())
    digest = {"datasetDigest": _digest(spec, tmp_path), "base": None}
    claim |= {"began": "2024-07-26T23:59:59Z", **digest}
    (folder_of(spec) / "claim.json").write_text(json.dumps(claim))
    Run(spec).execute()
    page = (folder_of(spec) / "report" / "data.html").read_text()
    text = "".join(page.replace("<span>", "").replace("</span>", "").split())
    assert "TodayDate:26Jul2024" in text
    held = read_claim(store)
    assert held
    assert held.began == datetime(2024, 7, 26, 23, 59, 59, tzinfo=UTC)


def _digest(spec: RunSpec, folder: Path) -> str:
    from luthier_trainer.data import prepare

    return prepare.load(spec, folder / "digest").digest


@pytest.mark.parametrize(
    ("template", "words"),
    [
        ({"text": "{% for m in messages %}"}, "ChatTemplateBroken: its line 1 is no Jinja"),
        ({"text": " \n"}, "ChatTemplateBroken: it is empty"),
        ({"configMapRef": {"name": "chat", "key": "x"}}, "ChatTemplateMissing: .*no key x"),
    ],
)
def test_a_template_that_is_none_is_refused(
    make_spec: MakeSpec, tmp_path: Path, template: dict[str, Any], words: str
) -> None:
    spec = spec_of(
        make_spec, tmp_path, dataset={"chatTemplate": template}, config_maps_dir=str(tmp_path)
    )
    with pytest.raises(TrainerError, match=words) as caught:
        Run(spec).execute()
    assert caught.value.error.param == "dataset.chatTemplate"


def test_a_template_for_rows_of_text_is_refused(make_spec: MakeSpec, tmp_path: Path) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_text("".join(json.dumps({"p": f"q{i}", "c": "a"}) + "\n" for i in range(8)))
    dataset = {
        "uri": f"file://{rows}",
        "columns": {"prompt": "p", "completion": "c"},
        "chatTemplate": {"text": THINKING},
    }
    with pytest.raises(TrainerError, match="ChatTemplateUnused"):
        Run(spec_of(make_spec, tmp_path, dataset=dataset)).execute()
