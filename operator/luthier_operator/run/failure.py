"""Why a run failed, in words for its user. Pure."""

from luthier_api import reasons
from luthier_api.placement import Limits
from luthier_api.release import release
from luthier_api.result import TERMINAL_EXIT_CODES, ExitCode, RunEnd, RunError
from luthier_operator.conditions import reason_or
from luthier_operator.run import interruptions
from luthier_operator.run.model import Job, JobEnd, Pod
from luthier_operator.run.observe import parse_result
from luthier_operator.run.sentences import BEGINS_AGAIN, Sentences


def explain(
    end: JobEnd,
    pods: list[Pod],
    limits: Limits,
    result: type[RunEnd],
    sentences: Sentences,
    *,
    job: Job,
    saved: bool,
) -> tuple[str, str]:
    """Reason and message of `Failed`. `pods` are the Job's, oldest first; `saved`: whether the run
    left anything that the next attempt goes on from."""
    if interruptions.too_many(job, pods, limits):
        return reasons.TOO_MANY_INTERRUPTIONS, _interrupted(job, pods)
    if end.reason == "DeadlineExceeded":
        return (
            reasons.DEADLINE_EXCEEDED,
            f"The run is older than limits.activeDeadlineSeconds ({job.deadline}), time spent "
            f"pending included. Raise it. {sentences.goes_on if saved else BEGINS_AGAIN}",
        )
    ended = [pod for pod in pods if not pod.alive]
    last = _decisive(ended, result, together=job.together)
    if last is None:
        return reason_or(end.reason, reasons.JOB_FAILED), end.message
    starved = [pod for pod in ended if pod.out_of_memory]
    stuck = last.exit_code == ExitCode.NO_PROGRESS
    again = stuck or len(starved) > 1
    # The trainer can't see why the pods before it died; the kubelet's word on them tells.
    if last.out_of_memory or (stuck and starved):
        return (
            reasons.OUT_OF_MEMORY,
            f"The trainer was killed for want of memory{', again' if again else ''}"
            f"{' without getting further' if stuck else ''}. {sentences.more_memory}",
        )
    left = parse_result(result, last.message)
    error = left.error if left else None
    words = _words(error, last)
    if end.reason == "BackoffLimitExceeded":
        return reasons.TOO_MANY_RESTARTS, f"{_failures(end, ended, job, limits)} {words}"
    if stuck:
        return reasons.NO_PROGRESS, words
    return reason_or(error.code, reasons.TRAINER_FAILED) if error else reasons.TRAINER_FAILED, words


def _decisive(ended: list[Pod], result: type[RunEnd], *, together: bool) -> Pod | None:
    """Of several that worked beside each other the one that ended them all. Of those that can't do
    without each other the others fail after it, often without a word of their own."""
    fatal = next((it for it in reversed(ended) if it.exit_code in TERMINAL_EXIT_CODES), None)
    if fatal is not None or not ended:
        return fatal
    if not together:
        return ended[-1]

    def rank(pod: Pod) -> tuple[bool, bool, bool, str, int]:
        told = parse_result(result, pod.message)
        silent = told is None or told.error is None
        spared = pod.disrupted or pod.exit_code in (ExitCode.SUCCEEDED, ExitCode.INTERRUPTED)
        return spared, not pod.out_of_memory, silent, pod.finished or "", pod.index

    return min(ended, key=rank)


def _interrupted(job: Job, pods: list[Pod]) -> str:
    look = "look for what ends the trainer, e.g. code of your own."
    if job.uncounted > interruptions.MOST_RESTARTS:
        return (
            f"The run was restarted {job.uncounted} times because a pod was interrupted, which "
            f"isn't counted by limits.maxRestarts: {look}"
        )
    return (
        f"{interruptions.unexplained(pods)} pods ended as if they had been interrupted (exit "
        f"code {int(ExitCode.INTERRUPTED)}), but nobody evicted or deleted them: {look}"
    )


def _failures(end: JobEnd, ended: list[Pod], job: Job, limits: Limits) -> str:
    if end.failures is not None:
        most = job.max_restarts
        return f"The run failed {end.failures} times (limits.maxRestarts was {most}). At last:"
    failed = [pod for pod in ended if not (pod.disrupted or _was_interrupted(pod))]
    return f"{len(failed)} pods failed (limits.maxRestarts is {limits.max_restarts}). The last one:"


def _was_interrupted(pod: Pod) -> bool:
    return pod.exit_code == ExitCode.INTERRUPTED


def unpublished(pods: list[Pod], result: type[RunEnd], sentences: Sentences) -> tuple[str, str]:
    """Reason and message of `Failed` for a Job that completed without a result to be used."""
    last = pods[-1] if pods else None
    # Of several that worked beside each other one has the result.
    if last is None or last.alive or any(pod.index for pod in pods):
        return (
            reasons.RESULT_LOST,
            "The Job completed, but its pod was removed before its result was read. "
            f"{sentences.found_again}",
        )
    left = parse_result(result, last.message)
    if left is None:
        return (
            reasons.RESULT_UNREADABLE,
            f"Pod {last.name} ended with exit code 0, but what it left as its result can't be "
            "read: its image is of another version, or code of your own wrote there. Mend that, "
            "and run `luthier retry`.",
        )
    if getattr(left, "artifact", None) is not None:
        return (
            reasons.ARTIFACT_ELSEWHERE,
            f"Pod {last.name} says that its result lies outside the output of this run. Only "
            "code that isn't the trainer's says so; nothing was taken from there.",
        )
    return (
        reasons.RESULT_INCOMPLETE,
        f"Pod {last.name} ended with exit code 0, but its result names no artifact; its log "
        "says more.",
    )


def _words(error: RunError | None, pod: Pod) -> str:
    if error is None:
        code = "" if pod.exit_code is None else f" with exit code {pod.exit_code}"
        return f"Pod {pod.name} ended{code} and left no result; its log says more."
    words = f"{error.param}: {error.message}" if error.param else error.message
    # The trainer can only name its own version.
    return f"{words} (operator {release()})" if error.code == "InvalidRunSpec" else words
