"""Names of a manifest become those of folders: none leads out of --output."""

from pathlib import Path

import pytest
from unit.cli.command import luthier
from unit.cli.tiny import MANIFEST

from luthier_cli.order import InvalidManifestError, Options, read_order

NAMES = "{name: things, namespace: team-a}"


@pytest.mark.parametrize(
    ("metadata", "field"),
    [
        ("{name: things, namespace: ../../x}", "metadata.namespace"),
        ("{name: things, namespace: /tmp/x}", "metadata.namespace"),
        ("{name: things, namespace: a.b}", "metadata.namespace"),
        ("{name: things, namespace: ..}", "metadata.namespace"),
        ('{name: things, namespace: "a\\nb"}', "metadata.namespace"),
        ('{name: things, namespace: "team-a\\n"}', "metadata.namespace"),
        ("{name: things, namespace: -a}", "metadata.namespace"),
        (f"{{name: things, namespace: {'a' * 64}}}", "metadata.namespace"),
        ("{name: things, namespace: 5}", "metadata.namespace"),
        ("{name: things, namespace: [a]}", "metadata.namespace"),
        ("{name: ../x}", "metadata.name"),
        ('{name: "things\\n"}', "metadata.name"),
        ("{name: {a: b}}", "metadata.name"),
        ("{generateName: ../../x}", "metadata.generateName"),
        ("{generateName: x/../../y-}", "metadata.generateName"),
        ('{generateName: "x-\\n"}', "metadata.generateName"),
        ("{generateName: 5}", "metadata.generateName"),
        (f"{{generateName: {'a' * 36}}}", "metadata.generateName"),
        ("{labels: {a: b}}", "metadata.name"),
        ("text", "metadata"),
    ],
)
def test_names_that_are_no_label(tmp_path: Path, metadata: str, field: str) -> None:
    file = tmp_path / "things.yaml"
    file.write_text(MANIFEST.replace(NAMES, metadata))
    with pytest.raises(InvalidManifestError) as refused:
        read_order(str(file), Options())
    assert {it.field for it in refused.value.findings} == {field}


def test_a_generated_name_is_its_beginning_here(tmp_path: Path) -> None:
    file = tmp_path / "things.yaml"
    file.write_text(MANIFEST.replace(NAMES, "{generateName: things-}"))
    read = read_order(str(file), Options()).manifest
    assert (read.namespace, read.name) == ("default", "things")


def test_nothing_is_written_elsewhere(tmp_path: Path) -> None:
    file = tmp_path / "things.yaml"
    file.write_text(MANIFEST.replace("team-a", "../../x"))
    done = luthier("run", str(file), "--output", str(tmp_path / "a/b/out"), HOME=str(tmp_path))
    assert done.returncode == 1
    assert "metadata.namespace: a namespace holds a-z" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["things.yaml"]
