"""Whatever a pod sends as its report or result: an answer of ours, in bounded time and size."""

import json
from typing import Any

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from unit.operator.builders import NOW, job_of, observed, platform, pod_of, resource
from unit.operator.builders import ended as ended_with
from unit.operator.test_reports import report

from luthier_api.finetunejob import FineTuneJobStatus
from luthier_api.progress import MAX_REPORT_BYTES, ProgressReport
from luthier_api.result import BundleResult, OptimizeResult, RunResult
from luthier_operator.finetunejob.decide import decide
from luthier_operator.finetunejob.status import compute
from luthier_operator.reports import Reports
from luthier_operator.resources import FINE_TUNE_JOBS
from luthier_operator.run.model import Revision
from luthier_operator.run.observe import parse_result
from luthier_operator.runs import Known, samples

QUICK = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow], database=None
)
LEAVES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.sampled_from([0, -1, 2**53, 2**63, 10**400, "1e400"])
    | st.floats(allow_nan=True, allow_infinity=True)
    | st.text(max_size=40)
)
JSON = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4)
    ),
    max_leaves=12,
)


def decided() -> str:
    revision = decide(observed()).revision
    assert revision is not None
    return revision.name


REVISION = decided()
BASE = report(1, pod="pod-1", revision=REVISION).to_json()
FIELDS = [field.alias or name for name, field in ProgressReport.model_fields.items()]
RESULT = [field.alias or name for name, field in RunResult.model_fields.items()]


def mutated(base: dict[str, Any], fields: list[str]) -> st.SearchStrategy[dict[str, Any]]:
    """The document with some fields replaced by anything, or one within a field."""
    whole = st.dictionaries(st.sampled_from(fields), JSON, max_size=3).map(lambda more: base | more)
    inner = {
        name: st.dictionaries(st.sampled_from([*value, "odd"]), LEAVES, max_size=3).map(
            lambda more, value=value: value | more
        )
        for name, value in base.items()
        if isinstance(value, dict)
    }
    if not inner:
        return whole
    within = st.fixed_dictionaries({}, optional=inner).map(lambda more: base | more)
    return whole | within


def read(document: Any) -> ProgressReport | None:
    try:
        return ProgressReport.model_validate_json(json.dumps(document))
    except ValueError:
        return None


@QUICK
@given(mutated(BASE, FIELDS))
@example(BASE)
@example(BASE | {"etaSeconds": 1e300})
@example(BASE | {"progress": {"loss": float("inf"), "epoch": 0.5, "step": 1}})
def test_a_report_gives_a_status_that_can_be_written(document: dict[str, Any]) -> None:
    told = read(document)
    if told is None:
        return
    reports = Reports()
    reports.put(told, NOW)
    job = job_of(Revision(REVISION, 1, ""))
    received = reports.get(FINE_TUNE_JOBS, (told.run.namespace, told.run.name))
    kept = received.report if received else told
    seen = observed(jobs=[job], pods=[pod_of(job)], report=kept)
    written = json.dumps(compute(seen, decide(seen)).to_json(), allow_nan=False)
    assert len(written) < 2 * MAX_REPORT_BYTES
    FineTuneJobStatus.model_validate_json(written)
    shown = resource(status={"phase": "Running", "revision": kept.run.revision})
    known = [Known(FINE_TUNE_JOBS, ("team", "tone"), shown, received, [job])]
    assert len(list(samples(known, platform(), NOW))) == 1


@QUICK
@given(st.binary(max_size=2000) | st.text(max_size=2000).map(str.encode))
@example(b"[" * MAX_REPORT_BYTES)
@example(b'{"a":' * 10_000)
@example(b"1" * MAX_REPORT_BYTES)
@example(b'{"progress": {"step": 1e999}}')
@example(b"\xff\xfe")
def test_bytes_that_are_no_report(text: bytes) -> None:
    try:
        ProgressReport.model_validate_json(text)
    except ValueError:
        return
    raise AssertionError("no report was taken for one")


END = {"revision": REVISION, "attempt": 1, "outcome": "Succeeded", "progress": {"step": 3}}


CODES = st.text(max_size=12) | st.from_regex(r"[A-Za-z_,:]+\s?", fullmatch=True)
FAILED = st.builds(lambda it: END | {"error": {"code": it, "message": "x"}}, CODES)


@QUICK
@given((mutated(END, RESULT) | FAILED).map(json.dumps) | st.text(max_size=4000))
@example("[" * 4096)
@example('{"error":' * 500)
@example("\ud800")
@example("9" * 4096)
def test_a_result_gives_an_end_that_can_be_written(text: str) -> None:
    for model in (RunResult, OptimizeResult, BundleResult):
        parse_result(model, text)
    job = job_of(Revision(REVISION, 1, ""), end="Complete")
    for code in (0, 65):
        pod = pod_of(job, phase="Succeeded", state=ended_with(code, text[:4096]))
        seen = observed(jobs=[job], pods=[pod])
        status = compute(seen, decide(seen))
        assert status.phase == "Failed"  # none of them names the run's own output
        FineTuneJobStatus.model_validate_json(json.dumps(status.to_json(), allow_nan=False))
