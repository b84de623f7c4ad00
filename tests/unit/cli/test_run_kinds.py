"""`luthier run` of a FineTuneJob, an OptimizeJob and an AdapterBundle, with the real trainer."""

import json
from pathlib import Path
from typing import Any

import pytest
from unit.cli.command import luthier
from unit.cli.tiny import MANIFEST, write_dataset, write_model

WITHIN = 900

OTHERS = """\
---
apiVersion: luthier.dev/v1alpha1
kind: AdapterBundle
metadata: {name: both, namespace: team-a}
spec:
  base: {uri: s3://models/tiny}
  adapters: [{name: things, fineTuneJobRef: {name: things}}]
  output: {uri: s3://artifacts/models}
---
apiVersion: luthier.dev/v1alpha1
kind: OptimizeJob
metadata: {name: things, namespace: team-a}
spec:
  source: {fineTuneJobRef: {name: things}}
  precisions: [fp32, int8]
  gates: {metric: accuracy, maxMetricDrop: 1}
  benchmark: {promptTokens: [8], newTokens: 2, repeats: 1}
  output: {uri: s3://artifacts/models}
"""


@pytest.mark.timeout(3 * WITHIN + 60)
def test_all_of_a_file_each_after_what_it_refers_to(tmp_path: Path) -> None:
    model, data = write_model(tmp_path / "model"), write_dataset(tmp_path / "things.jsonl")
    file, output = tmp_path / "all.yaml", tmp_path / "out"
    file.write_text(MANIFEST.replace("maxSteps: 6", "maxSteps: 2") + OTHERS)
    files = ("--model", str(model), "--dataset", str(data))
    place = ("--output", str(output), "-o", "json")

    done = luthier("run", str(file), "--all", *files, *place, within=2 * WITHIN, HOME=str(tmp_path))
    assert done.returncode == 0, done.stderr
    tuned, optimized, bundle = json.loads(done.stdout)
    check_optimized(optimized, tuned)
    check_bundle(bundle, tuned)
    assert "Measuring int8" in done.stderr

    # A gate that no candidate keeps: a failure with its report, and nothing is published.
    strict = file.read_text().replace("maxMetricDrop: 1}", "maxMetricDrop: 1, maxSize: 1k}")
    file.write_text(strict)
    chosen = ("--kind", "opj")
    missed = luthier("run", str(file), *chosen, *place, within=WITHIN, HOME=str(tmp_path))
    assert missed.returncode == 1, missed.stderr
    summary = json.loads(missed.stdout)
    assert (summary["outcome"], summary["reason"]) == ("Failed", "GatesNotMet")
    assert {it["verdict"] for it in summary["candidates"]} == {"Rejected"}
    assert all("its size is" in it["reason"] for it in summary["candidates"])
    assert Path(summary["report"]).exists()
    assert "artifact" not in summary


def check_optimized(summary: dict[str, Any], tuned: dict[str, Any]) -> None:
    assert (summary["kind"], summary["outcome"]) == ("OptimizeJob", "Complete")
    candidates = {it["precision"]: it for it in summary["candidates"]}
    assert candidates.keys() == {"fp32", "int8"}
    assert summary["metric"] == "accuracy"
    assert summary["baseline"]["metric"] == tuned["evaluation"]["tuned"]["accuracy"]
    for found in candidates.values():
        assert found["tokensPerSecond"] > 0
        low, high = found.get("metricLow"), found.get("metricHigh")
        # Without an interval where every answer is that of the source.
        assert found["metricDelta"] == 0 if low is None else low <= found["metricDelta"] <= high
    # fp32 is the source, but for the order of sums.
    assert candidates["fp32"]["logitsDifference"] < 1e-3
    assert candidates[summary["artifact"]["precision"]]["verdict"] == "Chosen"
    assert {"manifest.json", "README.md", "model/genai_config.json"} <= {
        file["path"] for file in summary["files"]
    }


def check_bundle(summary: dict[str, Any], tuned: dict[str, Any]) -> None:
    assert (summary["kind"], summary["outcome"]) == ("AdapterBundle", "Complete")
    [adapter] = summary["adapters"]
    assert (adapter["name"], adapter["state"]) == ("things", "Included")
    assert (adapter["uri"], adapter["revision"]) == (tuned["artifact"]["uri"], tuned["revision"])
    assert summary["proof"]["isolated"]
    assert {"index.json", "luthier_bundle.py"} <= {file["path"] for file in summary["files"]}
