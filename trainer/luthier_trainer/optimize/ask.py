"""How a model is asked that no run of ours tuned: as the rows were that it was measured on."""

import json
from pathlib import Path
from typing import Any

from luthier_trainer.evaluation.samples import answered
from luthier_trainer.models.load import base_config
from luthier_trainer.objectives.ends import ends_of
from luthier_trainer.objectives.items import begins
from luthier_trainer.optimize.evaluator import SAMPLES
from luthier_trainer.optimize.fetch import Fetched
from luthier_trainer.optimize.measured import Measured, measurement
from luthier_trainer.optimize.rows import Rows
from luthier_trainer.optimize.source import tokenizer_of
from luthier_trainer.published import ask as asking
from luthier_trainer.published.ask import Ask


def asked(fetched: Fetched, rows: Rows | None, source: Measured) -> Ask | None:
    """What its run told; else what the rows tell. None: there are neither."""
    if fetched.ask or rows is None or fetched.tuning is None:
        return fetched.ask
    tokenizer = tokenizer_of(fetched)
    both = measurement(source, rows)
    return asking.describe(
        fetched.tuning,
        rows.objective,
        tokenizer,
        rows.examples,
        [rows.items[index] for index in begins(rows.items)],
        answered(rows.objective, rows.examples, both, both, SAMPLES),
        rows.examples[0],
        ends_of(tokenizer, *_named_ends(fetched.model)),
    )


def _named_ends(folder: Path) -> list[Any]:
    """eos_token_id of both configurations that a model has."""
    path = folder / "generation_config.json"
    generation = json.loads(path.read_bytes()) if path.exists() else {}
    config = base_config(folder).get_text_config()
    return [generation.get("eos_token_id"), getattr(config, "eos_token_id", None)]
