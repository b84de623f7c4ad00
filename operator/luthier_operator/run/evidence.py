"""What a run's pods have told, in the order of its telling. Pure."""

from collections.abc import Iterator
from typing import TypeVar

from luthier_api.progress import ProgressReport
from luthier_api.result import RunEnd
from luthier_operator.run.model import Pod, Revision
from luthier_operator.run.observe import parse_result

ResultT = TypeVar("ResultT", bound=RunEnd)


def told(
    revision: Revision, report: ProgressReport | None, pods: list[Pod], result: type[ResultT]
) -> Iterator[ProgressReport | ResultT]:
    """The last report and the results of the attempt, oldest first.

    `pods` are the Job's, oldest first; a pod's report comes before its result.
    """
    if report is not None and not _about(report, revision):
        report = None
    if report is not None and report.pod not in {pod.name for pod in pods}:
        yield report
    for pod in pods:
        if report is not None and report.pod == pod.name:
            yield report
        end = parse_result(result, pod.message) if pod.message else None
        if end and (end.revision, end.attempt) == (revision.name, revision.attempt):
            yield end


def _about(report: ProgressReport, revision: Revision) -> bool:
    return (report.run.revision, report.run.attempt) == (revision.name, revision.attempt)
