"""The rows that an adapter's own run was measured on, as its manifest names them."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from luthier_api.finetuning import FineTuning
from luthier_api.runspec import RunOrder
from luthier_trainer.bundle.fetch import Located, fetch_template, has_own_template
from luthier_trainer.data import prepare
from luthier_trainer.data.examples import Example
from luthier_trainer.errors import TrainerError
from luthier_trainer.evaluation import metrics
from luthier_trainer.log import log_traceback
from luthier_trainer.models.architecture import describe
from luthier_trainer.models.load import base_config, load_tokenizer
from luthier_trainer.objectives.choose import choose
from luthier_trainer.objectives.objective import Objective
from luthier_trainer.objectives.positions import positions_of
from luthier_trainer.pod.claim import began_of
from luthier_trainer.published.order import as_fine_tuning

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
    located: Located,
    order: RunOrder,
    base: Path,
    tokenizer: Any,
    folder: Path,
    now: datetime | None,
) -> Rows:
    """Fetch and encode them as the run did. `tokenizer`: the base's. `folder` must live as long as
    the rows do; `now`: the moment that chat templates see, where the run's own isn't known.

    Raises NoRowsError; TrainerError where storage is down.
    """
    manifest: Any = located.manifest
    if manifest is None:
        raise NoRowsError("no FineTuneJob's manifest says what it was measured on")
    reported = _reported(manifest)
    if not reported:
        raise NoRowsError("its run reported no metric")
    try:
        tuning = FineTuning.read(manifest["spec"])
        examples = prepare.load(as_fine_tuning(order, tuning), folder)
    except (TrainerError, ValueError, KeyError, TypeError) as error:
        if isinstance(error, TrainerError) and error.error.code == "StorageUnavailable":
            raise
        why = str(error)[:200]
        if not isinstance(error, TrainerError):  # its words may quote a row: not for a status
            why = type(error).__name__
            log_traceback(error)
        raise NoRowsError(f"its run's rows can't be read: {why}") from error
    if examples.digest != manifest.get("datasetDigest"):
        raise NoRowsError("the data has changed since its run")
    split = examples.report_split
    if split is None:
        raise NoRowsError("its run had neither eval nor test rows")
    if tuning.task == "preference":
        raise NoRowsError("what a run measures of preferences needs the model it began with")
    objective = choose(
        tuning,
        examples,
        _with_template(located, base, tokenizer),
        describe(base),
        positions=positions_of(base_config(base)),
        now=began_of(located.store) or now,
    )
    known = metrics.measurable(objective)
    names = [name for name in reported if name in known and name not in _LAST_RESORT]
    metric = next(iter([*names, *(name for name in _LAST_RESORT if name in reported)]), None)
    if metric is None:
        raise NoRowsError(f"of what its run reported ({', '.join(reported)}) nothing is ours")
    rows = examples.reported
    return Rows(tuning, objective, rows, split, metric, reported[metric])


def _with_template(located: Located, base: Path, tokenizer: Any) -> Any:
    """The base's tokenizer; another one where the run had a chat template of its own."""
    if not has_own_template(located):
        return tokenizer
    template = fetch_template(located)
    if template is None:
        raise NoRowsError("the chat template of its run isn't beside it")
    own = load_tokenizer(base)
    own.chat_template = template
    return own


def _reported(manifest: dict[str, Any]) -> dict[str, float]:
    """The metrics that a run's manifest tells; none where it is of another form."""
    found: Any = manifest
    for name in ("result", "evaluation", "tuned"):
        found = found.get(name) if isinstance(found, dict) else None
    known = found.items() if isinstance(found, dict) else ()
    return {name: float(value) for name, value in known if isinstance(value, int | float)}
