"""Whatever a pod tells, its resource's status fits the CRD: the API server would refuse it else,
and with it everything that follows."""

import json
from dataclasses import replace
from functools import cache
from typing import Any

import pytest
from jsonschema import Draft4Validator
from unit.operator import adapterbundle_support as bundle
from unit.operator import optimizejob_support as optimize
from unit.operator.builders import (
    NOW,
    UID,
    ended,
    fine_tune_job,
    job_of,
    observed,
    pod_of,
    stored,
)

from luthier_api.customresources import CUSTOM_RESOURCES
from luthier_api.meta import Model
from luthier_api.progress import ProgressReport
from luthier_api.result import BundleResult, OptimizeResult, RunResult
from luthier_operator.adapterbundle.kind import ADAPTER_BUNDLE
from luthier_operator.finetunejob.kind import FINE_TUNE_JOB
from luthier_operator.optimizejob.kind import OPTIMIZE_JOB
from luthier_operator.reports import Reports, resource_of
from luthier_operator.resources import Obj
from luthier_operator.run.model import AnyObserved, Revision
from luthier_operator.run.reconcile import Kind

LONG = 3_000
MANY = 40
# Of a text as long as may be: what JSON, YAML, conditions and terminals have to escape.
ODD = 'é"\\\n\x1b[31m\u202e🙂'


def most(schema: Obj, definitions: Obj, key: str, number: float) -> Any:
    """As much of everything as a schema takes."""
    if ref := schema.get("$ref"):
        return most(definitions[ref.rsplit("/", 1)[1]], definitions, key, number)
    if choices := schema.get("anyOf"):
        return most(choices[0], definitions, key, number)  # the other one is null
    if "const" in schema or "enum" in schema:
        return schema.get("const") or schema["enum"][-1]
    match schema["type"]:
        case "string":
            length = schema.get("maxLength", LONG)
            return "a" * length if "pattern" in schema else (ODD * length)[:length]
        case "boolean":
            return True
        case "integer":
            return schema.get("maximum", 2**53)
        case "number":
            return schema.get("maximum", number)
        case "array":
            return [most(schema["items"], definitions, key, number)] * schema.get("maxItems", MANY)
    if named := schema.get("properties"):
        return {name: most(child, definitions, key, number) for name, child in named.items()}
    of = most(schema["additionalProperties"], definitions, key, number)
    return {key.format(index): of for index in range(schema.get("maxProperties", MANY))}


@cache
def schema_of(model: type[Model]) -> Obj:
    return model.model_json_schema(by_alias=True)


@cache
def status_schema(kind: str) -> Obj:
    (resource,) = [it for it in CUSTOM_RESOURCES if it.kind == kind]
    schema: Obj = resource.schema()["properties"]["status"]
    return schema


def everything(model: type[Model], key: str, number: float, **fields: Any) -> Obj:
    schema = schema_of(model)
    document: Obj = most(schema, schema["$defs"], key, number)
    return document | fields


def run_of(kind: Kind[Any, Any, Any], revision: Revision) -> Obj:
    names = {"FineTuneJob": "tone", "OptimizeJob": "small", "AdapterBundle": "voices"}
    name = names[kind.resource.kind]
    uid = UID if name == "tone" else f"uid-{kind.resource.kind}-{name}"
    return {
        "kind": kind.resource.kind,
        "namespace": "team",
        "name": name,
        "uid": uid,
        "revision": revision.name,
        "attempt": 1,
    }


def fine_tune() -> tuple[Revision, Obj, Any]:
    revision = FINE_TUNE_JOB.decide(observed()).revision
    assert revision is not None
    return revision, job_of(revision), lambda **it: observed(**it)


def optimized() -> tuple[Revision, Obj, Any]:
    revision, manifest = optimize.started()
    source = fine_tune_job(published=1)
    return revision, manifest, lambda **it: optimize.seen(source=source, **it)


def bundled() -> tuple[Revision, Obj, Any]:
    obj = bundle.resource()
    revision, manifest = bundle.run(obj, *bundle.BOTH)
    return revision, manifest, lambda **it: bundle.seen(obj, *bundle.BOTH, **it)


KINDS = {
    "FineTuneJob": (FINE_TUNE_JOB, fine_tune, RunResult),
    "OptimizeJob": (OPTIMIZE_JOB, optimized, OptimizeResult),
    "AdapterBundle": (ADAPTER_BUNDLE, bundled, BundleResult),
}
# Names in maps, and what is told as a number: what JSON can't hold, and what nobody believes.
WORST = [
    pytest.param("{}" + "n" * LONG, 1e308, id="long names, huge"),
    pytest.param("script_{}", float("nan"), id="names of a script, no number"),
    pytest.param("{}", float("inf"), id="short names, infinite"),
    pytest.param("script_{}", -1e308, id="names of a script, below all"),
]


def problems(kind: Kind[Any, Any, Any], seen: AnyObserved) -> list[str]:
    """What the API server would say to the status that follows."""
    document = kind.compute(seen, kind.decide(seen), None).to_json()
    json.dumps(document, allow_nan=False)
    schema = status_schema(kind.resource.kind)
    wrong = [
        f"{it.json_path}: {it.message[:200]}"
        for it in Draft4Validator(schema).iter_errors(document)
    ]
    return wrong + unlisted(schema, document, "status") + unknown(schema, document, "status")


def unlisted(schema: Obj, value: Any, path: str) -> list[str]:
    """Lists whose items are told apart by keys that are there twice."""
    found = []
    if keys := schema.get("x-kubernetes-list-map-keys"):
        names = [tuple(it.get(key) for key in keys) for it in value]
        found += [path] if len(set(names)) < len(names) else []
    if isinstance(value, dict):
        for name, child in schema.get("properties", {}).items():
            if name in value:
                found += unlisted(child, value[name], f"{path}.{name}")
    return found


def unknown(schema: Obj, value: Any, path: str) -> list[str]:
    """Fields that the CRD doesn't know: they would be dropped, and written again each time."""
    if isinstance(value, list):
        return [it for child in value for it in unknown(schema["items"], child, path)]
    if not isinstance(value, dict) or "properties" not in schema:
        return []
    known = schema["properties"]
    found = [f"{path}.{name} is unknown" for name in value.keys() - known.keys()]
    for name in value.keys() & known.keys():
        found += unknown(known[name], value[name], f"{path}.{name}")
    return found


@pytest.mark.parametrize(("key", "number"), WORST)
@pytest.mark.parametrize("of", KINDS)
def test_the_largest_report_makes_a_status_that_can_be_written(
    of: str, key: str, number: float
) -> None:
    kind, begin, _ = KINDS[of]
    revision, manifest, see = begin()
    run = run_of(kind, revision)
    document = everything(ProgressReport, key, number, run=run, pod="pod-1", sequence=1)
    told = ProgressReport.model_validate_json(json.dumps(document))
    reports = Reports()
    reports.put(told, NOW)
    received = reports.get(resource_of(told), ("team", run["name"]))
    assert received is not None
    job = stored(manifest, revision)
    seen = replace(see(jobs=[job], pods=[pod_of(job)]), report=received.report)
    assert problems(kind, seen) == []


@pytest.mark.parametrize(("key", "number"), WORST)
@pytest.mark.parametrize("outcome", ["Succeeded", "Failed"])
@pytest.mark.parametrize("of", KINDS)
def test_the_largest_result_makes_a_status_that_can_be_written(
    of: str, outcome: str, key: str, number: float
) -> None:
    kind, begin, model = KINDS[of]
    revision, manifest, see = begin()
    own = {"revision": revision.name, "attempt": 1, "outcome": outcome}
    said = json.dumps(everything(model, key, number, **own))
    assert model.model_validate_json(said)
    end = {"Succeeded": "Complete", "Failed": "Failed"}[outcome]
    job = stored(manifest, revision, end=end)
    code = 0 if outcome == "Succeeded" else 65
    pod = pod_of(job, phase=outcome, state=ended(code, said))
    assert problems(kind, see(jobs=[job], pods=[pod])) == []
