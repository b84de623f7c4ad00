"""Where HTTP may lead, and how slowly it may drip."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from luthier_api.runspec import ProgressTarget, RunIdentity
from luthier_trainer.pod.progress import Reporter
from luthier_trainer.storage import connection, http
from luthier_trainer.storage.connection import ForbiddenAddressError, require_allowed
from luthier_trainer.storage.http import Http, HttpError, TooLargeError, UnreachableError

Answer = Callable[[socket.socket], None]


class Server:
    """Answers each connection by a function, and counts them."""

    def __init__(self, answer: Answer) -> None:
        self.asked = 0
        self._answer = answer
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                connected, _ = self._socket.accept()
            except OSError:
                return
            self.asked += 1
            threading.Thread(target=self._one, args=(connected,), daemon=True).start()

    def _one(self, connected: socket.socket) -> None:
        with connected:
            try:
                connected.recv(65536)
                self._answer(connected)
            except OSError:
                pass  # the client hung up

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def start() -> Iterator[Callable[[Answer], Server]]:
    started: list[Server] = []

    def one(answer: Answer) -> Server:
        started.append(Server(answer))
        return started[-1]

    yield one
    for server in started:
        server.close()


def send(text: str) -> Answer:
    return lambda connected: connected.sendall(text.encode())


FILE = send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi")


def redirect(url: str) -> Answer:
    return send(f"HTTP/1.1 302 Found\r\nLocation: {url}\r\nContent-Length: 0\r\n\r\n")


@pytest.mark.parametrize("scheme", ["http", "ftp", "file"])
def test_a_mirror_without_tls_leads_to_no_other_host(
    scheme: str, start: Callable[[Answer], Server], tmp_path: Path
) -> None:
    other = start(FILE)
    mirror = start(redirect(f"{scheme}://{other.url.partition('://')[2]}/latest/meta-data"))
    with pytest.raises((HttpError, UnreachableError)):
        Http(0).download(f"{mirror.url}/x", tmp_path / "x")
    assert other.asked == 0


def test_it_leads_on_within_its_host(start: Callable[[Answer], Server], tmp_path: Path) -> None:
    answers = [redirect("/y"), FILE]
    mirror = start(lambda connected: answers.pop(0)(connected))
    Http(0).download(f"{mirror.url}/x", tmp_path / "x")
    assert (tmp_path / "x").read_bytes() == b"hi"


@pytest.mark.parametrize(
    "address",
    [
        "169.254.169.254",
        "169.254.170.2",
        "fe80::1%eth0",
        "::ffff:169.254.169.254",
        "fd00:ec2::254",
        "100.100.100.200",
    ],
)
def test_metadata_is_never_asked(address: str) -> None:
    with pytest.raises(ForbiddenAddressError):
        require_allowed(address)


@pytest.mark.parametrize("address", ["127.0.0.1", "10.0.0.1", "::1", "93.184.216.34"])
def test_others_are(address: str) -> None:
    require_allowed(address)


def test_a_name_that_leads_there_is_refused_before_anything_is_sent(
    start: Callable[[Answer], Server], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The loopback address stands for one that can't be had here."""
    server = start(FILE)

    def forbidden(address: str) -> None:
        assert address == "127.0.0.1"
        raise ForbiddenAddressError("it leads to a link-local or metadata address")

    monkeypatch.setattr(connection, "require_allowed", forbidden)
    with pytest.raises(UnreachableError, match="metadata"):
        Http(5).download(f"{server.url}/x", tmp_path / "x")
    assert not (tmp_path / "x").read_bytes()


def drip(head: str, piece: bytes) -> Answer:
    def answer(connected: socket.socket) -> None:
        connected.sendall(head.encode())
        for _ in range(1000):
            connected.sendall(piece)
            time.sleep(0.02)

    return answer


CHUNKED = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    ("head", "piece"),
    [
        ("HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n", b"1"),
        ("HTTP/1.", b"1"),
        (f"{CHUNKED}1;", b"a"),  # a size, and what may stand behind it
        (f"{CHUNKED}2\r\nhi\r\n", b"0"),
        (f"{CHUNKED}2\r\nhi\r\n0\r\n", b"a"),  # behind all chunks: a line,
        (f"{CHUNKED}2\r\nhi\r\n0\r\n", b"a: b\r\n" * 100),  # or many
        (CHUNKED, b"1\r\n1\r\n"),
    ],
)
def test_what_drips_ends(
    head: str,
    piece: bytes,
    start: Callable[[Answer], Server],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Long before its thousand pieces, which take twenty seconds."""
    monkeypatch.setattr(http, "_SLOW_SECONDS", 0.2)
    monkeypatch.setattr(connection, "_HEAD_SECONDS", 0.2)
    server = start(drip(head, piece))
    started = time.monotonic()
    with pytest.raises(UnreachableError):
        Http(0).download(f"{server.url}/x", tmp_path / "x")
    with pytest.raises(UnreachableError):
        Http(0).json(f"{server.url}/x")
    assert time.monotonic() - started < 15
    assert len((tmp_path / "x").read_bytes()) < 500


def test_an_answer_that_is_too_long_for_json(
    start: Callable[[Answer], Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http, "_MAX_JSON_BYTES", 1000)
    server = start(send("HTTP/1.1 200 OK\r\n\r\n" + "[" * 2000))
    with pytest.raises(TooLargeError):
        Http(0).json(server.url)


@pytest.mark.parametrize(
    "answer",
    [
        "HTTP/1.1 200 OK\r\n\r\n" + "[" * 100_000,
        "HTTP/1.1 200 OK\r\n\r\n<html>",
        "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n{",
        "nothing like HTTP\r\n\r\n",
        "HTTP/1.1 302 Found\r\nLocation: http://[::1\r\n\r\n",
        "HTTP/1.1 302 Found\r\nLocation: http://a:b@c:d/\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        "",
    ],
)
def test_nonsense_is_told_in_our_words(answer: str, start: Callable[[Answer], Server]) -> None:
    server = start(send(answer))
    with pytest.raises((UnreachableError, HttpError)) as caught:
        Http(0, token="hf_secret").json(server.url)
    assert "html" not in str(caught.value)
    assert "a:b" not in str(caught.value)


def test_reports_and_their_token_go_to_the_operator_alone(
    start: Callable[[Answer], Server], tmp_path: Path
) -> None:
    token = tmp_path / "token"
    token.write_text("the-pods-token")
    other = start(FILE)
    operator = start(redirect(f"{other.url}/elsewhere"))
    target = ProgressTarget(url=operator.url, interval_seconds=0.05, token_file=str(token))
    run = RunIdentity(namespace="a", name="b", uid="u", revision="r1", attempt=1)
    Reporter(run, "pod", target, lambda: None).close()
    assert operator.asked == 1
    assert other.asked == 0
