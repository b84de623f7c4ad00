"""adapter_config.json, whoever wrote it: read within bounds into one model, its patterns resolved
to names of modules, so that neither we nor peft run an expression of a stranger's for long."""

import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any

import regex  # type: ignore[import-untyped]
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from luthier_api.meta import first_error

# peft writes some hundred bytes; lists of every module of a large model come to more.
_MOST_BYTES = 1_000_000
_MOST_PATTERNS, _MOST_RANK, _MOST_ALPHA = 10_000, 65_536, 1e9
# All patterns on all modules of an adapter: an innocent set takes milliseconds.
_SECONDS = 1.0

Rank = Annotated[int, Field(ge=1, le=_MOST_RANK)]
Alpha = Annotated[float, Field(ge=-_MOST_ALPHA, le=_MOST_ALPHA)]
Pattern = Annotated[str, StringConstraints(max_length=500)]
Word = Annotated[str, StringConstraints(max_length=200)]


class ConfigError(ValueError):
    """Why a configuration can't be used, in words without a remedy."""


class AdapterConfig(BaseModel):
    """What is read of it here; peft's other fields are kept as they are."""

    model_config = ConfigDict(extra="allow", frozen=True, strict=True, allow_inf_nan=False)

    peft_type: Word | None = None
    adapter_type: Word | None = None  # of bottleneck adapters
    task_type: Word | None = None
    base_model_name_or_path: str | None = None
    r: Rank | None = None
    lora_alpha: Alpha | None = None
    rank_pattern: dict[Pattern, Rank] | None = Field(None, max_length=_MOST_PATTERNS)
    alpha_pattern: dict[Pattern, Alpha] | None = Field(None, max_length=_MOST_PATTERNS)
    use_rslora: bool | None = None
    target_modules: list[Word] | str | None = None
    exclude_modules: list[Word] | str | None = None
    feedforward_modules: list[Word] | Pattern | None = None
    layers_to_transform: list[int] | int | None = None
    layers_pattern: list[Pattern] | Pattern | None = None
    modules_to_save: list[Word] | None = None


def read_config(path: Path) -> AdapterConfig:
    """Raises ConfigError; OSError where there is no such file."""
    size = path.stat().st_size
    if size > _MOST_BYTES:
        raise ConfigError(f"it has {size:,} bytes, and no configuration has so many")
    try:
        return AdapterConfig.model_validate_json(path.read_bytes())
    except ValidationError as error:
        place, problem = first_error(error)
        raise ConfigError(f"{place}: {problem}" if place else problem) from error


def resolved(config: AdapterConfig, modules: Iterable[str]) -> dict[str, Any]:
    """The configuration as JSON, with exact names of `modules` (where the adapter has weights) in
    place of all that is a pattern. Raises ConfigError."""
    names = sorted(set(modules))
    deadline = time.monotonic() + _SECONDS
    document = config.model_dump(exclude_unset=True)
    for field in ("rank_pattern", "alpha_pattern"):
        document[field] = _by_name(document.get(field) or {}, names, deadline)
    forward = config.feedforward_modules
    if isinstance(forward, str):
        found = [name for name in names if _matches(forward, name, deadline)]
        document["feedforward_modules"] = found
    narrowing = ("exclude_modules", "layers_to_transform", "layers_pattern")
    if isinstance(config.target_modules, str) or any(document.get(it) for it in narrowing):
        document["target_modules"] = names
        for field in narrowing:
            document.pop(field, None)
    return document


def first_match(patterns: Mapping[str, Any] | None, module: str, default: Any) -> Any:
    """The value for a module: of the first key that matches, as in peft. Raises ConfigError."""
    deadline = time.monotonic() + _SECONDS
    for pattern, value in (patterns or {}).items():
        if _matches(rf"(.*\.)?({pattern})$", module, deadline):
            return value
    return default


def rank_of(config: Mapping[str, Any], module: str) -> int:
    """The rank that a configuration as JSON gives a module. Raises ConfigError, KeyError, TypeError
    or ValueError."""
    return int(first_match(config.get("rank_pattern"), module, config["r"]))


def _by_name(patterns: Mapping[str, Any], names: list[str], deadline: float) -> dict[str, Any]:
    """Of each module that a pattern means: the first one's value."""
    found = {}
    for name in names:
        for pattern, value in patterns.items():
            if name == pattern or _matches(rf"(.*\.)?({pattern})$", name, deadline):
                found[name] = value
                break
    return found


def _matches(pattern: str, name: str, deadline: float) -> bool:
    """From its start to its end."""
    try:
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        return regex.fullmatch(pattern, name, timeout=left) is not None
    except TimeoutError:
        raise ConfigError(
            "its patterns take too long to be matched: name modules instead"
        ) from None
    except (regex.error, RecursionError, OverflowError) as error:
        raise ConfigError(f"{pattern[:80]!r} is no pattern: {str(error)[:80]}") from error
