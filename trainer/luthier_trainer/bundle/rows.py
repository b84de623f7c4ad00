"""The rows that an adapter's own run was measured on, as its manifest names them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from luthier_api.finetuning import FineTuning
from luthier_api.runspec import RunOrder
from luthier_trainer.data import prepare
from luthier_trainer.data.examples import Example
from luthier_trainer.errors import TrainerError
from luthier_trainer.evaluation import metrics
from luthier_trainer.models.architecture import describe
from luthier_trainer.models.load import base_config
from luthier_trainer.objectives.choose import choose
from luthier_trainer.objectives.objective import Objective
from luthier_trainer.objectives.positions import positions_of
from luthier_trainer.optimize.fetch import as_fine_tuning

# Told where a run measured nothing that is better when it is higher.
_LAST_RESORT = ("perplexity", "loss")


class NoRowsError(Exception):
    """Why an adapter's metric can't be measured again, in words."""


@dataclass(frozen=True)
class Rows:
    """`metric`: the first that its run reported; higher is better, unless it is the loss or made
    of it. `reported`: its value then."""

    tuning: FineTuning
    objective: Objective
    examples: Sequence[Example]
    split: str
    metric: str
    reported: float

    @property
    def higher_is_better(self) -> bool:
        return self.metric not in _LAST_RESORT


def read_rows(
    manifest: dict[str, Any] | None, order: RunOrder, base: Path, tokenizer: Any, folder: Path
) -> Rows:
    """Fetch and encode them as the run did. `folder` must live as long as the rows do.

    Raises NoRowsError; TrainerError where storage is down.
    """
    if manifest is None:
        raise NoRowsError("no FineTuneJob's manifest says what it was measured on")
    reported = (manifest.get("result", {}).get("evaluation") or {}).get("tuned") or {}
    if not reported:
        raise NoRowsError("its run reported no metric")
    try:
        tuning = FineTuning.model_validate(manifest["spec"])
        examples = prepare.load(as_fine_tuning(order, tuning), folder)
    except (TrainerError, ValueError, KeyError) as error:
        if isinstance(error, TrainerError) and error.error.code == "StorageUnavailable":
            raise
        raise NoRowsError(f"its run's rows can't be read: {str(error)[:200]}") from error
    if examples.digest != manifest.get("datasetDigest"):
        raise NoRowsError("the data has changed since its run")
    split = examples.report_split
    if split is None:
        raise NoRowsError("its run had neither eval nor test rows")
    objective = choose(
        tuning, examples, tokenizer, describe(base), positions=positions_of(base_config(base))
    )
    known = metrics.measurable(objective)
    names = [name for name in reported if name in known and name not in _LAST_RESORT]
    metric = next(iter([*names, *(name for name in _LAST_RESORT if name in reported)]), None)
    if metric is None:
        raise NoRowsError(f"of what its run reported ({', '.join(reported)}) nothing is ours")
    rows = examples.reported
    return Rows(tuning, objective, rows, split, metric, float(reported[metric]))
