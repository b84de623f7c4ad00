"""The documents that programs of Luthier exchange, as this version writes them: each with every
field set, and each with as few as may be; and what a run leaves in storage (golden_storage.py).

    python tests/contract/golden_documents.py

writes them to golden/VERSION, which every later version must read (docs/adr/0013). A folder is
changed until its version is released, and never again.
"""

import json
import sys
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

from pydantic import TypeAdapter, ValidationError
from pydantic.fields import FieldInfo

from luthier_api.adapterbundle import AdapterBundleSpec, AdapterBundleStatus
from luthier_api.finetunejob import FineTuneJobSpec, FineTuneJobStatus
from luthier_api.meta import Model
from luthier_api.optimizejob import OptimizeJobSpec, OptimizeJobStatus
from luthier_api.progress import ProgressReport
from luthier_api.result import BundleResult, OptimizeResult, RunEnd, RunResult
from luthier_api.runspec import BundleOrder, OptimizeOrder, RunOrder, RunSpec, write_order

GOLDEN = Path(__file__).parent / "golden"
STORAGE = "storage"
KINDS: dict[str, dict[str, type[Model]]] = {
    "FineTuneJob": {
        "spec": FineTuneJobSpec,
        "status": FineTuneJobStatus,
        "order": RunSpec,
        "report": ProgressReport,
        "result": RunResult,
    },
    "OptimizeJob": {
        "spec": OptimizeJobSpec,
        "status": OptimizeJobStatus,
        "order": OptimizeOrder,
        "report": ProgressReport,
        "result": OptimizeResult,
    },
    "AdapterBundle": {
        "spec": AdapterBundleSpec,
        "status": AdapterBundleStatus,
        "order": BundleOrder,
        "report": ProgressReport,
        "result": BundleResult,
    },
}
# Tried in turn until a field takes one that isn't its default.
_VALUES: tuple[Any, ...] = (
    *("tone", "s3://models/tone", "{text}: {label}", "300M", "0 3 * * *", "r2-5f2c1e9a"),
    "http://mlflow:5000",
    *(7, 2, 0.5, 0.25, 64, True, False),
)
# One is below another; an order of another role is another document.
_NAMED: dict[str, Any] = {"minLearningRate": 0.125, "role": "run"}
_ENTRY = "f1"  # of a map; of those of metrics only the names of metrics count

ModelT = TypeVar("ModelT", bound=Model)


def version() -> str:
    """Of the sources."""
    text = (Path(__file__).parents[2] / "pyproject.toml").read_text()
    return str(tomllib.loads(text)["project"]["version"])


def manifest_of(kind: str) -> dict[str, Any]:
    """Of an artifact, as golden_storage.py wrote it."""
    text = (GOLDEN / version() / STORAGE / kind / "manifest.json").read_text()
    found: dict[str, Any] = json.loads(text)
    return found


def files() -> Iterator[tuple[str, str]]:
    """Name below golden/VERSION → content."""
    for kind, models in KINDS.items():
        for name, model in models.items():
            yield f"{kind}/{name}.json", _pretty(write(_filled(model, kind)))
        least = {name: _filled(model, kind, least=True) for name, model in models.items()}
        yield f"{kind}/least.json", _pretty({name: _pair(it) for name, it in least.items()})


def write(model: Model) -> Any:
    """As the program does that hands it to another."""
    match model:
        case RunOrder():
            return json.loads(write_order(model))
        case RunEnd():
            return json.loads(model.to_bytes())
        case ProgressReport():
            return model.to_json(sparse=True)
    return model.to_json()


def _pair(model: Model) -> dict[str, Any]:
    """Beside what is written, what it is read as: a default never changes."""
    written = write(model) if isinstance(model, RunOrder) else model.to_json(sparse=True)
    return {"written": written, "read": model.to_json()}


def _filled(model: type[ModelT], kind: str, *, least: bool = False) -> ModelT:
    """With every field set to other than its default; `least`: with those that must be set."""
    return model.model_validate(_fields(model, kind, least=least))


def _fields(model: type[Model], kind: str, *, least: bool) -> dict[str, Any]:
    return {
        field.alias or name: _value(field, kind, least=least)
        for name, field in model.model_fields.items()
        if not least or field.is_required() or name == "kind"
    }


def _value(field: FieldInfo, kind: str, *, least: bool) -> Any:
    """One that the field takes, and that isn't its default."""
    if field.alias in _NAMED:
        return _NAMED[field.alias]
    whole = Annotated[(field.annotation, *field.metadata)] if field.metadata else field.annotation
    return _fitting(whole, field.default, lambda model: _fields(model, kind, least=least), kind)


def _fitting(
    annotation: Any, default: Any, fields_of: Callable[[type[Model]], Any], kind: str
) -> Any:
    bare, arguments = _bare(annotation), get_args(_bare(annotation))
    origin = get_origin(bare)
    if origin is list:
        return [_fitting(arguments[0], None, fields_of, kind)]
    if origin is dict:
        return {_ENTRY: _fitting(arguments[1], None, fields_of, kind)}
    if isinstance(bare, type) and issubclass(bare, Model):
        return fields_of(bare)
    values = _VALUES
    if origin is Literal:
        values = (kind, *(it for it in reversed(arguments) if it != default), *arguments)
        default = None  # of one choice
    adapter: TypeAdapter[Any] = TypeAdapter(annotation)
    found = [it for it in values if it != default and _takes(adapter, it)]
    if not found:
        raise LookupError(f"no value fits {annotation}: add one to _VALUES")
    return found[0]


def _bare(annotation: Any) -> Any:
    """Without bounds and None."""
    if get_origin(annotation) is Annotated:
        return _bare(get_args(annotation)[0])
    if get_origin(annotation) in (Union, UnionType):
        present = [it for it in get_args(annotation) if it is not NoneType]
        return _bare(present[0])
    return annotation


def _takes(adapter: TypeAdapter[Any], value: Any) -> bool:
    try:
        adapter.validate_python(value)
    except ValidationError:
        return False
    return True


def _pretty(document: Any) -> str:
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    for name, content in files():
        path = GOLDEN / version() / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
        print(path)
    sys.path.insert(0, str(Path(__file__).parents[1]))
    from contract.golden_storage import renew

    renew(GOLDEN / version() / STORAGE)
