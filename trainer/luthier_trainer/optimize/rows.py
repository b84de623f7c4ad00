"""The rows that all candidates are measured on: those that the fine-tuning reported on, or those
that the order names."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from luthier_api.evaluation import lower_is_better
from luthier_api.optimizejob import Gates
from luthier_api.runspec import OptimizeOrder
from luthier_trainer.data import prepare as data
from luthier_trainer.data.answers import as_generation
from luthier_trainer.data.examples import Example
from luthier_trainer.errors import unsupported
from luthier_trainer.evaluation import metrics
from luthier_trainer.log import log
from luthier_trainer.models.architecture import describe
from luthier_trainer.models.load import base_config
from luthier_trainer.objectives.causal import Causal
from luthier_trainer.objectives.choose import choose
from luthier_trainer.objectives.objective import Item, Objective
from luthier_trainer.objectives.positions import positions_of
from luthier_trainer.objectives.reading import Read, read_by
from luthier_trainer.optimize.fetch import Fetched, check_dataset
from luthier_trainer.published.order import as_fine_tuning


@dataclass(frozen=True)
class Rows:
    """`items` are the encoded `examples`, `values` what is measured on them (metrics.chosen).
    `digest`: of all that shapes a measurement."""

    objective: Objective
    examples: Sequence[Example]
    items: Sequence[Item]
    values: tuple[str, ...]
    split: str
    batch_size: int
    digest: str


def read_rows(
    fetched: Fetched, order: OptimizeOrder, tokenizer: Any, folder: Path, began: datetime | None
) -> tuple[Objective | None, Rows | None]:
    """(objective, rows); `folder` must live as long as they do. Without an evaluation there is
    neither; a run that reported on no rows has an objective. `began`: the moment that chat
    templates see, unless the source is of a run: then it is that one's.

    Raises TrainerError: DatasetChanged, GateNotMeasurable, and all that data raises.
    """
    tuning = fetched.tuning
    if tuning is None:
        return None, None
    examples = data.load(as_fine_tuning(order, tuning), folder)
    check_dataset(fetched, examples.digest)
    tuning, examples = as_generation(tuning, examples)
    positions = positions_of(base_config(fetched.model))
    now = fetched.began or began
    objective = choose(
        tuning, examples, tokenizer, describe(fetched.model), positions=positions, now=now
    )
    objective = read_by(objective, fetched.ask.reading if fetched.ask else None)
    gates, wanted = order.optimizing.gates, tuning.evaluation
    rows = examples.reported
    split = examples.report_split
    if split is None or not len(rows):
        _require_no_rows(gates)
        log("warning: neither eval nor test rows: metrics and perplexity are not measured")
        return objective, None
    values = _values(objective, wanted.metrics, gates)
    gold = [objective.gold(row) for row in rows]
    places = [row.place for row in rows]
    metrics.check_gold(values, gold, places)
    reading = [objective.reading.to_json()] if isinstance(objective, Read) else []
    moment = _moment(objective, now)
    document = [tuning.to_json(), examples.digest, values, places, *moment, *reading]
    found = Rows(
        objective=objective,
        examples=rows,
        items=objective.encode(rows),
        values=values,
        split=split,
        batch_size=wanted.batch_size,
        digest=hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest(),
    )
    log(f"rows: {len(rows)} of {split}, {', '.join(values)}")
    return objective, found


def _moment(objective: Objective, now: datetime | None) -> list[str]:
    """The one that its texts tell, if their chat template writes the date."""
    dated = isinstance(objective, Causal) and getattr(objective.encoder, "dated", False)
    return [now.isoformat()] if dated and now else []


def _values(objective: Objective, names: Sequence[str], gates: Gates) -> tuple[str, ...]:
    """What is measured: what the fine-tuning was, and what the gates ask for."""
    known = metrics.measurable(objective)
    wanted = ["perplexity"] if "perplexity" in known else []
    if gates.metric is not None:
        if lower_is_better(gates.metric):
            can = "maxPerplexityIncrease" if "perplexity" in known else _others(known)
            raise unsupported(
                "GateNotMeasurable",
                f"{gates.metric} is better when it is lower: use {can}",
                "gates.metric",
            )
        if gates.metric not in known:
            raise unsupported(
                "GateNotMeasurable",
                f"{gates.metric} can't be measured on these rows; choose from {_others(known)}",
                "gates.metric",
            )
        wanted.append(gates.metric)
    if gates.max_perplexity_increase is not None and "perplexity" not in known:
        raise unsupported(
            "GateNotMeasurable",
            "only language models have a perplexity: use metric and maxMetricDrop",
            "gates.maxPerplexityIncrease",
        )
    return tuple(dict.fromkeys([*metrics.chosen(names, objective), *wanted]))


def _others(known: Sequence[str]) -> str:
    can = [name for name in known if not lower_is_better(name)]
    return ", ".join(can) or "maxPerplexityIncrease and maxLogitsDifference"


def _require_no_rows(gates: Gates) -> None:
    if gates.metric is None and gates.max_perplexity_increase is None:
        return
    raise unsupported(
        "GateNotMeasurable",
        "the FineTuneJob had neither eval nor test rows to measure these gates on: set evaluation, "
        "or leave them out",
        "gates.metric" if gates.metric else "gates.maxPerplexityIncrease",
    )
