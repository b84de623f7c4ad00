"""Every reason that the operator gives is on the one list, and so in the reference."""

import ast
from collections.abc import Iterator
from pathlib import Path

import luthier_operator
from luthier_api import policy, reasons, verdict
from luthier_operator.conditions import reason_or

# What luthier.yaml denies, and whether a result is promoted, others tell as well.
FILES = [
    *Path(luthier_operator.__file__).parent.rglob("*.py"),
    Path(policy.__file__),
    Path(verdict.__file__),
]
LISTED = {it.name for found in reasons.REASONS.values() for it in found}
# A call, and which of its arguments is a reason.
PLACES = {"set": 2, "unknown": 1, "Refusal": 0, "Denied": 0, "Scheduling": 1, "_unready": 1} | {
    "reason_or": 1
}


def literal_reasons() -> Iterator[tuple[str, str]]:
    """Those that are written as text where they are given, with their file."""
    for file in FILES:
        for node in ast.walk(ast.parse(file.read_text())):
            if not isinstance(node, ast.Call):
                continue
            called = node.func
            name = called.attr if isinstance(called, ast.Attribute) else getattr(called, "id", "")
            if name not in PLACES or len(node.args) <= PLACES[name]:
                continue
            given = node.args[PLACES[name]]
            if isinstance(given, ast.Constant) and isinstance(given.value, str):
                yield file.name, given.value


def test_reasons_are_named_on_the_list() -> None:
    # What came from elsewhere, and is none of ours, is replaced by one of ours or by a phase.
    assert [it for it in literal_reasons() if it[1] not in ("Queued",)] == []


def test_the_list_has_each_once_and_as_kubernetes_takes_it() -> None:
    named = [it.name for found in reasons.REASONS.values() for it in found]
    assert sorted(named) == sorted(LISTED)
    assert all(reason_or(name, "") == name for name in named)
    assert all(it.meaning.endswith(".") for found in reasons.REASONS.values() for it in found)


def test_every_reason_of_the_list_is_given_somewhere() -> None:
    text = "".join(file.read_text() for file in FILES)
    constants = {
        name
        for name, value in vars(reasons).items()
        if name.isupper() and not name.startswith("_") and isinstance(value, str)
    }
    unused = {name for name in constants if f"reasons.{name}" not in text}
    assert unused == set()
