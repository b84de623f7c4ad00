"""What was measured of the source or of a candidate, as it is kept; and as values for people."""

import base64
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from luthier_api.finetunejob import EvaluationResult
from luthier_api.optimizejob import Candidate
from luthier_trainer.evaluation.compare import compare
from luthier_trainer.evaluation.measure import Measurement
from luthier_trainer.evaluation.timing import Timing
from luthier_trainer.objectives.objective import Prediction
from luthier_trainer.optimize.outputs import Outputs, difference
from luthier_trainer.optimize.rows import Rows

_DIGITS = 6


@dataclass(frozen=True)
class Measured:
    """`outputs` on the fixed rows; `predictions` on the rows. Each is None (or empty) where it
    couldn't be measured: no rows, or not the device that it is for."""

    size_bytes: int
    outputs: Outputs | None = None
    predictions: Sequence[Prediction] | None = None
    seconds: float = 0.0
    timings: tuple[Timing, ...] = ()

    def to_json(self) -> dict[str, Any]:
        outputs, predictions = self.outputs, self.predictions
        return {
            "sizeBytes": self.size_bytes,
            "outputs": None if outputs is None else _packed(outputs),
            "predictions": None if predictions is None else [asdict(it) for it in predictions],
            "seconds": self.seconds,
            "timings": [asdict(timing) for timing in self.timings],
        }


def from_json(document: dict[str, Any]) -> Measured:
    """The opposite of Measured.to_json."""
    outputs, predictions = document["outputs"], document["predictions"]
    return Measured(
        size_bytes=document["sizeBytes"],
        outputs=None if outputs is None else _unpacked(outputs),
        predictions=None if predictions is None else [Prediction(**it) for it in predictions],
        seconds=document["seconds"],
        timings=tuple(Timing(**timing) for timing in document["timings"]),
    )


def compared(
    precision: str, found: Measured, source: Measured, rows: Rows | None, metric: str | None
) -> tuple[Candidate, EvaluationResult | None]:
    """Values of a candidate beside those of the source, and all metrics with their change (its
    `base` is the source); None: there are no rows, or it doesn't run here. `metric`: that of the
    gates."""
    evaluation = None
    if rows and found.predictions is not None and source.predictions is not None:
        sides = [measurement(side, rows) for side in (source, found)]
        evaluation = compare(sides[0], sides[1], rows.values, rows.split).result
    change = evaluation.change.get(metric) if evaluation and metric else None
    values = evaluation.tuned if evaluation else {}
    timing = found.timings[0] if found.timings else None
    outputs = found.outputs
    return (
        Candidate(
            precision=precision,
            size_bytes=found.size_bytes,
            perplexity=values.get("perplexity"),
            metric=values.get(metric) if metric else None,
            metric_delta=change.by if change else None,
            metric_low=change.low if change else None,
            metric_high=change.high if change else None,
            logits_difference=(
                None
                if outputs is None or source.outputs is None
                else float(f"{difference(outputs, source.outputs):.4g}")
            ),
            tokens_per_second=timing.tokens_per_second if timing else None,
            first_token_ms=timing.first_token_ms if timing else None,
            memory_bytes=timing.memory_bytes if timing else None,
            load_seconds=timing.load_seconds if timing else None,
        ),
        evaluation,
    )


def baseline(found: Measured, rows: Rows | None, metric: str | None) -> Candidate:
    """The source itself."""
    alone, _ = compared("fp32", found, found, rows, metric)
    same = dict.fromkeys(("metric_delta", "metric_low", "metric_high", "logits_difference"))
    return alone.model_copy(update=same)


def measurement(found: Measured, rows: Rows) -> Measurement:
    """What it made of the rows."""
    gold = [rows.objective.gold(example) for example in rows.examples]
    return Measurement(rows.objective.answer_kind, gold, found.predictions or [], found.seconds)


def _packed(values: Outputs) -> dict[str, Any]:
    content = np.ascontiguousarray(values, dtype="<f4").tobytes()
    return {"shape": list(values.shape), "fp32": base64.b64encode(content).decode()}


def _unpacked(document: dict[str, Any]) -> Outputs:
    content = base64.b64decode(document["fp32"])
    return np.frombuffer(content, dtype="<f4").reshape(document["shape"]).astype(np.float32)
