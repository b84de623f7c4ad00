"""The receiver's port: who may connect, be wrong and report, and how often."""

import asyncio
import base64
import contextlib
import json
from collections.abc import AsyncIterator, Iterator
from typing import Any

import aiohttp
import pytest
from unit.operator.builders import SPEC, UID, job_of, pod_of
from unit.operator.jobset_support import FIRST as SEVERAL
from unit.operator.jobset_support import inner_of, job_set_of, node_of
from unit.operator.test_reports import Reviewer, jwt, report

from luthier_operator import receiver
from luthier_operator.connections import Limits
from luthier_operator.forwarding import Forward
from luthier_operator.http import Served, health_app, progress_app, serve
from luthier_operator.pace import Pace
from luthier_operator.receiver import Receiver
from luthier_operator.reports import Reports
from luthier_operator.resources import (
    FINE_TUNE_JOBS,
    INDEX_LABEL,
    JOB_SETS,
    JOBS,
    PODS,
    Obj,
    Resource,
)
from luthier_operator.run.model import Revision
from luthier_operator.store import Store
from luthier_operator.tokens import WRONG_BURST, Authenticator, Refused

FIRST = Revision("r1-00000000", 1, "")


def unsigned(payload: bytes) -> str:
    return f"head.{base64.urlsafe_b64encode(payload).decode().rstrip('=')}.signature"


MADE_UP = {
    "no JWT": "nonsense",
    "two parts": "a.b",
    "another alphabet": "a.b!.c",
    "no JSON": unsigned(b"{"),
    "no object": unsigned(b"[1]"),
    "no audience": unsigned(b'{"exp": 1}'),
    "another audience": unsigned(b'{"aud": ["https://kubernetes.default.svc"]}'),
    "an odd audience": unsigned(b'{"aud": {"luthier.dev/progress": 1}}'),
    "deeply nested": unsigned(b"[" * 5_000),
    "a huge number": unsigned(b'{"aud": "x", "exp": 1' + b"0" * 5_000 + b"}"),
    "too long": unsigned(b'{"aud": "luthier.dev/progress", "x": "' + b"x" * 9_000 + b'"}'),
    "half a character": "a.\udcff.c",
}


@pytest.mark.parametrize("token", MADE_UP.values(), ids=MADE_UP.keys())
async def test_what_is_no_token_of_ours_is_refused_unasked(token: str) -> None:
    reviewer = Reviewer()
    with pytest.raises(Refused) as refused:
        await Authenticator(reviewer).caller(f"Bearer {token}", "10.0.0.1")
    assert refused.value.code == 401
    assert reviewer.asked == 0


async def test_an_address_that_is_often_wrong_is_not_heard_for_a_while() -> None:
    now = 1000.0
    reviewer = Reviewer()
    reviewer.answer["authenticated"] = False
    authenticator = Authenticator(reviewer, lambda: now)

    async def code(address: str, expires: float) -> int:
        try:
            await authenticator.caller(f"Bearer {jwt(expires)}", address)
        except Refused as refused:
            return refused.code
        return 204

    codes = [await code("10.0.0.1", 2000 + index) for index in range(500)]
    assert codes == [401] * WRONG_BURST + [429] * (500 - WRONG_BURST)
    assert reviewer.asked == WRONG_BURST
    # Nobody else suffers, and its time comes again.
    assert await code("10.0.0.2", 1) == 401
    now += 60
    assert await code("10.0.0.1", 1) == 401


class Slow(Reviewer):
    """Answers when all that came at once have come."""

    async def review_token(self, token: str, audience: str) -> dict[str, Any]:
        answer = await super().review_token(token, audience)
        await asyncio.sleep(0.01)
        return answer


async def codes_of(authenticator: Authenticator, tokens: list[str]) -> list[int]:
    async def code(token: str) -> int:
        try:
            await authenticator.caller(f"Bearer {token}", "10.0.0.1")
        except Refused as refused:
            return refused.code
        return 204

    return await asyncio.gather(*(code(token) for token in tokens))


async def test_wrong_tokens_that_come_at_once_are_no_more_than_one_by_one() -> None:
    reviewer = Slow()
    reviewer.answer["authenticated"] = False
    authenticator = Authenticator(reviewer, lambda: 1000.0)
    for _ in range(3):
        await codes_of(authenticator, [jwt(2000 + index) for index in range(64)])
    assert reviewer.asked == WRONG_BURST


async def test_good_tokens_of_one_address_are_no_wrong_ones() -> None:
    authenticator = Authenticator(Slow(), lambda: 1000.0)
    for first in range(0, 200, 10):
        tokens = [jwt(2000 + first + index) for index in range(10)]
        assert await codes_of(authenticator, tokens) == [204] * 10
    # None was lost, and none was won.
    wrong = await codes_of(authenticator, ["nonsense"] * 64)
    assert wrong == [401] * WRONG_BURST + [429] * (64 - WRONG_BURST)


async def test_a_known_token_is_heard_whoever_shares_its_address() -> None:
    reviewer = Reviewer()
    authenticator = Authenticator(reviewer)
    good = f"Bearer {jwt(2**40)}"
    await authenticator.caller(good, "10.0.0.1")
    for _ in range(100):
        with pytest.raises(Refused):
            await authenticator.caller("Bearer nonsense", "10.0.0.1")
    assert (await authenticator.caller(good, "10.0.0.1")).pod == "pod"


class Api(Reviewer):
    """The token's claim `sub` names the pod that it is bound to."""

    async def review_token(self, token: str, audience: str) -> dict[str, Any]:
        payload = token.split(".")[1]
        pod = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))["sub"]
        extra = {"pod-name": [pod], "pod-uid": [f"uid-{pod}"]}
        user = {
            "username": "system:serviceaccount:team:default",
            "extra": {f"authentication.kubernetes.io/{name}": it for name, it in extra.items()},
        }
        return await super().review_token(token, audience) | {"user": user}


# Pods by their index, as their label says.
PARTS = {"part-0": "0", "part-1": "1", "part-x": "x", "part-many": "64", "part-minus": "-1"}


def of_several_nodes() -> Iterator[tuple[Resource, Obj]]:
    """A run's JobSet of two pods, and one whose JobSet is nobody's."""
    job_set = job_set_of()
    inner = inner_of(job_set)
    yield JOB_SETS, job_set
    yield JOBS, inner
    for index in (0, 1):
        yield PODS, named(node_of(inner, index), f"node-{index}")
    astray = inner_of({"metadata": {"name": "gone", "uid": "gone"}}, uid="astray")
    astray["metadata"]["name"] = "astray"
    yield JOBS, astray
    yield PODS, named(node_of(astray, 0), "astray-0")
    elsewhere = job_set_of()
    elsewhere["metadata"] |= {"namespace": "other", "uid": "elsewhere"}
    yield JOB_SETS, elsewhere
    there = inner_of(elsewhere, uid="there")
    there["metadata"]["name"] = "there"
    yield JOBS, there
    yield PODS, named(node_of(there, 0), "there-0")


def named(pod: Obj, name: str) -> Obj:
    return pod | {"metadata": pod["metadata"] | {"name": name, "uid": f"uid-{name}"}}


@pytest.fixture
def reports() -> Reports:
    return Reports()


@pytest.fixture
def lifetime() -> float:
    return 60.0


@pytest.fixture
async def served(lifetime: float, reports: Reports) -> AsyncIterator[Served]:
    store = Store()
    metadata = {"namespace": "team", "name": "tone", "uid": UID, "resourceVersion": "1"}
    store.put(FINE_TUNE_JOBS, {"metadata": metadata, "spec": SPEC, "status": {}})
    job = job_of(FIRST)
    store.put(JOBS, job)
    for name in ("pod-1", "pod-2"):
        store.put(PODS, pod_of(job, name))
    for name, index in PARTS.items():
        pod = pod_of(job, name, created="2026-01-02T03:04:09Z")
        pod["metadata"]["labels"] = pod["metadata"]["labels"] | {INDEX_LABEL: index}
        store.put(PODS, pod)
    for obj in of_several_nodes():
        store.put(obj[0], obj[1])
    pace = Pace(lambda: store.running)
    receiver = Receiver(Api(), store, reports, pace, ready=lambda: True, look=lambda *_: None)
    limits = Limits(lifetime=lifetime, of_one_address=8)
    port = await serve(progress_app(receiver.routes), 0, limits, host="127.0.0.1")
    yield port
    await port.cleanup()


async def post(
    session: aiohttp.ClientSession, port: int, pod: str, sequence: int, body: Any = None
) -> int:
    body = body or report(sequence, pod=pod, revision=FIRST.name).to_json()
    claims = {"aud": ["luthier.dev/progress"], "exp": 2**40, "sub": pod}
    headers = {"Authorization": f"Bearer {unsigned(json.dumps(claims).encode())}"}
    url = f"http://127.0.0.1:{port}/v1/progress"
    async with session.post(url, json=body, headers=headers) as answer:
        return answer.status


async def test_a_pod_that_reports_too_often_is_told_so_and_no_other(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    connector = aiohttp.TCPConnector(force_close=True)
    async with aiohttp.ClientSession(connector=connector) as session:
        codes = [await post(session, served.port, "pod-1", n) for n in range(90)]
        assert codes[: receiver.REPORTS_BURST] == [204] * receiver.REPORTS_BURST
        assert set(codes[receiver.REPORTS_BURST :]) >= {429}
        assert await post(session, served.port, "pod-2", 1) == 204


async def test_each_pod_speaks_for_its_part_and_of_a_part_the_newest(
    served: Served, reports: Reports
) -> None:
    def told(index: int) -> str | None:
        received = reports.get(FINE_TUNE_JOBS, ("team", "tone"), index)
        return received.report.pod if received else None

    async with aiohttp.ClientSession() as session:
        assert await post(session, served.port, "pod-1", 1) == 204
        assert await post(session, served.port, "part-1", 1) == 204
        assert (told(0), told(1)) == ("pod-1", "part-1")
        assert await post(session, served.port, "part-0", 1) == 204
        # Of the older pod: on its way for long.
        assert await post(session, served.port, "pod-1", 9) == 204
        assert (told(0), told(1)) == ("part-0", "part-1")
        # A label is a word of whoever may write it.
        for pod in ("part-x", "part-many", "part-minus"):
            assert await post(session, served.port, pod, 1) == 403
    assert [index for index in range(-1, 99) if told(index)] == [0, 1]


async def test_of_pods_that_train_together_the_first_reports(
    served: Served, reports: Reports
) -> None:
    async with aiohttp.ClientSession() as session:

        async def told(pod: str) -> int:
            body = report(1, pod=pod, revision=SEVERAL.name).to_json()
            return await post(session, served.port, pod, 1, body)

        assert await told("node-0") == 204
        assert await told("node-1") == 403
        # Nor who says that a JobSet owns it which isn't there, or is another namespace's.
        assert await told("astray-0") == 403
        assert await told("there-0") == 403
    received = reports.get(FINE_TUNE_JOBS, ("team", "tone"))
    assert received is not None
    assert received.report.pod == "node-0"


async def test_a_standby_forwards_what_comes_with_a_good_token_and_nothing_else(
    served: Served,
) -> None:
    forward = Forward(lambda: f"http://127.0.0.1:{served.port}")
    standby = Receiver(
        Api(),
        Store(),
        Reports(),
        Pace(lambda: 0),
        ready=lambda: True,
        look=lambda *_: None,
        elsewhere=lambda: forward,
    )
    port = await serve(progress_app(standby.routes), 0, host="127.0.0.1")
    async with aiohttp.ClientSession() as session:
        # The standby knows nothing of the run: the leader's answers come back.
        assert await post(session, port.port, "pod-1", 1) == 204
        assert await post(session, port.port, "pod-3", 1) == 403
        # Who guesses tokens is held back where it asks. The leader hears of none, so that it
        # doesn't hold back the standby's address, from which others' come.
        url = f"http://127.0.0.1:{port.port}/v1/progress"
        codes = []
        for _ in range(WRONG_BURST + 5):
            async with session.post(url, headers={"Authorization": "Bearer guessed"}) as answer:
                codes.append(answer.status)
        assert codes == [401] * WRONG_BURST + [429] * 5
        assert await post(session, served.port, "pod-2", 1) == 204
    await port.cleanup()
    await forward.close()


async def test_a_report_of_a_newer_trainer_is_taken(served: Served) -> None:
    unknown = {"newKnob": {"deep": [1, {"er": None}]}}
    body = report(1, pod="pod-1", revision=FIRST.name).to_json(sparse=True)
    body |= unknown | {"progress": body["progress"] | unknown, "run": body["run"] | unknown}
    body["candidates"] = [{"precision": "int8", "verdict": "Postponed"}]
    of_another_kind = body | {"run": body["run"] | {"kind": "Later"}}
    async with aiohttp.ClientSession() as session:
        assert await post(session, served.port, "pod-1", 1, body) == 204
        assert await post(session, served.port, "pod-1", 2, of_another_kind) == 400


@pytest.mark.parametrize("lifetime", [0.2])
async def test_half_sent_headers_do_not_keep_a_connection(served: Served) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
    writer.write(b"POST /v1/progress HTTP/1.1\r\nHost: x\r\nX-Half")
    await writer.drain()
    with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
        await asyncio.wait_for(reader.readexactly(1), 20)
    writer.close()


Ends = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def opened(port: int, address: str, count: int) -> list[Ends]:
    """Connections from an address of the loopback that ask for nothing."""
    local = (address, 0)
    return [
        await asyncio.open_connection("127.0.0.1", port, local_addr=local) for _ in range(count)
    ]


async def is_ended(reader: asyncio.StreamReader) -> None:
    with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
        await asyncio.wait_for(reader.readexactly(1), 20)


async def close(held: list[Ends]) -> None:
    for reader, writer in held:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await asyncio.wait_for(reader.read(), 20)


async def test_of_too_many_connections_of_an_address_the_oldest_end(served: Served) -> None:
    held = await opened(served.port, "127.0.0.1", 20)
    for reader, _ in held[:12]:
        await is_ended(reader)
    for reader, writer in held[12:]:
        writer.write(b"GET /v1/progress HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert b"405" in await asyncio.wait_for(reader.readline(), 20)
    await close(held)
    async with aiohttp.ClientSession() as session:
        assert await post(session, served.port, "pod-1", 1) == 204


async def test_who_reports_is_heard_among_idle_connections(served: Served) -> None:
    held = await opened(served.port, "127.0.0.1", 8)
    async with aiohttp.ClientSession() as session:
        assert await post(session, served.port, "pod-1", 1) == 204
    await close(held)


async def test_a_probe_is_answered_however_many_connections_idle() -> None:
    limits = Limits(lifetime=60, of_one_address=4, most=12)
    served = await serve(health_app(str, str), 0, limits, host="127.0.0.1")
    held: list[Ends] = []
    for number in range(2, 8):
        held += await opened(served.port, f"127.0.0.{number}", 4)
    async with aiohttp.ClientSession() as session:
        url = f"http://127.0.0.1:{served.port}/healthz"
        async with session.get(url, timeout=aiohttp.ClientTimeout(20)) as answer:
            assert answer.status == 200
    # The port's bound holds for all addresses together.
    for reader, _ in held[:12]:
        await is_ended(reader)
    await close(held)
    await served.cleanup()


class Open:
    ended = False

    def abort(self) -> None:
        self.ended = True


def test_all_addresses_together_have_a_bound() -> None:
    limits = Limits(of_one_address=3, most=5)
    held = [Open() for _ in "aaaabbbc"]
    for connection, address in zip(held, "aaaabbbc", strict=True):
        limits.enter(address, connection)
    assert [it.ended for it in held] == [True] * 3 + [False] * 5
    # What has been ended leaves once more when it is gone: it isn't counted twice.
    for connection in held[:4]:
        limits.leave(connection)
    last = Open()
    limits.enter("c", last)
    assert not any(it.ended for it in (*held[4:], last))
    limits.enter("c", Open())
    assert held[4].ended
