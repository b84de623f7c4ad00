"""YAML is read as kubectl reads it: a table, and the same table against kubectl."""

import json
from typing import Any

import pytest

from luthier_cli.yaml import YamlError, load_documents, load_value, scalar
from luthier_cluster import Cluster

SCALARS: dict[str, Any] = {
    "1e-6": 1e-6,
    "1e6": 1_000_000,
    "1E6": 1_000_000,
    "1e+6": 1_000_000,
    "1.5e3": 1500,
    "2.0": 2,
    "0.1": 0.1,
    "1.": 1,
    ".5": 0.5,
    "-.5": -0.5,
    "+1": 1,
    "-7": -7,
    "017": 15,
    "0o17": 15,
    "08": 8,
    "0x1F": 31,
    "-0x1F": -31,
    "0b11": 3,
    "1_000": 1000,
    "1_0.5": 10.5,
    "_1": "_1",
    "0b": "0b",
    "0x": "0x",
    "1e": "1e",
    "1e400": "1e400",
    "12:30:45": "12:30:45",
    "2001-01-01": "2001-01-01",
    "1.2.3": "1.2.3",
    ".": ".",
    "+": "+",
    "123456789012345678": 123456789012345678,
    "99999999999999999999": 1e20,
    "1e21": 1e21,
    "y": True,
    "yes": True,
    "Yes": True,
    "on": True,
    "ON": True,
    "TRUE": True,
    "tRUE": "tRUE",
    "n": False,
    "No": False,
    "off": False,
    "false": False,
    "~": None,
    "null": None,
    "Null": None,
    "nULL": "nULL",
    "s3://bucket/key": "s3://bucket/key",
    "train[:90%]": "train[:90%]",
    "300M": "300M",
}
OTHERS = """
quoted: "on"
single: '1e-6'
number key: {1: a, true: b}
block: |
  two
  lines
folded: >-
  one
  line
anchor: &shared {a: 1, b: 2}
alias: *shared
merged: {<<: *shared, b: 3}
string by tag: !!str 5
float by tag: !!float 1
empty:
list: [a, 1, [2.50]]
"""


def same(left: Any, right: Any) -> bool:
    """Equal as JSON; beyond 2⁵³ as doubles, since decoders differ in the digits they print."""
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(same(left[key], right[key]) for key in left)
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(same, left, right))
    if isinstance(left, float) and isinstance(right, int) and abs(left) > 2**53:
        return left == float(right)
    return type(left) is type(right) and bool(left == right)


def as_kubectl_reads(cluster: Cluster, spec: str) -> Any:
    """`spec` (YAML) as kubectl turns it into JSON, without asking the API server."""
    indented = "".join(f"  {line}\n" for line in spec.splitlines())
    manifest = f"apiVersion: v1\nkind: Any\nmetadata: {{name: x}}\nspec:\n{indented}"
    done = cluster.kubectl("annotate", "--local", "-f", "-", "-o", "json", "a=b", input=manifest)
    return json.loads(done.stdout)["spec"]


@pytest.mark.parametrize(("text", "value"), SCALARS.items())
def test_scalar(text: str, value: Any) -> None:
    assert scalar(text) == value
    assert type(scalar(text)) is type(value)


def test_scalars_as_kubectl(control_plane: Cluster) -> None:
    theirs = as_kubectl_reads(control_plane, "".join(f"- {text}\n" for text in SCALARS))
    pairs = zip(SCALARS.items(), theirs, strict=True)
    wrong = {text: (ours, other) for (text, ours), other in pairs if not same(ours, other)}
    assert wrong == {}


def test_documents_as_kubectl(control_plane: Cluster) -> None:
    theirs = as_kubectl_reads(control_plane, OTHERS)
    [document] = load_documents(OTHERS)
    assert same(json.loads(json.dumps(document.value)), theirs), (document.value, theirs)


def test_a_key_given_twice_is_refused_with_its_line() -> None:
    with pytest.raises(YamlError, match="line 3: 'a' is given twice"):
        load_documents("a: 1\nb: 2\na: 3\n")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [1\nb: 2", "line 2"),
        ("a: .inf", "line 1: .inf has no place in JSON"),
        ("a: 1\nb: -.Inf", "line 2: -.Inf has no place"),
        ("a: .nan", "no place in JSON"),
        ("? [a]\n: 1", "a key must be a string"),
        ("a: &x [*x]", "an alias stands inside its own anchor"),
        ("<<: 3", "<< merges mappings only"),
        ("a: !!int x", "'x' isn't of the type int"),
        ("a: !!python/object:os.system x", "isn't supported"),
        ("a: *nowhere", "undefined alias"),
        ("a: \x00", "line 1"),
    ],
)
def test_what_no_manifest_may_hold(text: str, message: str) -> None:
    with pytest.raises(YamlError) as caught:
        load_documents(text)
    assert message in str(caught.value)


def test_aliases_of_aliases_end() -> None:
    bomb = "a: &a [x, x, x, x, x, x, x, x, x, x]\n"
    for before, name in zip("abcdefg", "bcdefgh", strict=True):
        bomb += f"{name}: &{name} [{', '.join([f'*{before}'] * 10)}]\n"
    with pytest.raises(YamlError, match="too many aliases"):
        load_documents(bomb)


def test_documents_know_the_line_of_each_field() -> None:
    first, second = load_documents("---\na: 1\n---\n---\nb:\n  c:\n  - d\n  - e: 2\n")
    assert first.value == {"a": 1}
    assert first.line(("a",)) == 2
    assert second.line(("b", "c", 1, "e")) == 8
    assert second.line(("b", "c", 1, "missing", "deeper")) == 8
    assert second.line(("nowhere",)) == 5


@pytest.mark.parametrize(
    ("text", "value"),
    [("5", 5), ("1e-5", 1e-5), ("[a, 1]", ["a", 1]), ("null", None), ("", None), ("a b", "a b")],
)
def test_a_single_value(text: str, value: Any) -> None:
    assert load_value(text) == value
