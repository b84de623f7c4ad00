"""The tables of `luthier convert`: each target is a field of the API, each reason is said once."""

from collections.abc import Iterator
from typing import Any, get_args

from pydantic import BaseModel

from luthier_api.kinds import KINDS
from luthier_cli.convert import olive_command
from luthier_cli.convert.mapping import Field, Table
from luthier_cli.convert.sources import SOURCES
from luthier_cli.convert.told import Fate


def fields(annotation: Any) -> dict[str, Any]:
    """The fields of the model that an annotation holds, if it holds one."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return {it.alias or name: it.annotation for name, it in annotation.model_fields.items()}
    return next((found for it in get_args(annotation) if (found := fields(it))), {})


def is_field(kind: str, path: str) -> bool:
    at: Any = KINDS[kind].spec_model()
    for part in path.split("."):
        found = fields(at)
        if part not in found:
            return False
        at = found[part]
    return True


def tables() -> Iterator[tuple[str, str, str, Table]]:
    for source in SOURCES.values():
        for kind, placed in source.tables.items():
            for where, table in placed.items():
                yield source.name, kind, where, table
    for command, (kind, table) in olive_command.COMMANDS.items():
        yield f"olive {command}", kind.name, "--", table


def test_each_target_is_a_field() -> None:
    wrong = [
        f"{tool}: {where}{name} → {target}"
        for tool, kind, where, table in tables()
        for name, field in table.items()
        for target in field.targets
        if not is_field(kind, target)
    ]
    assert not wrong


def test_what_is_no_field_is_seen() -> None:
    assert is_field("FineTuneJob", "method.lora.rank")
    assert not is_field("FineTuneJob", "method.lora.ranks")
    assert not is_field("FineTuneJob", "training.learningRate.peak")


def test_a_field_without_target_has_a_reason() -> None:
    for tool, _, where, table in tables():
        for name, field in table.items():
            assert is_told(field), f"{tool}: {where}{name}"


def is_told(field: Field) -> bool:
    if field.fate in (Fate.LOST, Fate.MOOT):
        return bool(field.why) and not field.targets
    return bool(field.targets or field.rule or field.read)


def test_there_are_many() -> None:
    """A tool whose table is empty would tell of unknown fields alone."""
    sizes = dict.fromkeys(SOURCES, 0)
    for tool, _, _, table in tables():
        sizes[tool] = sizes.get(tool, 0) + len(table)
    least = {"olive": 150, "axolotl": 250, "llamafactory": 250, "trl": 150, "kubeflow": 60}
    assert all(sizes[tool] >= count for tool, count in least.items()), sizes
