"""Resources as the operator leaves them, for the tests of what is shown."""

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
