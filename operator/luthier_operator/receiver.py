"""The report receiver: POST /v1/progress, authenticated by the pod's own token."""

import logging
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Protocol

from aiohttp import web
from pydantic import ValidationError

from luthier_api.meta import first_error
from luthier_api.progress import MAX_REPORT_BYTES, PROGRESS_ROUTE, ProgressReport
from luthier_api.readable import readable_part_json
from luthier_api.revision import revision_number
from luthier_api.runspec import RunIdentity
from luthier_api.runstatus import RunStatus
from luthier_operator import metrics
from luthier_operator.buckets import Buckets
from luthier_operator.conditions import tell_an_end
from luthier_operator.errors import ApiError, ApiUnreachableError
from luthier_operator.forwarding import Forward
from luthier_operator.pace import Pace
from luthier_operator.reports import INDICES, News, Reports, Speaker, resource_of
from luthier_operator.resources import JOBS, PODS, Key, Obj, Resource, controller_uid, key_of
from luthier_operator.run.carriers import CARRIERS
from luthier_operator.run.model import Job
from luthier_operator.run.observe import index_of, parse_any_status
from luthier_operator.store import Store
from luthier_operator.tokens import Authenticator, Caller, Refused, Reviewer

log = logging.getLogger(__name__)

# A pod reports every few seconds, and at each stage's begin.
REPORTS_BURST = 60
REPORTS_PER_SECOND = 2.0


class Api(Reviewer, Protocol):
    """What the receiver asks of the API server."""

    async def list_all(
        self, resource: Resource, namespace: str | None, *, fields: str
    ) -> tuple[list[Obj], int]:
        """Objects as they are now, and the list's version."""


class Receiver:
    """Takes reports, and lets a pod speak only for its own run."""

    def __init__(
        self,
        api: Api,
        store: Store,
        reports: Reports,
        pace: Pace,
        *,
        ready: Callable[[], bool],
        look: Callable[[Resource, Key, float], None],
        elsewhere: Callable[[], Forward | None] = lambda: None,
    ) -> None:
        """`look` has a resource reconciled in so many seconds; an earlier appointment stands.

        `elsewhere` says how reports are forwarded, while another replica leads.
        """
        self._api = api
        self._store = store
        self._reports = reports
        self._pace = pace
        self._ready = ready
        self._look = look
        self._elsewhere = elsewhere
        self._tokens = Authenticator(api)
        self._of_pod: Buckets[str] = Buckets(REPORTS_BURST, REPORTS_PER_SECOND)

    def routes(self, app: web.Application) -> None:
        """Serve the route."""
        app.router.add_post(PROGRESS_ROUTE, self.handle)

    async def handle(self, request: web.Request) -> web.Response:
        """Answer one report."""
        try:
            answer = await self._take(request)
        except Refused as refused:
            answer = web.json_response({"message": refused.message}, status=refused.code)
        metrics.REPORTS.labels(code=str(answer.status)).inc()
        return answer

    async def _take(self, request: web.Request) -> web.Response:
        if not self._ready():
            raise Refused(503, "not ready: try again")
        if (request.content_length or 0) > MAX_REPORT_BYTES:
            raise Refused(413, f"a report has at most {MAX_REPORT_BYTES} bytes")
        try:
            caller = await self._authenticate(request)
            if forward := self._elsewhere():
                return await forward(request)
            report = readable_part_json(ProgressReport, await _read(request))
            speaker = await self._authorise(caller, report)
        except ValidationError as error:
            raise Refused(400, ": ".join(first_error(error))) from error
        except (ApiError, ApiUnreachableError) as error:
            log.warning("can't check a progress report: %s", error)
            raise Refused(503, "the API server doesn't answer: try again") from error
        self._accept(report, speaker)
        return web.Response(status=204)

    async def _authenticate(self, request: web.Request) -> Caller:
        """The pod that reports. Raises Refused."""
        header = request.headers.get("Authorization", "")
        caller = await self._tokens.caller(header, request.remote or "")
        if not self._of_pod.take(caller.uid):
            raise Refused(429, f"pod {caller.pod} reports too often: the next one will do")
        return caller

    def _accept(self, report: ProgressReport, by: Speaker) -> None:
        """Remember it, and have its resource looked at when that may lead to a write."""
        resource, key = resource_of(report), (report.run.namespace, report.run.name)
        news = self._reports.put(report, datetime.now(UTC), by)
        if news is News.FACTS:
            self._look(resource, key, self._pace.until_turn(resource, key))
        elif news is News.PROGRESS:
            self._look(resource, key, self._pace.until_due(resource, key))

    async def _authorise(self, caller: Caller, report: ProgressReport) -> Speaker:
        """Pod → Job → resource, by controlling owners. Raises Refused."""
        run = report.run
        denied = Refused(403, f"pod {caller.pod} doesn't belong to that run")
        if report.pod != caller.pod or run.namespace != caller.namespace:
            raise denied
        pod = await self._find(PODS, (caller.namespace, caller.pod), caller.uid)
        job = self._carrier(pod)
        if pod is None or job is None or controller_uid(job.obj) != run.uid:
            raise denied
        if (index := index_of(pod)) not in INDICES:
            raise denied
        if (job.revision, job.attempt) != (run.revision, run.attempt):
            raise denied
        if job.together and index != 0:
            raise Refused(403, f"of pods that train together the first reports, not {caller.pod}")
        resource = resource_of(report)
        owner = self._store.get(resource, (run.namespace, run.name))
        if owner is None or owner["metadata"]["uid"] != run.uid:
            raise denied
        if is_over(parse_any_status(resource, owner), job, run):
            raise Refused(409, f"{run.revision}, attempt {run.attempt} is over")
        return Speaker(caller.uid, pod["metadata"].get("creationTimestamp", ""), index)

    def _carrier(self, pod: Obj | None) -> Job | None:
        """What carries the run of a pod out: its Job, or the JobSet that made that."""
        found = self._owner(pod)
        if found is None or found[0] != JOBS:
            return None
        above = self._owner(found[1])
        if above is not None and above[0] in CARRIERS:
            return CARRIERS[above[0]].parse(above[1], [found[1]])
        return CARRIERS[JOBS].parse(found[1], [])

    def _owner(self, child: Obj | None) -> tuple[Resource, Obj] | None:
        """What controls an object; its owner references are words of its creator."""
        found = self._store.find(controller_uid(child) or "") if child else None
        if child is None or found is None or key_of(found[1])[0] != key_of(child)[0]:
            return None
        return found

    async def _find(self, resource: Resource, key: Key, uid: str) -> Obj | None:
        known = self._store.get(resource, key)
        if known is None or known["metadata"]["uid"] != uid:
            # The watch may be a moment behind a pod that has just started.
            namespace, name = key
            found, _ = await self._api.list_all(resource, namespace, fields=f"metadata.name={name}")
            known = found[0] if found else None
        return known if known and known["metadata"]["uid"] == uid else None


def is_over(status: RunStatus, job: Job, run: RunIdentity) -> bool:
    """Whether a newer revision or attempt has taken over, or this one's end is on record."""
    if job.end is not None:
        return True
    if status.revision is None:
        return False
    if status.revision != run.revision:
        # A Job may be a moment ahead of the status that names its revision.
        return revision_number(run.revision) <= revision_number(status.revision)
    attempt = status.attempt or 1
    ended = tell_an_end(status.conditions)
    return run.attempt < attempt or (run.attempt == attempt and ended)


async def _read(request: web.Request) -> bytes:
    text = await request.content.read(MAX_REPORT_BYTES + 1)
    while len(text) <= MAX_REPORT_BYTES and (more := await request.content.readany()):
        text += more
    if len(text) > MAX_REPORT_BYTES:
        raise Refused(413, f"a report has at most {MAX_REPORT_BYTES} bytes")
    return text
