"""The loopback receiver, over real HTTP."""

import http.client
import json
import threading
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest

from luthier_api.progress import MAX_REPORT_BYTES, PROGRESS_ROUTE, ProgressReport
from luthier_cli.receiver import receive

RUN = {"namespace": "a", "name": "b", "uid": "c", "revision": "r1-d", "attempt": 1}


class Receiver:
    def __init__(self, url: str, reports: list[ProgressReport]) -> None:
        self.address = urlsplit(url).netloc
        self.reports = reports

    def post(
        self, body: bytes, token: str = "secret", path: str = PROGRESS_ROUTE, length: str = ""
    ) -> int:
        connection = http.client.HTTPConnection(self.address, timeout=5)
        headers = {"Authorization": f"Bearer {token}"}
        if length:
            connection.putrequest("POST", path)
            for name, value in (headers | {"Content-Length": length}).items():
                connection.putheader(name, value)
            connection.endheaders()
        else:
            connection.request("POST", path, body, headers)
        status = connection.getresponse().status
        connection.close()
        return status


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    reports: list[ProgressReport] = []
    with receive("secret", reports.append) as url:
        yield Receiver(url, reports)


def report(sequence: int, pod: str = "p", **values: Any) -> bytes:
    body = {"run": RUN, "pod": pod, "sequence": sequence, "progress": {"step": sequence}}
    return json.dumps(body | values).encode()


def test_reports_arrive_and_older_ones_are_dropped(receiver: Receiver) -> None:
    answers = [receiver.post(report(sequence)) for sequence in (0, 2, 1, 3)]
    assert answers == [204] * 4
    assert [seen.sequence for seen in receiver.reports] == [0, 2, 3]


def test_what_is_refused(receiver: Receiver) -> None:
    assert receiver.post(report(1), token="wrong") == 401
    assert receiver.post(report(1), token="ü") == 401
    assert receiver.post(report(1), path="/other") == 404
    assert receiver.post(b"{}") == 400
    assert receiver.post(b"no JSON") == 400
    assert receiver.post(b"", length=str(MAX_REPORT_BYTES + 1)) == 413
    assert receiver.post(b"", length="-1") == 411
    assert receiver.reports == []


def test_it_is_gone_afterwards() -> None:
    before = set(threading.enumerate())
    with receive("secret", lambda _: None) as url:
        address = urlsplit(url).netloc
        assert address.startswith("127.0.0.1:")
    assert set(threading.enumerate()) <= before
    with pytest.raises(ConnectionRefusedError):
        http.client.HTTPConnection(address, timeout=5).request("GET", "/")
