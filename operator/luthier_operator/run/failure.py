"""Why a run failed, in words for its user. Pure."""

from luthier_api.placement import Limits
from luthier_api.result import ExitCode, RunEnd, RunError
from luthier_operator.conditions import reason_or
from luthier_operator.run.model import JobEnd, Pod
from luthier_operator.run.observe import parse_result
from luthier_operator.run.words import Words


def explain(
    end: JobEnd, pods: list[Pod], limits: Limits, result: type[RunEnd], words: Words
) -> tuple[str, str]:
    """Reason and message of `Failed`. `pods` are the Job's, oldest first."""
    if end.reason == "DeadlineExceeded":
        limit = limits.active_deadline_seconds
        return (
            "DeadlineExceeded",
            f"The run is older than limits.activeDeadlineSeconds ({limit}), time spent pending "
            f"included: raise it and the run {words.deadline}.",
        )
    ended = [pod for pod in pods if not pod.alive]
    last = ended[-1] if ended else None
    if last is None:
        return reason_or(end.reason, "JobFailed"), end.message
    starved = any(pod.out_of_memory for pod in ended)
    # The trainer can't see why the pods before it died; the kubelet's word on them tells.
    if last.out_of_memory or (last.exit_code == ExitCode.NO_PROGRESS and starved):
        return (
            "OutOfMemory",
            "The trainer was killed for want of memory, again without getting further: "
            f"{words.memory}.",
        )
    left = parse_result(result, last.message)
    error = left.error if left else None
    if end.reason == "BackoffLimitExceeded":
        return (
            "TooManyRestarts",
            f"{len(ended)} pods failed (limits.maxRestarts is {limits.max_restarts}). The "
            f"last one: {_words(error, last)}",
        )
    if last.exit_code == ExitCode.NO_PROGRESS:
        return "NoProgress", _words(error, last)
    return reason_or(error.code, "TrainerFailed") if error else "TrainerFailed", _words(error, last)


def _words(error: RunError | None, pod: Pod) -> str:
    if error is None:
        code = "" if pod.exit_code is None else f" with exit code {pod.exit_code}"
        return f"Pod {pod.name} ended{code} and left no result; its log says more."
    return f"{error.param}: {error.message}" if error.param else error.message
