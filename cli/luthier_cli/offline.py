"""Check a manifest without a cluster: the API's own models, then its CEL rules.

The verdict is that of the API server, as far as the schema goes. What only a
cluster knows (namespaces, quotas, admission policies) isn't looked at.
"""

from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from luthier_api import API_VERSION, GROUP
from luthier_api.fieldnames import did_you_mean, is_near, meant
from luthier_api.kinds import FINE_TUNE_JOB, KINDS, Kind, kind_called
from luthier_api.meta import Model
from luthier_cli import metadata, paths
from luthier_cli.findings import Finding, field_name
from luthier_cli.yaml import Document, Path, at

_TOP_LEVEL = ("apiVersion", "kind", "metadata", "spec", "status")
_SHOWN = 60  # characters of a wrong value

Problem = tuple[Path, str, str]


def is_ours(value: Any) -> bool:
    """Whether a document is a resource of the group luthier.dev, or is meant to be one."""
    if not isinstance(value, dict):
        return False
    group, slash, _ = str(value.get("apiVersion") or "").partition("/")
    if slash or group == GROUP:
        return is_near(group, GROUP)
    return _kind_meant(value.get("kind")) is not None


def check_document(document: Document, file: str) -> list[Finding]:
    """All that is wrong with a resource of ours, by line. CEL rules once the fields are right."""
    return findings(document, file, _problems(document.value))


def findings(document: Document, file: str, problems: Iterator[Problem]) -> list[Finding]:
    """Problems by their line."""
    return [
        Finding(file, document.line(path), field_name(path), message, remedy)
        for path, message, remedy in sorted(problems, key=lambda problem: document.line(problem[0]))
    ]


def kind_of(value: dict[str, Any]) -> Kind | None:
    """The kind of a resource of ours, if this API version has it."""
    return KINDS.get(str(value.get("kind"))) if value.get("apiVersion") == API_VERSION else None


def _kind_meant(name: Any) -> Kind | None:
    """The kind of that name, or of one that is spelt much like it."""
    if not isinstance(name, str):
        return None
    near = (kind for kind in KINDS.values() if is_near(name, kind.name))
    return kind_called(name) or next(near, None)


def _problems(value: dict[str, Any]) -> Iterator[Problem]:
    version, named = value.get("apiVersion"), value.get("kind")
    if version != API_VERSION:
        found = "required" if version is None else f"unknown version {_shown(version)}"
        yield ("apiVersion",), found, f"use {API_VERSION}"
    kind = _kind_meant(named)
    if kind is None or named != kind.name:
        found = "required" if named is None else f"no kind {_shown(named)} in {GROUP}"
        remedy = f"did you mean {kind.name}?" if kind else f"use {', '.join(KINDS)}"
        yield ("kind",), found, remedy
    # Another version has other fields; a misspelt one is meant to have these.
    if kind is None or (str(version).partition("/")[0] == GROUP and version != API_VERSION):
        return
    for name in value.keys() - set(_TOP_LEVEL):
        yield (name,), "unknown field", remedy_for_unknown(kind, (name,))
    yield from metadata.problems(value.get("metadata"))
    yield from _spec_problems(kind, value.get("spec"))
    if kind == FINE_TUNE_JOB:
        yield from _names_itself(value)


def _names_itself(value: dict[str, Any]) -> Iterator[Problem]:
    """What no rule of a spec can tell: it doesn't see the resource's name."""
    path: Path = ("spec", "model", "adapter", "fineTuneJobRef", "name")
    name = at(value, ("metadata", "name"))
    if name is not None and at(value, path) == name:
        yield path, "a FineTuneJob can't go on from its own result", "name another FineTuneJob"


def _spec_problems(kind: Kind, spec: Any) -> Iterator[Problem]:
    try:
        model = parse_spec(kind, spec)
    except ValidationError as error:
        for detail in error.errors(include_url=False):
            yield explain(kind.spec_model(), spec, detail, "spec")
        return
    from luthier_cli.rules import broken_rules

    broken = list(broken_rules(model))
    for path, message in broken:
        yield ("spec", *path), message, uri_remedy(message, at(spec, path))
    if not broken:
        yield from schedule_problems(model)


def schedule_problems(spec: Model) -> Iterator[Problem]:
    """What no rule of the schema can tell of a schedule: 30 February, a zone that isn't one."""
    asks = getattr(spec, "retrain", None)
    if asks is None or asks.schedule is None:
        return
    from luthier_api.schedule import ScheduleError, check

    try:
        check(asks.schedule, asks.time_zone)
    except ScheduleError as error:
        message, _, remedy = str(error).partition("; ")
        yield ("spec", "retrain", error.field), message, remedy


def parse_spec(kind: Kind, spec: Any) -> Model:
    """Read a spec as the API server would: no coercion, nulls dropped, and no field but by its
    name there: Python's own (max_steps) are unknown. Raises ValidationError."""
    return kind.spec_model().model_validate(
        without_nulls(spec), strict=True, by_alias=True, by_name=False
    )


def without_nulls(value: Any) -> Any:
    """The API server drops nulls of fields that can't be null, and none of ours can."""
    if isinstance(value, dict):
        return {key: without_nulls(item) for key, item in value.items() if item is not None}
    return [without_nulls(item) for item in value] if isinstance(value, list) else value


def explain(model: type[BaseModel], value: Any, detail: ErrorDetails, root: str = "") -> Problem:
    """A pydantic error about `value` in the words of this API. `root`: where that stands."""
    location = detail["loc"]
    if detail["type"] != "missing":
        location = _followed(value, location)
    path: Path = (root, *location) if root else location
    context = detail.get("ctx", {})
    match detail["type"]:
        case "extra_forbidden":
            return path, "unknown field", meant(model, detail["loc"], root)
        case "missing":
            return path, "required", "set this field"
        case "literal_error":
            return (
                path,
                f"{_shown(detail['input'])} isn't a choice here",
                (f"use {context['expected']}"),
            )
        case "model_type" | "model_attributes_type" | "dict_type":
            return path, f"{_shown(detail['input'])} isn't a mapping", "write fields below it"
        case "luthier_pattern":
            return path, detail["msg"], uri_remedy(detail["msg"], detail["input"])
        case _:
            given = detail["input"]
            got = f", not {_shown(given)}" if isinstance(given, str | int | float) else ""
            return path, detail["msg"].replace("Input should", "must", 1) + got, ""


def uri_remedy(message: str, value: Any) -> str:
    """For a text that is no URI, or a web page's: the hub's, or a file's of this machine."""
    if not isinstance(value, str):
        return ""
    if name := paths.named_by_page(value):
        return f"did you mean hf://{name}?"
    if "begins with a scheme" not in message:
        return ""
    if paths.path_of(value).exists():
        return "a file of this machine: file://…, or --model and --dataset of luthier run"
    return f"did you mean hf://{value}?" if paths.looks_like_hub(value) else ""


def _followed(value: Any, path: Path) -> Path:
    """As far as it leads: of a field with several types, pydantic's ends with one of them."""
    for count, part in enumerate(path):
        try:
            value = value[part]
        except (KeyError, IndexError, TypeError):
            return path[:count]
    return path


def _shown(value: Any) -> str:
    """A wrong value, in short: it may be a whole file."""
    if isinstance(value, list | dict):
        return "a list" if isinstance(value, list) else "a mapping"
    text = value if isinstance(value, str) else str(value)
    short = text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
    return repr(short) if isinstance(value, str) else short


def remedy_for_unknown(kind: Kind, path: Path) -> str:
    """The field that was probably meant by the one at `path`, or those that there are."""
    if path[:1] == ("spec",) and len(path) > 1:
        return meant(kind.spec_model(), path[1:], "spec")
    if path[:1] == ("metadata",) and len(path) > 1:
        return did_you_mean(str(path[-1]), metadata.FIELDS)
    return _at_the_top(kind, str(path[-1])) if path else "remove it"


def _at_the_top(kind: Kind, name: str) -> str:
    """For a field beside spec, which is often one of those within it."""
    within = meant(kind.spec_model(), (name,), "spec").removeprefix("did you mean ")
    beside = did_you_mean(name, _TOP_LEVEL)
    if within != f"{name}?" and (beside.startswith("did you mean") or not within.endswith("?")):
        return beside
    return f"did you mean spec.{within.removeprefix('spec.')}"
