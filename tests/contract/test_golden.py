"""Documents of this version and of every earlier one are read as they were meant."""

import json
from collections.abc import Iterator
from typing import Any, get_args

import pytest
from contract.golden_documents import GOLDEN, KINDS, files, version
from pydantic import ValidationError

from luthier_api.meta import Model
from luthier_api.readable import readable_part, readable_part_json
from luthier_api.runspec import RunOrder, read_order

VERSIONS = sorted(path.name for path in GOLDEN.iterdir())
OF_ALL = [(of, kind, name) for of in VERSIONS for kind, models in KINDS.items() for name in models]


@pytest.mark.parametrize(("name", "content"), list(files()))
def test_this_version_writes_what_lies_there(name: str, content: str) -> None:
    remedy = (
        "what is written has changed: where this version is released already, raise it in "
        "pyproject.toml; then run python tests/contract/golden_documents.py"
    )
    path = GOLDEN / version() / name
    assert path.is_file(), remedy
    assert path.read_text() == content, remedy


def test_nothing_else_lies_there() -> None:
    folder = GOLDEN / version()
    found = {path.relative_to(folder).as_posix() for path in folder.glob("*/*.json")}
    assert found == {name for name, _ in files()}


@pytest.mark.parametrize(("of", "kind", "name"), OF_ALL)
def test_a_document_is_read_whole(of: str, kind: str, name: str) -> None:
    document = json.loads((GOLDEN / of / kind / f"{name}.json").read_text())
    assert lacking(read(kind, name, document), document) == []


@pytest.mark.parametrize(("of", "kind", "name"), OF_ALL)
def test_fields_of_a_newer_version_are_ignored(of: str, kind: str, name: str) -> None:
    document = json.loads((GOLDEN / of / kind / f"{name}.json").read_text())
    newer = with_unknown_fields(document, KINDS[kind][name].read(document))
    assert newer != document
    with pytest.raises(ValidationError):
        KINDS[kind][name].model_validate(newer)
    assert read(kind, name, newer) == read(kind, name, document)


@pytest.mark.parametrize(("of", "kind", "name"), OF_ALL)
def test_what_is_left_out_means_what_it_meant(of: str, kind: str, name: str) -> None:
    pair = json.loads((GOLDEN / of / kind / "least.json").read_text())[name]
    assert lacking(read(kind, name, pair["written"]), pair["read"]) == []


@pytest.mark.parametrize("kind", KINDS)
def test_none_is_never_something_else_than_the_default(kind: str) -> None:
    """It isn't written: it would come back as the default."""
    for name, model in KINDS[kind].items():
        document = json.loads((GOLDEN / version() / kind / f"{name}.json").read_text())
        for one in models_in(model.read(document)):
            for field in one.model_fields.values():
                if not field.is_required() and type(None) in get_args(field.annotation):
                    assert field.default is None, (one, field.alias)


def read(kind: str, name: str, document: Any) -> dict[str, Any]:
    """As the program does that is handed it."""
    model, text = KINDS[kind][name], json.dumps(document).encode()
    if issubclass(model, RunOrder):
        return read_order(text).to_json()
    if name in ("report", "result"):
        return readable_part_json(model, text).to_json()
    if name == "status":
        return readable_part(model, document).to_json()
    return model.read(document).to_json()


def lacking(found: Any, wanted: Any, path: str = "") -> list[str]:
    """Where `found` hasn't what is wanted; it may have more."""
    if isinstance(wanted, dict) and isinstance(found, dict):
        missing = [f"{path}.{key}" for key in wanted.keys() - found.keys()]
        pairs = [(found[key], wanted[key], f"{path}.{key}") for key in wanted.keys() & found.keys()]
        return missing + [problem for pair in pairs for problem in lacking(*pair)]
    if isinstance(wanted, list) and isinstance(found, list) and len(found) == len(wanted):
        pairs = [(*both, f"{path}[]") for both in zip(found, wanted, strict=True)]
        return [problem for pair in pairs for problem in lacking(*pair)]
    return [] if found == wanted else [f"{path}: {found!r} instead of {wanted!r}"]


def with_unknown_fields(document: Any, meant: Any) -> Any:
    """A field more in each object that a model reads; `meant`: what was read."""
    if isinstance(meant, Model):
        names = {field.alias or name: name for name, field in type(meant).model_fields.items()}
        known = {
            key: with_unknown_fields(value, getattr(meant, names[key]))
            for key, value in document.items()
        }
        return known | {"newKnob": {"deep": [1, None, {"er": "x"}]}}
    if isinstance(meant, list):
        return [with_unknown_fields(*pair) for pair in zip(document, meant, strict=True)]
    if isinstance(meant, dict):
        return {key: with_unknown_fields(value, meant[key]) for key, value in document.items()}
    return document


def models_in(value: Any) -> Iterator[type[Model]]:
    if isinstance(value, Model):
        yield type(value)
        value = [getattr(value, name) for name in type(value).model_fields]
    if isinstance(value, list | dict):
        for item in value.values() if isinstance(value, dict) else value:
            yield from models_in(item)
