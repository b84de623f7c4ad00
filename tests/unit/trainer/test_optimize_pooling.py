"""How a text's vector is made goes with it from the fine-tuning into the package."""

import json
from pathlib import Path

import numpy as np
import torch
from unit.trainer.optimize_support import fine_tuned, order_maker
from unit.trainer.support import folder_of, write_jsonl
from unit.trainer.tiny import tiny_folder

from luthier_trainer.optimize.run import Optimization
from luthier_trainer.packages.onnx.session import Session


def test_a_package_pools_as_its_fine_tuning_did(tmp_path: Path) -> None:
    rows = [
        {"one": f"w{n} the sky is blue", "other": f"food w{n % 3}", "alike": str(n % 2)}
        for n in range(12)
    ]
    write_jsonl(tmp_path / "pairs" / "train.jsonl", rows)
    columns = {"first": "one", "second": "other", "label": "alike"}
    artifact = fine_tuned(
        tiny_folder("bert"),
        tmp_path / "pairs",
        tmp_path,
        task="similarity",
        dataset={"template": None, "columns": columns, "test": None, "evalFraction": 0.25},
        method={"type": "full"},
        training={"maxSteps": 2, "similarity": {"pooling": "cls"}},
        metrics=["loss"],
    )
    order = order_maker(artifact, tmp_path)(precisions=["fp32"])
    Optimization(order).execute()

    package = folder_of(order) / "model"
    assert json.loads((package / "luthier.json").read_text())["pooling"] == "cls"
    assert "first token" in (package / "README.md").read_text()
    from transformers import AutoModel

    model = AutoModel.from_pretrained(artifact / "model").eval()
    ids = torch.tensor([[5, 9, 7, 6], [8, 5, 11, 10]])
    with torch.no_grad():
        expected = model(input_ids=ids, attention_mask=ids * 0 + 1).last_hidden_state[:, 0]
    inputs = {"input_ids": ids.numpy(), "attention_mask": np.ones((2, 4), np.int64)}
    found = Session(package / "model.onnx", 2).run(inputs, {})[1].numpy()
    assert np.abs(found - expected.numpy()).max() <= 1e-4
