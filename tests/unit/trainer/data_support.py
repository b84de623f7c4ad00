"""What the tests of data are made of: rows as the files of a dataset, and preflight of them."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from unit.trainer.support import MakeSpec, spec_maker

from luthier_api.finetuning import FineTuning
from luthier_trainer.data import prepare as data
from luthier_trainer.data.examples import Examples
from luthier_trainer.data.sources import fetch
from luthier_trainer.data.table import IN_MEMORY_BYTES
from luthier_trainer.errors import TrainerError

TEMPLATE = "Text: {text}\nColour: {label}"
GOOD = b'{"text": "a tomato", "label": "red"}\n{"text": "a meadow", "label": "green"}\n'

Prepare = Callable[..., Examples]


def jsonl(*rows: dict[str, Any]) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def lines(*rows: tuple[str, str]) -> bytes:
    return jsonl(*({"text": text, "label": label} for text, label in rows))


def parquet(rows: list[dict[str, Any]]) -> bytes:
    import pyarrow as pa  # type: ignore[import-untyped]
    import pyarrow.parquet as pq  # type: ignore[import-untyped]

    sink = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pylist(rows), sink)
    content: bytes = sink.getvalue().to_pybytes()
    return content


def preparer(folder: Path, make_spec: MakeSpec) -> Prepare:
    """Writes the files of a dataset (and of mixed sources), fetches and prepares it."""

    def run(
        files: dict[str, bytes],
        *mixed: dict[str, bytes],
        in_memory_bytes: int = IN_MEMORY_BYTES,
        most: int = 1000,
        **dataset: Any,
    ) -> Examples:
        sources = []
        for number, one in enumerate([files, *mixed]):
            base = folder / f"data-{number}"
            base.mkdir(exist_ok=True)
            for name, content in one.items():
                (base / name).write_bytes(content)
            name = f"/{next(iter(one))}" if len(one) == 1 else ""
            uri = f"file://{base}{name}"
            sources.append(fetch(uri, make_spec(), folder / f"fetched-{number}"))
        return data.prepare(
            sources[0], _tuning(most, **dataset), folder / "rows", sources[1:], in_memory_bytes
        )

    return run


def _tuning(
    most: int,
    task: str = "classification",
    training: dict[str, Any] | None = None,
    **dataset: Any,
) -> FineTuning:
    if "columns" not in dataset:
        dataset.setdefault("template", TEMPLATE)
    return FineTuning.model_validate(
        {
            "model": {"uri": "s3://models/tiny"},
            "task": task,
            "dataset": {"uri": "s3://datasets/x", **dataset},
            "training": {"maxSteps": 1, **(training or {})},
            "evaluation": {"metrics": ["loss"], "maxSamples": most},
        }
    )


def bare_preparer(folder: Path) -> Prepare:
    """As `preparer`, for tests that need no model."""
    return preparer(folder, spec_maker(folder / "model", folder / "colours", folder))


def outcome(call: Callable[[], Any]) -> Any:
    """What it returns, or the error of ours that it ends with."""
    try:
        return call()
    except TrainerError as failure:
        return failure.error
