"""Resources as the operator leaves them, for the tests of what is shown."""

from copy import deepcopy
from typing import Any

START = "2026-01-01T10:00:00Z"
END = "2026-01-01T10:01:23Z"


def condition(
    kind: str, status: str, reason: str = "Because", message: str = "", generation: int = 1
) -> dict[str, Any]:
    return {
        "type": kind,
        "status": status,
        "reason": reason,
        "message": message,
        "observedGeneration": generation,
        "lastTransitionTime": START,
    }


def resource(*conditions: dict[str, Any], generation: int = 1, **status: Any) -> dict[str, Any]:
    return {
        "kind": "FineTuneJob",
        "metadata": {"namespace": "team-a", "name": "tone", "generation": generation},
        "status": {"observedGeneration": 1, "conditions": list(conditions), **status},
    }


def running(**progress: Any) -> dict[str, Any]:
    known = {"stage": "Training", "step": 40, "totalSteps": 120, "loss": 1.2345}
    return resource(
        condition("Scheduled", "True", "PodScheduled", "on the pool cpu"),
        condition("DatasetValid", "True", "Checked", "4,500 train rows"),
        condition("Complete", "False", "Running"),
        condition("Failed", "False", "Running"),
        phase="Running",
        revision="r1-2319d176",
        attempt=1,
        progress=known | progress,
        checkpoints=[{"step": 40, "uri": "s3://a/b", "sha256": "0"}],
        restarts={"failures": 1, "disruptions": 2},
    )


def complete(**status: Any) -> dict[str, Any]:
    return resource(
        condition("Complete", "True", "Completed", "The result is published."),
        phase="Complete",
        revision="r2-2319d176",
        attempt=1,
        startTime=START,
        completionTime=END,
        progress={"step": 120, "totalSteps": 120, "loss": 0.345},
        evaluation={
            "split": "test",
            "examples": 300,
            "base": {"accuracy": 0.41, "loss": 3.2},
            "tuned": {"accuracy": 0.87, "loss": 0.51},
        },
        artifact={"uri": "s3://artifacts/models/team-a/tone/r2-2319d176", "manifestSha256": "0"},
        **status,
    )


def failed(reason: str = "DatasetInvalid", message: str = "line 3: no JSON") -> dict[str, Any]:
    return resource(
        condition("Failed", "True", reason, message),
        condition("Stalled", "True", reason, message),
        phase="Failed",
        revision="r1-2319d176",
        attempt=1,
    )


_SOURCE = {
    "precision": "fp32",
    "sizeBytes": 538_093_824,
    "perplexity": 129.6,
    "metric": 0.87,
    "tokensPerSecond": 17.0,
    "firstTokenMs": 310.0,
    "memoryBytes": 1_181_116_006,
}
_INT8 = {
    "precision": "int8",
    "sizeBytes": 259_089_408,
    "perplexity": 129.8,
    "metric": 0.86,
    "metricDelta": -0.01,
    "metricLow": -0.03,
    "metricHigh": 0.005,
    "tokensPerSecond": 113.0,
    "firstTokenMs": 45.123,
    "memoryBytes": 524_288_000,
    "verdict": "Chosen",
}
_INT4 = {
    "precision": "int4",
    "sizeBytes": 117_440_512,
    "verdict": "Rejected",
    "reason": "accuracy falls by 0.2, and 0.01 is allowed",
}


def optimizing() -> dict[str, Any]:
    """An OptimizeJob that measures its second candidate."""
    return {
        "kind": "OptimizeJob",
        "metadata": {"namespace": "team-a", "name": "tone-fast", "generation": 1},
        "spec": {"gates": {"metric": "accuracy", "maxMetricDrop": 0.01}},
        "status": {
            "observedGeneration": 1,
            "conditions": [condition("GatesPassed", "Unknown", "NotMeasured")],
            "phase": "Running",
            "stage": "Measuring int8",
            "revision": "r1-1",
            "attempt": 1,
            "baseline": deepcopy(_SOURCE),
            "candidates": [_SOURCE | {"verdict": "Passed"}],
        },
    }


def optimized() -> dict[str, Any]:
    """One that has published int8."""
    body = optimizing()
    body["status"] |= complete()["status"] | {
        "candidates": deepcopy([_INT8, _INT4]),
        "artifact": {
            "uri": "s3://artifacts/models/team-a/tone-fast/r1-1",
            "manifestSha256": "0",
            "precision": "int8",
            "format": "genai",
        },
    }
    for name in ("progress", "evaluation", "stage"):
        del body["status"][name]
    return body


def bundled() -> dict[str, Any]:
    """An AdapterBundle of one adapter; another was left out."""
    left_out = condition(
        "AdaptersCompatible", "False", "AdaptersLeftOut", "topic (Dora): it is a DoRA"
    )
    body = resource(
        condition("Complete", "True", "Completed"),
        left_out,
        phase="Complete",
        revision="r2-2",
        attempt=1,
        adapters=[
            {"name": "tone", "state": "Included", "revision": "r2-2319d176", "uri": "s3://a/b"},
            {
                "name": "topic",
                "state": "LeftOut",
                "uri": "s3://a/c",
                "reason": "Dora",
                "message": "it is a DoRA",
            },
        ],
        proof={
            "adapters": 1,
            "logitsDifference": 9e-5,
            "isolated": True,
            "rebuilt": 1,
            "sizeBytes": 100_000_000,
        },
        current={"uri": "s3://artifacts/models/team-a/tones/r2-2", "manifestSha256": "0"},
    )
    return body | {
        "kind": "AdapterBundle",
        "metadata": {"namespace": "team-a", "name": "tones", "generation": 1},
    }
