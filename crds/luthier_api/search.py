"""Search over hyper-parameters: many trials, the best of which is the result."""

from typing import Annotated, Literal

from pydantic import Field

from luthier_api.bounds import MOST_TRIALS, Amount, Count
from luthier_api.meta import Model, Rule
from luthier_api.searchable import INTEGERS, PATHS, WORDS

# Where `trials` is left out, but for grid.
DEFAULT_TRIALS = 10


def _listed(names: tuple[str, ...]) -> str:
    """As a list of CEL."""
    return "[" + ", ".join(f"'{name}'" for name in names) + "]"


class Objective(Model):
    """What a search looks for."""

    metric: str = Field(
        min_length=1,
        max_length=64,
        description="Metric on `eval`: eval_loss, or one of evaluation.metrics; of rouge, rougeL. "
        "Never measured on `test`.",
    )
    direction: Literal["maximize", "minimize"] = Field(
        default="maximize", description="Which way is better."
    )

    rules = (
        Rule(
            "!(self.metric in ['loss', 'eval_loss', 'perplexity', 'ece', 'mse', 'mae']) || "
            "self.direction == 'minimize'",
            "less of a loss or an error is better: set direction to minimize",
            field=".direction",
        ),
    )


class SearchParameter(Model):
    """The values that one parameter may take."""

    type: Literal["float", "int", "choice"] = Field(description="Kind of the parameter.")
    low: float | None = Field(default=None, description="Smallest value of float and int.")
    high: float | None = Field(default=None, description="Largest value of float and int.")
    log: bool = Field(default=False, description="Draw from the logarithm.")
    step: float | None = Field(
        default=None, gt=0, description="Distance between two values of float and int."
    )
    values: list[float] | None = Field(
        default=None, min_length=1, max_length=64, description="The numbers of choice."
    )
    names: list[Annotated[str, Field(min_length=1, max_length=64)]] | None = Field(
        default=None,
        min_length=1,
        max_length=64,
        description="The words of choice, e.g. of method.type.",
    )

    rules = (
        Rule(
            "self.type != 'choice' || (has(self.values) != has(self.names) && !has(self.low) && "
            "!has(self.high) && !has(self.step))",
            "choice takes either values (numbers) or names (words), and neither low, high nor step",
        ),
        Rule(
            "self.type == 'choice' || (has(self.low) && has(self.high) && !has(self.values) && "
            "!has(self.names) && "
            "self.low < self.high)",
            "float and int take low and high, low below high, and neither values nor names",
        ),
        Rule(
            "!self.log || (has(self.low) && self.low > 0.0)",
            "the logarithm needs a range above 0: set low above 0",
            field=".log",
        ),
        Rule(
            "!self.log || (self.type != 'choice' && !has(self.step))",
            "the logarithm is for a range without steps: remove log, or step",
            field=".log",
        ),
    )


class Prune(Model):
    """End bad trials early."""

    strategy: Literal["asha"] = Field(
        default="asha",
        description="asha: a trial goes on at each rung only while it is among the best "
        "1/reduction of those that came as far.",
    )
    reduction: int = Field(default=3, ge=2, le=10, description="One in how many goes on.")
    min_steps: int = Field(
        default=20,
        ge=1,
        le=1_000_000,
        description="Steps of the first rung; the next has reduction times as many.",
    )


class StopAfter(Model):
    """When a search ends before it has made all trials."""

    trials_without_gain: int = Field(
        ge=1, le=1000, description="Trials in a row that weren't better than the best."
    )


class Search(Model):
    """Hyper-parameter search."""

    strategy: Literal["random", "tpe", "grid"] = Field(
        default="random",
        description="random and grid: a function of seed and number of the trial. tpe: from the "
        "trials that have ended (Optuna's TPESampler).",
    )
    trials: int | None = Field(
        default=None,
        ge=1,
        le=1000,
        description="Trials in all. Left out: 10; with grid: all combinations.",
    )
    parallelism: int = Field(
        default=1,
        ge=1,
        le=64,
        description="Trials at a time, each in a pod of its own. With 1, the search is exact to "
        "repeat.",
    )
    seed: int = Field(default=42, ge=0, le=4_294_967_295, description="Of the values drawn.")
    objective: Objective = Field(description="What makes one trial better than another.")
    space: dict[str, SearchParameter] = Field(
        min_length=1, max_length=32, description="Parameters by their path, e.g. lora.rank."
    )
    prune: Prune | None = Field(
        default=None, description="End bad trials early. Left out: all go to their end."
    )
    max_failed_trials: int = Field(
        default=5, ge=0, le=1000, description="The search fails when more trials than this fail."
    )
    stop_after: StopAfter | None = Field(
        default=None, description="End before all trials are made. Left out: make them all."
    )
    again: bool = Field(
        default=False,
        description="Whether a retraining searches again, or goes on with the best settings.",
    )

    rules = (
        Rule(
            f"self.space.all(path, path in {_listed(PATHS)})",
            "a path of the space names a number or a choice of training as learningRate, of method "
            "as lora.rank, and the method's type as method.type: docs/search.md lists them",
            field=".space",
        ),
        Rule(
            f"self.space.all(path, !(path in {_listed(WORDS)}) || has(self.space[path].names))",
            "a field with choices in words is searched by type choice and names, e.g. {type: "
            "choice, names: [lora, ia3]}",
            field=".space",
        ),
        Rule(
            f"self.space.all(path, path in {_listed(WORDS)} || !has(self.space[path].names))",
            "a field that holds a number is searched by type float or int with low and high, or by "
            "type choice with values",
            field=".space",
        ),
        Rule(
            f"self.space.all(path, !(path in {_listed(INTEGERS)}) || "
            "self.space[path].type != 'float')",
            "a field that holds a whole number is searched by type int, or by type choice",
            field=".space",
        ),
        Rule(
            "self.strategy != 'grid' || self.space.all(path, self.space[path].type != 'float' || "
            "has(self.space[path].step))",
            "a grid needs the values that there are: set step, or use type choice with values",
            field=".space",
        ),
    )


class Trial(Model):
    """One run of a search."""

    number: Count = Field(description="Its number, from 0.")
    state: Literal["Running", "Complete", "Pruned", "Failed"] = Field(description="What it is.")
    value: float | None = Field(default=None, description="The objective, of the last it reported.")
    step: Count = Field(default=0, description="Steps done.")
    seconds: Amount | None = Field(default=None, description="How long it took, in all its pods.")
    error: str | None = Field(default=None, max_length=200, description="Why it failed.")
    settings: Annotated[dict[str, Annotated[str, Field(max_length=64)]], Field(max_length=32)] = (
        Field(default={}, description="The values that it tries, by path.")
    )


class SearchStatus(Model):
    """How far a search is."""

    trials: Count = Field(default=0, description="Trials that are to be made.")
    running: Count = Field(default=0, description="Trials that run.")
    complete: Count = Field(default=0, description="Trials that ended well.")
    pruned: Count = Field(default=0, description="Trials that were ended early.")
    failed: Count = Field(default=0, description="Trials that failed.")
    best: Trial | None = Field(default=None, description="The best so far.")
    table: list[Trial] = Field(
        default=[],
        max_length=MOST_TRIALS,
        description="The best and the latest ones, by number; report/search.html has all.",
    )
    stopped: str | None = Field(
        default=None, max_length=200, description="Why no more trials are made."
    )
