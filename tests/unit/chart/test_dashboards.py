"""Grafana's dashboards, as the chart brings them."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from unit.chart.conftest import CHART, Json

FILES = sorted((CHART / "files" / "dashboards").iterdir())
WIDTH = 24  # Grafana's
Render = Callable[..., list[Json]]


def made(objects: list[Json]) -> dict[str, Json]:
    return {
        it["metadata"]["name"]: it
        for it in objects
        if it["kind"] == "ConfigMap" and "-dashboard-" in it["metadata"]["name"]
    }


def test_the_files_are_what_their_script_writes(tmp_path: Path) -> None:
    script = CHART.parents[1] / "scripts" / "dashboards.py"
    subprocess.run([sys.executable, script, tmp_path], timeout=60, check=True)
    assert [path.name for path in FILES] == sorted(path.name for path in tmp_path.iterdir())
    for path in FILES:
        written = (tmp_path / path.name).read_text()
        assert path.read_text() == written, "run: python scripts/dashboards.py"


@pytest.mark.parametrize("path", FILES, ids=[path.stem for path in FILES])
def test_no_panel_lies_on_another(path: Path) -> None:
    taken: set[tuple[int, int]] = set()
    for panel in json.loads(path.read_text())["panels"]:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= WIDTH
        cells = {
            (place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])
        }
        assert not cells & taken, panel["title"]
        taken |= cells


def test_each_is_a_config_map_that_the_sidecar_finds(render: Render) -> None:
    assert made(render()) == {}
    found = made(render(dashboards={"enabled": True, "annotations": {"folder": "ML"}}))
    assert found.keys() == {f"luthier-dashboard-{it}" for it in ("fleet", "run", "usage")}
    for it in found.values():
        assert it["metadata"]["labels"]["grafana_dashboard"] == "1"
        assert it["metadata"]["annotations"] == {"folder": "ML"}
        ((name, text),) = it["data"].items()
        assert json.loads(text)["uid"] == name.removesuffix(".json")
