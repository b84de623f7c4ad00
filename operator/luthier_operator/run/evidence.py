"""What a run's pods have stated: reports and results, in their order. Pure."""

from collections.abc import Iterator
from typing import TypeVar

from luthier_api.progress import ProgressReport
from luthier_api.result import ExitCode, RunEnd
from luthier_api.revision import is_sibling
from luthier_api.runstatus import Restarts, Usage
from luthier_operator.run.model import Pod, Revision
from luthier_operator.run.observe import parse_result

ResultT = TypeVar("ResultT", bound=RunEnd)


def statements(
    revision: Revision,
    report: ProgressReport | None,
    pods: list[Pod],
    result: type[ResultT],
    output: str,
) -> Iterator[ProgressReport | ResultT]:
    """The last report and the results of the attempt, oldest first.

    `pods` are the Job's, oldest first; a pod's report comes before its result. Of a run of several
    parts those of part 0 speak for all, and last the one that published for all. Code of a user's
    can write a result, too: an artifact elsewhere than in `output`, or in an earlier revision's of
    the same shape, isn't one.
    """
    others = [pod for pod in pods if pod.index > 0 and _has_published(pod, result)]
    pods = [*(pod for pod in pods if pod.index == 0), *others]
    if report is not None and not _about(report, revision):
        report = None
    if report is not None and report.pod not in {pod.name for pod in pods}:
        yield report
    for pod in pods:
        if report is not None and report.pod == pod.name:
            yield report
        end = parse_result(result, pod.message) if pod.message else None
        if end and (end.revision, end.attempt) == (revision.name, revision.attempt):
            yield end if _is_within(end, output) else end.model_copy(update={"artifact": None})


def used(before: Usage | None, newer: Usage | None) -> Usage | None:
    """The larger of each: sums of a revision rise, and a pod that begins doesn't know them yet."""
    if before is None or newer is None:
        return newer or before
    return Usage(
        cpu_seconds=max(before.cpu_seconds, newer.cpu_seconds),
        gpu_seconds=max(before.gpu_seconds, newer.gpu_seconds),
        trained_tokens=max(before.trained_tokens, newer.trained_tokens),
        stored_bytes=max(before.stored_bytes, newer.stored_bytes),
    )


def restarted(before: Restarts | None, newer: Restarts | None) -> Restarts | None:
    """As `used`."""
    if before is None or newer is None:
        return newer or before
    return Restarts(
        failures=max(before.failures, newer.failures),
        disruptions=max(before.disruptions, newer.disruptions),
    )


def _has_published(pod: Pod, result: type[RunEnd]) -> bool:
    if pod.exit_code != ExitCode.SUCCEEDED or not pod.message:
        return False
    return getattr(parse_result(result, pod.message), "artifact", None) is not None


def _is_within(end: RunEnd, output: str) -> bool:
    """In its own folder, or in that of an earlier revision of the same shape, found again."""
    artifact = getattr(end, "artifact", None)
    if artifact is None:
        return True
    uri: str = artifact.uri.rstrip("/")
    return uri == output or is_sibling(uri, output)


def _about(report: ProgressReport, revision: Revision) -> bool:
    return (report.run.revision, report.run.attempt) == (revision.name, revision.attempt)
