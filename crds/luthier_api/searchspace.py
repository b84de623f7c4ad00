"""The space of a search: what it comes to in a spec, and what is wrong with it. Pure."""

import itertools
import math
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import ValidationError

from luthier_api.finetuning import FineTuning
from luthier_api.meta import first_error, part_of
from luthier_api.optimizers import REFUSED
from luthier_api.search import DEFAULT_TRIALS, Search, SearchParameter
from luthier_api.searchable import SEARCHABLE

# A value by the path of its field.
Value = float | str
Settings = Mapping[str, Value]

# Combinations that a grid may have, and that are looked at for a wrong one.
MOST_COMBINATIONS = 100_000
_LOOKED_AT = 512
# Blocks of a method's settings, and the types that have them.
_TYPES = {
    "full": ("full",),
    "lora": ("lora", "qlora"),
    "quantization": ("qlora",),
    "adapter": ("adapter",),
    "virtualTokens": ("prefix", "prompt"),
}
_VIRTUAL = ("prefix", "prompt")
_WATCHING = ("reduce_lr_on_plateau", "greedy")


def trials_of(search: Search) -> int:
    """How many trials a search makes, if it makes all."""
    if search.strategy != "grid":
        return search.trials or DEFAULT_TRIALS
    return min(search.trials or MOST_COMBINATIONS, combinations(search))


def workers_of(search: Search) -> int:
    """How many of them run at a time."""
    return min(search.parallelism, trials_of(search))


def count_of(parameter: SearchParameter) -> int:
    """How many values a parameter may take; of a float without steps as good as all."""
    if parameter.type == "choice":
        return len(parameter.names or parameter.values or ())
    assert parameter.low is not None
    assert parameter.high is not None
    step = parameter.step or (1.0 if parameter.type == "int" else 0.0)
    if not step:
        return MOST_COMBINATIONS + 1
    return 1 + math.floor((parameter.high - parameter.low) / step + 1e-9)


def value_at(parameter: SearchParameter, index: int) -> Value:
    """The value of that index, of a parameter that has so many."""
    if parameter.type == "choice":
        return parameter.names[index] if parameter.names else (parameter.values or [])[index]
    assert parameter.low is not None
    return rounded(parameter, parameter.low + index * (parameter.step or 1.0))


def rounded(parameter: SearchParameter, value: float) -> float:
    """As it is written down: six digits, so that it is the same on every machine."""
    assert parameter.low is not None
    assert parameter.high is not None
    if parameter.type == "int":
        return round(value)
    return min(max(float(f"{value:.6g}"), parameter.low), parameter.high)


def combinations(search: Search) -> int:
    """Of all values with all."""
    return math.prod(count_of(it) for it in search.space.values())


def written(value: Value) -> str:
    """For people, and for a status."""
    return value if isinstance(value, str) else f"{value:.6g}"


def active(tuning: FineTuning, settings: Settings) -> dict[str, Value]:
    """Those settings that the method has: a rank is none of ia3's."""
    kind = str(settings.get("method.type", tuning.method.type))
    return {
        path: value
        for path, value in settings.items()
        if kind in _TYPES.get(path.partition(".")[0], (kind,))
    }


def applied(tuning: FineTuning, settings: Settings) -> FineTuning:
    """The fine-tuning of a trial. Raises ValidationError for what a field can't be."""
    document = part_of(tuning, FineTuning).to_json(sparse=True)
    document.pop("search", None)
    settings = active(tuning, settings)
    method = document.setdefault("method", {})
    if "method.type" in settings:
        kind = settings["method.type"]
        for block, kinds in _TYPES.items():
            if kind not in kinds:
                method.pop(block, None)
    for path, value in settings.items():
        *outer, name = SEARCHABLE[path].place
        within = document
        for part in outer:
            within = within.setdefault(part, {})
        within[name] = _read(path, value)
    training = document["training"]
    for name, other in (("maxSteps", "epochs"), ("epochs", "maxSteps")):
        if name in settings:
            training.pop(other, None)
    return FineTuning.model_validate(document)


def _read(path: str, value: Value) -> Any:
    if SEARCHABLE[path].words in (("true", "false"),):
        return value == "true"
    if SEARCHABLE[path].words:
        return value
    number = float(value)
    return int(number) if number == int(number) else number


def problem(tuning: FineTuning) -> tuple[str, str] | None:
    """What is wrong with the search of a spec: the field, and what to do. None: nothing."""
    search = tuning.search
    if search is None:
        return None
    for path, parameter in search.space.items():
        if wrong := _of_parameter(tuning, path, parameter):
            return f"search.space[{path}]", wrong
    if search.strategy == "grid" and combinations(search) > MOST_COMBINATIONS:
        return "search.strategy", (
            f"the grid has more than {MOST_COMBINATIONS:,} combinations: use random or tpe, or "
            "search fewer values"
        )
    for settings in corners(search):
        if wrong := _of_settings(tuning, settings):
            told = ", ".join(f"{name} {written(value)}" for name, value in settings.items())
            return "search.space", f"{wrong} (with {told}): take the value out, or change the spec"
    return None


def _of_parameter(tuning: FineTuning, path: str, parameter: SearchParameter) -> str | None:
    field = SEARCHABLE.get(path)
    if field is None:
        return "there is no such field to search: docs/search.md lists them"
    block = path.partition(".")[0]
    kinds = _TYPES.get(block)
    space = tuning.search.space if tuning.search else {}
    searched = space["method.type"].names or [] if "method.type" in space else []
    if kinds and not set(kinds).intersection(searched or [tuning.method.type]):
        return (
            f"it is for the types {' and '.join(kinds)}: remove it, or search method.type with "
            "one of them"
        )
    if field.words:
        unknown = [name for name in parameter.names or () if name not in field.words]
        if unknown or not parameter.names:
            return f"{', '.join(unknown) or 'it'} is no choice here: use {', '.join(field.words)}"
        return None
    numbers = [*(parameter.values or ()), parameter.low, parameter.high]
    if field.whole and parameter.type == "int":
        numbers.append((parameter.low or 0) + (parameter.step or 1))
    for number in numbers:
        if number is not None and (wrong := field.misses(number)):
            return f"{wrong}, which the field can't be: correct the range"
    if parameter.type == "int" and count_of(parameter) < 2:
        return "the step is larger than the range: lower it"
    return None


def corners(search: Search) -> Iterator[dict[str, Value]]:
    """Every choice with every other, and with both ends of each range; not without end."""
    ends: dict[str, list[Value]] = {}
    for path, it in search.space.items():
        ends[path] = [*(it.names or it.values or ())] or [it.low or 0.0, it.high or 0.0]
    every = itertools.product(*ends.values())
    for values in itertools.islice(every, _LOOKED_AT):
        yield dict(zip(ends, values, strict=True))


def _of_settings(tuning: FineTuning, settings: Settings) -> str | None:
    """Why a trial couldn't be: by the rules that no single field can tell."""
    try:
        found = applied(tuning, settings)
    except ValidationError as error:
        return ": ".join(first_error(error))
    training, kind = found.training, found.method.type
    options = training.scheduler_options
    scheduler = training.scheduler
    least = options.min_learning_rate if options else None
    decay = options.decay_ratio if options else None
    wrong = {
        f"the optimiser {training.optimizer} can't be used": training.optimizer in REFUSED,
        "packing and virtual tokens exclude each other": training.packing == "Always"
        and kind in _VIRTUAL,
        "prefix can't recompute activations": training.gradient_checkpointing == "Always"
        and kind == "prefix",
        "NEFTune's noise goes on embeddings that prompt and prefix train": kind in _VIRTUAL
        and training.neftune_noise_alpha is not None,
        "only lora, qlora and ia3 can be merged": found.method.merge
        and kind not in ("lora", "qlora", "ia3"),
        f"{scheduler} needs schedulerOptions.minLearningRate": scheduler.endswith("_with_min_lr")
        and least is None,
        f"{scheduler} needs schedulerOptions.decayRatio": scheduler == "warmup_stable_decay"
        and decay is None,
        "warmupRatio and decayRatio are more than all steps": decay is not None
        and training.warmup_ratio + decay > 1,
        f"{scheduler} watches the evaluations, and there is no evalEverySteps": scheduler
        in _WATCHING
        and training.eval_every_steps is None,
        "earlyStopping watches the evaluations, and there is no evalEverySteps": (
            training.early_stopping is not None and training.eval_every_steps is None
        ),
        f"the scheduler {scheduler} has no warm-up": training.warmup_ratio > 0
        and scheduler in (*_WATCHING, "constant"),
        "in_batch_negatives needs batches of more than one": training.in_batch_negatives
        and training.per_device_batch_size == 1,
        "a loss of your own decides about smoothing itself": training.loss is not None
        and training.label_smoothing > 0,
    }
    return next((why for why, holds in wrong.items() if holds), None)
