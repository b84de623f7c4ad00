"""Whatever a pod says, its run's status can be written, and everybody's metrics are shown."""

import gc
import json
import tracemalloc
from datetime import timedelta
from typing import Any

import pytest
from pydantic import ValidationError
from unit.operator.builders import NOW, UID, job_of, observed, pod_of, resource
from unit.operator.test_reports import report, scrape

from luthier_api.finetunejob import FineTuneJobStatus
from luthier_api.progress import MAX_REPORT_BYTES, ProgressReport
from luthier_api.result import BundleResult, OptimizeResult, RunResult
from luthier_operator.finetunejob.decide import decide
from luthier_operator.finetunejob.status import compute
from luthier_operator.reports import SCRIPT_NAMES, Reports
from luthier_operator.resources import FINE_TUNE_JOBS, Obj
from luthier_operator.run.model import Revision
from luthier_operator.run.observe import parse_result
from luthier_operator.store import Store

HUGE = 10**400
BASE = report(1).to_json()


def numbers(schema: Obj, definitions: Obj, path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    """The path of every whole number in a schema; of a list's items as `0`, of a map's as `x`."""
    found = []
    if ref := schema.get("$ref"):
        return numbers(definitions[ref.rsplit("/", 1)[1]], definitions, path)
    for choice in schema.get("anyOf", ()):
        found += numbers(choice, definitions, path)
    if schema.get("type") == "integer":
        found.append(path)
    for name, child in schema.get("properties", {}).items():
        found += numbers(child, definitions, (*path, name))
    if "items" in schema:
        found += numbers(schema["items"], definitions, (*path, "0"))
    return found


def whole_numbers(model: type[Any]) -> list[tuple[str, ...]]:
    schema = model.model_json_schema(by_alias=True)
    return numbers(schema, schema["$defs"])


@pytest.mark.parametrize("model", [ProgressReport, RunResult, OptimizeResult, BundleResult])
@pytest.mark.parametrize("value", [HUGE, 2**63, 2**53 + 1, -1], ids=["huge", "2^63", "more", "-1"])
def test_every_whole_number_has_bounds(model: type[Any], value: int) -> None:
    paths = whole_numbers(model)
    assert len(paths) > 4
    for path in paths:
        document: Any = value
        for name in reversed(path):
            document = [document] if name == "0" else {name: document}
        with pytest.raises(ValidationError) as error:
            model.model_validate_json(json.dumps(document))
        wrong = {tuple(str(part) for part in it["loc"]) for it in error.value.errors()}
        assert path in wrong, f"{path} takes {value}"


def unbounded(schema: Obj, definitions: Obj, path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    """The path of every list and map of a schema that has no bound."""
    found = []
    if ref := schema.get("$ref"):
        return unbounded(definitions[ref.rsplit("/", 1)[1]], definitions, path)
    is_map = schema.get("type") == "object" and "properties" not in schema
    if (schema.get("type") == "array" and "maxItems" not in schema) or (
        is_map and "maxProperties" not in schema
    ):
        found.append(path)
    below = [*schema.get("anyOf", ())]
    below += [schema[name] for name in ("items", "additionalProperties") if name in schema]
    for child in below:
        found += unbounded(child, definitions, path) if isinstance(child, dict) else []
    for name, child in schema.get("properties", {}).items():
        found += unbounded(child, definitions, (*path, name))
    return found


@pytest.mark.parametrize("model", [ProgressReport, RunResult, OptimizeResult, BundleResult])
def test_every_list_and_map_has_a_bound(model: type[Any]) -> None:
    schema = model.model_json_schema(by_alias=True)
    assert unbounded(schema, schema["$defs"]) == []


LISTED = {
    "candidates": [{"precision": ""}] * 3_000,
    "adapters": [{"name": "a", "included": True}] * 1_500,
    "checkpoints": [{"step": 1, "uri": "", "sha256": ""}] * 1_500,
    "resolved": {str(index): "" for index in range(5_000)},
    "evalMetrics": {str(index): 1 for index in range(5_000)},
}


@pytest.mark.parametrize("field", LISTED)
def test_a_list_beyond_its_bound_is_refused(field: str) -> None:
    text = json.dumps(BASE | {field: LISTED[field]})
    assert len(text) < MAX_REPORT_BYTES
    with pytest.raises(ValidationError, match="should have at most"):
        ProgressReport.model_validate_json(text)


# The first character makes Python hold each of the others in four bytes.
WIDE = "\U0001f600" + "x" * 380
HELD = {
    "as many entries as there may be": {
        "candidates": [{"precision": ""}] * 16,
        "adapters": [{"name": "a", "included": True}] * 64,
        "checkpoints": [{"step": 1, "uri": "", "sha256": ""}] * 128,
        "resolved": {str(index): "" for index in range(64)},
        "evaluation": {
            "tuned": {f"script_{index}": 1 for index in range(16)},
            "change": {f"script_{index}": {"by": 1} for index in range(16)},
        },
    },
    "adapters": {"adapters": [{"name": "a", "included": True, "message": WIDE}] * 64},
    "checkpoints": {"checkpoints": [{"step": 1, "uri": WIDE, "sha256": ""}] * 128},
    "resolved": {"resolved": {str(index): WIDE * 2 for index in range(64)}},
}


@pytest.mark.parametrize("fields", HELD.values(), ids=HELD.keys())
def test_a_report_that_is_held_is_small_and_of_an_ended_run_smaller(fields: Obj) -> None:
    count = 8
    runs = [BASE["run"] | {"name": f"tone-{index}"} for index in range(count)]
    whole = [BASE | fields | {"run": run} for run in runs]
    texts = [json.dumps(document, ensure_ascii=False).encode() for document in whole]
    assert len(texts[0]) < MAX_REPORT_BYTES
    reports = Reports()
    sizes = []
    tracemalloc.start()
    try:
        for text in texts:
            reports.put(ProgressReport.model_validate_json(text), NOW)
        gc.collect()
        sizes.append(tracemalloc.get_traced_memory()[0] / count)
        for run in runs:
            reports.close(FINE_TUNE_JOBS, ("team", run["name"]))
        gc.collect()
        sizes.append(tracemalloc.get_traced_memory()[0] / count)
    finally:
        tracemalloc.stop()
    assert sizes[0] < 300_000
    assert sizes[1] < 10_000


@pytest.mark.parametrize(
    "fields",
    [
        {"etaSeconds": 2**53},
        {"etaSeconds": 1e15},
        {"progress": {"step": 2**53, "totalSteps": 1, "loss": HUGE}},
        {"progress": {"step": 5, "totalSteps": 0, "epoch": 0.5}},
        {"progress": {"estimatedFinish": "0001-01-01T00:00:00+23:59"}},
        {"progress": {"estimatedFinish": "9999-12-31T23:59:59-23:59"}},
        {"checkpoints": [{"step": n, "uri": "s3://b/c", "sha256": "0"} for n in range(128)]},
        {"resolved": {f"{index}" + "n" * 2000: "v" * 2000 for index in range(10)}},
        {"resolved": {str(index): "v" for index in range(64)}},
        {"candidates": [{"precision": "int8"}] * 16},
        {"adapters": [{"name": "a", "included": True}] * 64},
        {"restarts": {"failures": 2**53, "disruptions": 0}},
        {"restarts": {"failures": 2**53, "disruptions": 2**53}},
        {"evalMetrics": {f"script_{index}": HUGE for index in range(64)}},
        {"evaluation": {"tuned": {f"odd-{index}" * 50: 1.0 for index in range(30)}}},
    ],
    ids=lambda fields: next(iter(fields)),
)
def test_an_oversized_report_does_not_stop_its_runs_status(fields: Obj) -> None:
    reports = Reports()
    text = json.dumps(BASE | fields | {"run": BASE["run"] | {"revision": decided()}})
    reports.put(ProgressReport.model_validate_json(text), NOW)
    received = reports.get(FINE_TUNE_JOBS, ("team", "tone"))
    assert received is not None
    job = job_of(Revision(decided(), 1, ""))
    seen = observed(jobs=[job], pods=[pod_of(job, "a")], report=received.report)
    status = compute(seen, decide(seen))
    assert status.progress is not None
    document = json.dumps(status.to_json(), allow_nan=False)
    assert FineTuneJobStatus.model_validate_json(document).phase == "Running"
    assert len(document) < 64 * 1024


def decided() -> str:
    revision = decide(observed()).revision
    assert revision is not None
    return revision.name


def test_the_newest_checkpoints_are_kept() -> None:
    job = job_of(Revision(decided(), 1, ""))
    refs = [{"step": n, "uri": "s3://b/c", "sha256": "0"} for n in range(128)]
    told = report(1, pod="pod-1", revision=decided(), checkpoints=refs)
    seen = observed(jobs=[job], pods=[pod_of(job)], report=told)
    steps = [it.step for it in compute(seen, decide(seen)).checkpoints]
    assert steps == list(range(28, 128))


@pytest.mark.parametrize("message", ["[" * 4000, "{" * 4000, '{"a":' * 800, "1" * 4000, "", "null"])
@pytest.mark.parametrize("model", [RunResult, OptimizeResult, BundleResult])
def test_a_result_that_is_none(model: type[Any], message: str) -> None:
    assert parse_result(model, message) is None


def shown(store: Store, reports: Reports) -> list[str]:
    return scrape(store, reports, NOW + timedelta(seconds=1))


def test_a_run_that_cannot_be_shown_costs_only_itself() -> None:
    store, reports = Store(), Reports()
    for name in ("broken", "tone"):
        obj = resource(status={"phase": "Running", "revision": "r1-a"})
        obj["metadata"] |= {"name": name, "uid": UID if name == "tone" else "uid-2"}
        store.put(FINE_TUNE_JOBS, obj)
    reports.put(report(7), NOW)
    run = report(1).run.model_copy(update={"name": "broken", "uid": "uid-2"})
    broken = report(1).model_copy(update={"run": run})
    cost = broken.checkpoint_cost.model_copy(update={"bytes": HUGE})  # past the border's checks
    reports.put(broken.model_copy(update={"checkpoint_cost": cost}), NOW)
    lines = shown(store, reports)
    assert any(it.startswith("luthier_run_step{") and it.endswith(" 7.0") for it in lines)
    assert not any("broken" in it for it in lines)


def test_changing_names_do_not_grow_the_series() -> None:
    store, reports = Store(), Reports()
    store.put(FINE_TUNE_JOBS, resource(status={"phase": "Running", "revision": "r1-a"}))
    series: set[str] = set()
    for sequence in range(1, 50):
        names = {f"script_{sequence}_{index}": 1.0 for index in range(16)}
        odd = {f"odd_{sequence}": 1.0, "f1": 0.5, "eval_loss": 2.0}
        reports.put(report(sequence, evalMetrics=names | odd, evaluation={"tuned": names}), NOW)
        series |= {
            line.rsplit(" ", 1)[0]
            for line in shown(store, reports)
            if line.startswith(("luthier_run_eval_metric{", "luthier_run_evaluation{"))
        }
    assert sum("luthier_run_eval_metric{" in it for it in series) == SCRIPT_NAMES + 2
    assert not any("odd" in it for it in series)


def test_the_next_revision_has_names_of_its_own() -> None:
    reports = Reports()
    for revision in ("r1-a", "r2-a"):
        name = f"script_{revision}"
        reports.put(report(1, pod=revision, revision=revision, evalMetrics={name: 1.0}), NOW)
        received = reports.get(FINE_TUNE_JOBS, ("team", "tone"))
        assert received is not None
        assert received.report.eval_metrics == {name: 1.0}
