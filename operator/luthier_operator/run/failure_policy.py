"""What the end of a trainer's pod means to what carries its run out. Pure."""

from luthier_api.result import TERMINAL_EXIT_CODES, ExitCode
from luthier_operator.resources import Obj
from luthier_operator.run.pod import CONTAINER

# Evicted, preempted, drained: not the run's fault.
_DISRUPTED: Obj = {"onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]}


def _exit(*codes: ExitCode) -> Obj:
    values = sorted(int(code) for code in codes)
    return {"onExitCodes": {"containerName": CONTAINER, "operator": "In", "values": values}}


# Ended by SIGTERM, its checkpoint saved.
_INTERRUPTED = _exit(ExitCode.INTERRUPTED)
# Trying again can't heal it.
_HOPELESS = _exit(*TERMINAL_EXIT_CODES)


def of_job() -> Obj:
    """The `podFailurePolicy` of a Job that replaces its pods itself."""
    return {
        "rules": [
            {"action": "Ignore", **_DISRUPTED},
            {"action": "Ignore", **_INTERRUPTED},
            {"action": "FailJob", **_HOPELESS},
        ]
    }


def of_inner_job() -> Obj:
    """The `podFailurePolicy` of the Job of a JobSet: the end of a pod is the Job's, whose message
    says by which rule. What no rule matches is `BackoffLimitExceeded`."""
    ends = (_DISRUPTED, _INTERRUPTED, _HOPELESS)
    return {"rules": [{"action": "FailJob", **end} for end in ends]}


def of_job_set(max_restarts: int) -> Obj:
    """The `failurePolicy` of a JobSet: all its pods begin anew when its Job has failed, and that
    counts unless a pod was disrupted or interrupted.

    By which rule a Job failed stands in its message alone, in words of Kubernetes
    (pkg/controller/job/pod_failure_policy.go). Without a match the restart counts: others' words
    may change, and a run must not begin anew for ever.
    """
    return {
        "maxRestarts": max_restarts,
        "rules": [
            {
                "name": "interrupted",
                "action": "RestartJobSetAndIgnoreMaxRestarts",
                "onJobFailureReasons": ["PodFailurePolicy"],
                "onJobFailureMessagePatterns": ["rule at index [01]$"],
            },
            {
                "name": "hopeless",
                "action": "FailJobSet",
                "onJobFailureReasons": ["PodFailurePolicy"],
                "onJobFailureMessagePatterns": ["rule at index 2$"],
            },
            {
                "name": "late",
                "action": "FailJobSet",
                "onJobFailureReasons": ["DeadlineExceeded"],
            },
        ],
    }
