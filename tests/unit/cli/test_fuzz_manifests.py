"""Manifests, luthier.yaml and --set of any kind: an answer in bounded time, and none but ours."""

import io
import json
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import yaml
from contract.manifests import ADAPTER_BUNDLE, FINE_TUNE_JOB, OPTIMIZE_JOB
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rich.console import Console
from unit.cli.tiny import MANIFEST

from luthier_api.visible import one_line
from luthier_cli import offline, overrides
from luthier_cli.errors import CliError
from luthier_cli.order import InvalidManifestError, Options, read_order
from luthier_cli.validate import Report, read_sources, show, validate
from luthier_cli.yaml import YamlError, load_documents, load_value

FUZZ = settings(
    max_examples=30,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
TEXT = st.text(st.characters(codec=None), max_size=12)
SCALAR = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | TEXT
    | st.sampled_from(["luthier.dev/v1alpha1", "FineTuneJob", "1e999", "0x" + "f" * 99, "9" * 9999])
)
VALUE = st.recursive(
    SCALAR,
    lambda it: st.lists(it, max_size=4) | st.dictionaries(TEXT, it, max_size=4),
    max_leaves=9,
)
PLATFORM = {"pools": [{"name": "cpu", "image": "x"}], "defaultPool": "cpu", "storage": {}}
DOCUMENTS = [FINE_TUNE_JOB, OPTIMIZE_JOB, ADAPTER_BUNDLE, PLATFORM]


def paths_of(node: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    items = node.items() if isinstance(node, dict) else enumerate(node)
    below = [(key, item) for key, item in items] if isinstance(node, dict | list) else []
    return [
        path,
        *(p for key, item in below if isinstance(item, dict | list)
          for p in paths_of(item, (*path, key))),
        *((*path, key) for key, item in below if not isinstance(item, dict | list)),
    ]  # fmt: skip


def with_value(node: Any, path: tuple[Any, ...], value: Any) -> Any:
    if not path:
        return value
    key, *rest = path
    copy = dict(node) if isinstance(node, dict) else list(node)
    copy[key] = with_value(node[key], tuple(rest), value)
    return copy


def said(report: Report) -> str:
    out = io.StringIO()
    show(report, "here", Console(file=out, width=80))
    return out.getvalue()


def refused(call: Callable[[], object]) -> str:
    """The words of a refusal; empty where there is none. No exception but ours."""
    try:
        call()
    except CliError as error:
        return error.message + error.remedy
    except InvalidManifestError as error:
        return said(Report(findings=error.findings))
    return ""


def check(text: str, file: str = "f.yaml") -> Report:
    report = validate([(file, text)], offline.check_document)
    shown = said(report)
    assert all(one_line(line) == line for line in shown.split("\n"))
    assert len(shown) < 200_000
    json.dumps(report.to_json("here"))
    return report


@FUZZ
@given(st.data())
def test_a_manifest_with_anything_anywhere(data: st.DataObject) -> None:
    document = data.draw(st.sampled_from(DOCUMENTS))
    path = data.draw(st.sampled_from(paths_of(document)))
    spoilt = with_value(document, path, data.draw(VALUE))
    try:
        text = json.dumps(spoilt)
    except ValueError:
        return
    check(text)


@FUZZ
@given(st.data())
def test_a_manifest_with_another_field_anywhere(data: st.DataObject) -> None:
    document = data.draw(st.sampled_from(DOCUMENTS))
    maps = [path for path in paths_of(document) if isinstance(at(document, path), dict)]
    path = data.draw(st.sampled_from(maps))
    more = {data.draw(TEXT): data.draw(VALUE)}
    check(json.dumps(with_value(document, path, at(document, path) | more)))


def at(node: Any, path: tuple[Any, ...]) -> Any:
    for part in path:
        node = node[part]
    return node


@FUZZ
@given(st.text(st.sampled_from("ab:- \n\t{}[],&*!<>|#'\"%@\\0.e~?"), max_size=60) | TEXT)
def test_any_text_is_yaml_or_none(text: str) -> None:
    check(text)
    with suppress(YamlError):
        load_value(text)


BOMBS = {
    "aliases of aliases": "a0: &a0 [x]\n"
    + "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 12)),
    "merges of merges": "a0: &a0 {x: 1}\n"
    + "".join(f"a{n}: &a{n} {{<<: [{', '.join([f'*a{n - 1}'] * 9)}]}}\n" for n in range(1, 12)),
    "an alias of itself": "a: &a [*a]\n",
    "a merge of itself": "a: &a\n  <<: *a\n",
    "deep lists": "[" * 5000 + "]" * 5000,
    "deep maps": "{a: " * 5000 + "1" + "}" * 5000,
    "deep blocks": "".join(f"{' ' * n}a:\n" for n in range(3000)),
    "deep by aliases": "a0: &a0 [x]\n"
    + "".join(f"a{n}: &a{n} [*a{n - 1}]\n" for n in range(1, 2000)),
    "a long number": f"a: {'9' * 1_000_000}\n",
    "a long float": f"a: 1e{'9' * 100_000}\n",
    "a long hexadecimal": f"a: 0x{'f' * 1_000_000}\n",
    "a tag of Python": "a: !!python/object/apply:os.system ['touch /tmp/never']\n",
    "a tag of Python on a scalar": "a: !!python/name:os.system x\n",
    "binary": "a: !!binary aGk=\n",
    "a key of a list": "? [a, b]\n: 1\n",
    "anchors": "".join(f"a{n}: &x{n} {n}\n" for n in range(2000)),
}


@pytest.mark.timeout(120)
@pytest.mark.parametrize("name", BOMBS)
def test_bombs(name: str) -> None:
    report = check(f"{BOMBS[name]}")
    assert report.findings
    # In a spec, too.
    check(
        MANIFEST.replace("spec:", "spec:\n  more:\n    " + BOMBS[name].replace("\n", "\n    "), 1)
    )


def test_a_file_that_is_no_manifest(tmp_path: Path) -> None:
    large = tmp_path / "rows.yaml"
    with large.open("wb") as file:
        file.truncate(1 << 34)
    with pytest.raises(CliError, match="MiB"):
        read_sources([str(large)])
    large.write_bytes(b"\xff\xfe")
    with pytest.raises(CliError, match="UTF-8"):
        read_sources([str(large)])


@FUZZ
@given(
    st.builds("{}={}".format, st.from_regex(r"[a-zA-Z.]{0,20}", fullmatch=True) | TEXT, TEXT)
    | st.builds(lambda value: f"training={json.dumps(value)}", VALUE)
    | TEXT
)
def test_any_override(tmp_path: Path, setting: str) -> None:
    file = tmp_path / "things.yaml"
    file.write_text(MANIFEST)
    found = refused(lambda: read_order(str(file), Options(settings=[setting])))
    assert len(found) < 5000


@pytest.mark.parametrize(
    "setting",
    ["a." * 100_000 + "b=1", "a=" + "[" * 10_000, "a=" + "9" * 100_000, "=" * 99, "a..b=1", ".=1"],
)
def test_overrides_without_bounds(setting: str) -> None:
    assert len(refused(lambda: overrides.apply({}, [setting]))) < 2000


@FUZZ
@given(st.dictionaries(st.sampled_from(["data", "binaryData", "metadata"]), VALUE, max_size=3))
def test_any_config_map_beside_it(tmp_path: Path, config_map: dict[str, Any]) -> None:
    document = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "rows"}} | config_map
    text = MANIFEST.replace("s3://datasets/things.jsonl", "configmap://rows/train.csv")
    try:
        written = yaml.safe_dump(json.loads(json.dumps(document).encode("utf-8", "replace")))
        load_documents(written)
    except (ValueError, UnicodeError):
        return
    file = tmp_path / "things.yaml"
    file.write_text(f"{text}---\n{written}", errors="replace")
    refused(lambda: read_order(str(file), Options()))
