"""Adapters on a base without a chat template: asked as their own run asked, and none of them ends
the bundle of the others."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from unit.trainer.bundle_built import parts_of
from unit.trainer.bundle_support import SHAPES, make_adapter, make_base, order_maker
from unit.trainer.optimize_support import order_maker as optimizing
from unit.trainer.support import folder_of, spec_maker
from unit.trainer.test_run_chat import THINKING, chats
from unit.trainer.tiny import tiny_tokenizer_of

from luthier_api.optimizejob import SourceRef
from luthier_trainer.bundle import rows
from luthier_trainer.bundle.package import Package
from luthier_trainer.bundle.run import BundleRun
from luthier_trainer.finetune.run import Run
from luthier_trainer.optimize.fetch import fetch

# onnxruntime-genai and peft are imported by the tests themselves.
pytestmark = [pytest.mark.timeout(1800), pytest.mark.usefixtures("nothing_hidden")]

DAY = datetime(2024, 7, 26, 23, 59, 59, tzinfo=UTC)


def test_an_adapter_with_a_template_of_its_own(
    tmp_path: Path, colours: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokenizer = tiny_tokenizer_of("llama")
    tokenizer.chat_template = None
    base = make_base(tmp_path / "base", tokenizer)
    spec = spec_maker(base, colours, tmp_path)(
        output=f"file://{tmp_path}/runs/chat",
        task="generation",
        dataset={
            "uri": chats(tmp_path / "rows"),
            "template": None,
            "columns": {"messages": "messages"},
            "chatTemplate": {"text": THINKING},
            "test": None,
            "evalFraction": 0.25,
        },
        training={"maxSteps": 30, "learningRate": 1e-2, "saveEverySteps": 30},
        evaluation={"maxNewTokens": 8},
        metrics=["exact_match", "chrf"],
        lora={"dropout": 0},
    )
    artifact = Run(spec).execute().artifact
    assert artifact
    claim = folder_of(spec) / "claim.json"
    claim.write_text(json.dumps({**json.loads(claim.read_text()), "began": DAY.isoformat()}))
    assert fetch(optimizing(folder_of(spec), tmp_path)(), tmp_path / "f").began == DAY

    moments: list[Any] = []
    choose, as_model = rows.choose, Package.as_model

    def seen(*arguments: Any, **options: Any) -> Any:
        moments.append(options.get("now"))
        return choose(*arguments, **options)

    def failing(package: Package, name: str) -> Any:
        if name == "odd":
            raise IndexError("index out of range in self")
        return as_model(package, name)

    monkeypatch.setattr(rows, "choose", seen)
    monkeypatch.setattr(Package, "as_model", failing)
    ran = SourceRef(uri=artifact.uri, revision="r1", manifest_sha256=artifact.manifest_sha256)
    plain = make_adapter(base, tmp_path / "plain", **SHAPES["plain"])
    order = order_maker(base, tmp_path)({"chat": ran, "odd": ran, "plain": plain})
    result = BundleRun(order).execute()
    assert {end.name: end.code for end in result.adapters} == dict.fromkeys(
        ("chat", "odd", "plain")
    )
    assert moments == [DAY, DAY]  # of the run, not of the bundle

    parts = parts_of(order)
    found = parts["chat"]["proof"]["measured"]
    assert found["value"] == pytest.approx(found["reported"])
    told = parts["odd"]["proof"]["notMeasured"]
    assert told.endswith("IndexError, see the log")
    assert "index out of range" not in told

    # The package writes messages by its base's template: the text is asked.
    row = parts["chat"]["ask"]["row"]
    assert "messages" not in row
    assert row["prompt"].endswith("<|assistant|>\n")
    card = (folder_of(order) / "README.md").read_text()
    assert f"prompt = {row['prompt']!r}" in card
    assert "messages = " not in card
    from luthier_trainer.bundle.luthier_bundle import Bundle

    answer = Bundle(folder_of(order)).generate("chat", row["prompt"], max_new_tokens=8)
    assert answer.strip().startswith(row["answer"][:4])
