"""The alerts: by Prometheus' own tool, as the chart's PrometheusRule, and their page."""

import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from unit.chart.conftest import CHART, Json

from luthier_cluster import packages

ROOT = CHART.parents[1]
FILE = CHART / "files" / "alerts.yaml"
TESTS = Path(__file__).with_name("alerts_test.yaml")
PAGE = (ROOT / "docs" / "alerts.md").read_text()
GROUPS: list[Json] = yaml.safe_load(FILE.read_text())["groups"]
ALERTS: list[str] = [rule["alert"] for group in GROUPS for rule in group["rules"]]

Render = Callable[..., list[Json]]


@pytest.fixture(scope="module")
def promtool() -> str:
    """It comes with Prometheus."""
    packages.ensure_programs({"promtool": "prometheus"})
    return "promtool"


def rule_of(objects: list[Json]) -> Json:
    (found,) = [it for it in objects if it["kind"] == "PrometheusRule"]
    return found


def alerts_of(objects: list[Json]) -> dict[str, Json]:
    groups = rule_of(objects)["spec"]["groups"]
    return {rule["alert"]: rule for group in groups for rule in group["rules"]}


def said(promtool: str, *arguments: Any, cwd: Path) -> str:
    done = subprocess.run(
        [promtool, *map(str, arguments)],
        capture_output=True, text=True, timeout=60, check=False, cwd=cwd,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_each_alert_fires_when_it_should_and_only_then(promtool: str) -> None:
    said(promtool, "test", "rules", TESTS.name, cwd=TESTS.parent)
    tests = [
        test for group in yaml.safe_load(TESTS.read_text())["tests"]
        for test in group["alert_rule_test"]
    ]  # fmt: skip
    assert {it["alertname"] for it in tests if it["exp_alerts"]} == set(ALERTS)
    assert {it["alertname"] for it in tests if not it["exp_alerts"]} == set(ALERTS)


def test_the_charts_rules_are_rules(promtool: str, render: Render, tmp_path: Path) -> None:
    objects = render(prometheusRule={"enabled": True, "for": {"LuthierRunWaits": "4h"}})
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump(rule_of(objects)["spec"]))
    found = said(promtool, "check", "rules", "rules.yaml", cwd=tmp_path)
    assert f"{len(ALERTS)} rules found" in found


def test_nothing_is_made_where_nobody_asks(render: Render) -> None:
    assert not [it for it in render() if it["kind"] == "PrometheusRule"]


def test_each_alert_leads_to_its_runbook(render: Render) -> None:
    url = "https://docs.example.com/luthier/alerts"
    for name, rule in alerts_of(
        render(prometheusRule={"enabled": True, "runbookUrl": url})
    ).items():
        assert rule["annotations"]["runbook_url"] == f"{url}#{name.lower()}"
    for name, rule in alerts_of(render(prometheusRule={"enabled": True})).items():
        assert rule["annotations"]["runbook"] == f"docs/alerts.md#{name.lower()}"
    assert re.findall(r"^## (Luthier\w+)$", PAGE, re.MULTILINE) == ALERTS


def test_alerts_are_left_out_slowed_and_labelled(render: Render) -> None:
    rules = alerts_of(
        render(
            prometheusRule={
                "enabled": True,
                "labels": {"release": "prometheus"},
                "ruleLabels": {"team": "ml", "severity": "page"},
                "disabled": ["LuthierRunOverfits"],
                "for": {"LuthierRunFailed": "10m"},
            }
        )
    )
    assert rules.keys() == {*ALERTS} - {"LuthierRunOverfits"}
    assert rules["LuthierRunFailed"]["for"] == "10m"
    assert rules["LuthierRunStalled"]["for"] == "5m"
    assert all(it["labels"] == {"team": "ml", "severity": "page"} for it in rules.values())


@pytest.mark.parametrize("where", [{"disabled": ["LuthierRunFaild"]}, {"for": {"Nothing": "5m"}}])
def test_an_alert_that_there_isnt_is_told(render: Render, where: Json) -> None:
    with pytest.raises(ValueError, match="prometheusRule: there is no alert"):
        render(prometheusRule={"enabled": True} | where)
