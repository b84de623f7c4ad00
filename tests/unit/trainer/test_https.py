"""Files over https://, from a server on loopback whose certificate this test made."""

import gzip
import os
import ssl
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
from unit.trainer.support import MakeSpec

from luthier_api.result import ExitCode
from luthier_trainer.data.prepare import load
from luthier_trainer.data.sources import fetch
from luthier_trainer.errors import TrainerError
from luthier_trainer.storage.http import (
    MAX_BYTES,
    Http,
    HttpError,
    TooLargeError,
    UnreachableError,
)

ROWS = b'{"text": "a tomato", "label": "red"}\n{"text": "a meadow", "label": "green"}\n'
BIG = os.urandom(3_000_000)


@dataclass
class Answer:
    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    sent: int | None = None  # bytes after which the connection breaks off


# What the server is asked: path and headers.
Asked = tuple[str, dict[str, str]]


class Server:
    """HTTP by Python's own server. `answers`: path → the answers in turn, the last one for good."""

    def __init__(self, certificate: Path | None) -> None:
        self.asked: list[Asked] = []
        self.answers: dict[str, list[Answer]] = {}
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.asked.append((self.path, dict(self.headers)))
                left = outer.answers.get(self.path.partition("?")[0], [Answer(404)])
                answer = left.pop(0) if len(left) > 1 else left[0]
                self.send_response(answer.status)
                headers = {"Content-Length": str(len(answer.body)), **answer.headers}
                for name, value in headers.items():
                    if value:
                        self.send_header(name, value)
                self.end_headers()
                self.wfile.write(answer.body[: answer.sent])

            def do_HEAD(self) -> None:
                """Of the next answer; it isn't counted among what is asked."""
                answer = outer.answers.get(self.path.partition("?")[0], [Answer(404)])[0]
                self.send_response(answer.status)
                headers = {"Content-Length": str(len(answer.body)), **answer.headers}
                for name, value in headers.items():
                    if value:
                        self.send_header(name, value)
                self.end_headers()

            def log_message(self, *_: object) -> None: ...

        class Quiet(ThreadingHTTPServer):
            def handle_error(self, *_: object) -> None:
                """A client that doesn't trust us hangs up."""

        self._server = Quiet(("127.0.0.1", 0), Handler)
        if certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.url = f"{'https' if certificate else 'http'}://127.0.0.1:{self._server.server_port}"
        Thread(target=self._server.serve_forever, daemon=True).start()

    def put(self, path: str, *answers: Answer) -> str:
        self.answers[path] = list(answers)
        return self.url + path

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


StartServer = Callable[[], Server]


@pytest.fixture
def start(certificate: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[StartServer]:
    """Starts a server over TLS, whose CA the environment names."""
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate.with_suffix(".crt")))
    started: list[Server] = []

    def one() -> Server:
        started.append(Server(certificate))
        return started[-1]

    yield one
    for server in started:
        server.close()


@pytest.fixture
def server(start: StartServer) -> Server:
    return start()


@pytest.mark.parametrize("name", ["colours.jsonl", "colours.jsonl.gz"])
def test_a_dataset(server: Server, make_spec: MakeSpec, tmp_path: Path, name: str) -> None:
    body = gzip.compress(ROWS) if name.endswith("gz") else ROWS
    uri = server.put(f"/data/{name}", Answer(body=body))
    spec = make_spec(dataset={"uri": uri, "test": None})
    assert [e.label for e in load(spec, tmp_path / "data").train] == ["red", "green"]
    assert len(server.asked) == 1


def test_an_unknown_ca_is_refused_at_once(
    server: Server, make_spec: MakeSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", os.devnull)
    monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path))
    uri = server.put("/a.jsonl", Answer(body=ROWS))
    error = _refused(make_spec, uri, tmp_path, seconds=30)
    assert (error.error.code, error.exit_code) == ("UntrustedServer", ExitCode.DENIED)
    assert "SSL_CERT_FILE" in error.error.message
    assert server.asked == []


@pytest.mark.parametrize(
    ("answer", "code", "exit_code"),
    [
        (Answer(404), "DatasetNotFound", ExitCode.NOT_FOUND),
        (Answer(410), "DatasetNotFound", ExitCode.NOT_FOUND),
        (Answer(401), "SourceDenied", ExitCode.DENIED),
        (Answer(403), "SourceDenied", ExitCode.DENIED),
        (Answer(400), "SourceUnavailable", ExitCode.STORAGE_UNAVAILABLE),
        (
            Answer(302, headers={"Location": "http://127.0.0.1:9/a.jsonl?key=secret"}),
            "SourceUnavailable",
            ExitCode.STORAGE_UNAVAILABLE,
        ),
        (Answer(headers={"Content-Length": str(MAX_BYTES + 1)}), "TooLarge", ExitCode.DATA),
    ],
    ids=lambda value: f"{value.status}" if isinstance(value, Answer) else None,
)
def test_answers_that_no_retry_heals(
    server: Server,
    make_spec: MakeSpec,
    tmp_path: Path,
    answer: Answer,
    code: str,
    exit_code: ExitCode,
) -> None:
    uri = server.put("/a.jsonl", answer)
    error = _refused(make_spec, uri, tmp_path, seconds=30)
    assert (error.error.code, error.exit_code) == (code, exit_code)
    assert error.error.param == "dataset.uri"
    assert uri in error.error.message
    assert "secret" not in error.error.message
    assert len(server.asked) == 1


def test_what_may_heal_is_tried_again(server: Server, tmp_path: Path) -> None:
    url = server.put("/a", Answer(503), Answer(429), Answer(body=ROWS))
    Http(60).download(url, tmp_path / "a")
    assert (tmp_path / "a").read_bytes() == ROWS
    assert len(server.asked) == 3


def test_a_server_that_stays_broken(server: Server, make_spec: MakeSpec, tmp_path: Path) -> None:
    uri = server.put("/a.jsonl", Answer(body=ROWS, sent=7))
    error = _refused(make_spec, uri, tmp_path, seconds=1)
    assert error.error.code == "SourceUnavailable"
    assert len(server.asked) > 1


def test_a_broken_transfer_goes_on_where_it_broke(server: Server, tmp_path: Path) -> None:
    etag = {"ETag": '"1"'}
    url = server.put(
        "/a", Answer(body=BIG, headers=etag, sent=2_000_000), Answer(206, BIG[2_000_000:], etag)
    )
    Http(60).download(url, tmp_path / "a")
    assert (tmp_path / "a").read_bytes() == BIG
    again = server.asked[1][1]
    assert (again["Range"], again["If-Range"]) == ("bytes=2000000-", '"1"')


def test_a_file_that_changed_meanwhile_is_read_anew(server: Server, tmp_path: Path) -> None:
    """A server that has another file by now answers If-Range with the whole of it."""
    url = server.put(
        "/a",
        Answer(body=BIG, headers={"ETag": '"1"'}, sent=2_000_000),
        Answer(body=ROWS, headers={"ETag": '"2"'}),
    )
    Http(60).download(url, tmp_path / "a")
    assert (tmp_path / "a").read_bytes() == ROWS


def test_redirects_show_the_token_to_the_first_host_only(
    start: StartServer, tmp_path: Path
) -> None:
    """As a hub does: to another path of its own, from there to a CDN with a signed address."""
    hub, cdn = start(), start()
    signed = cdn.put("/cdn/a", Answer(body=ROWS)) + "?signature=secret"
    url = hub.put("/a", Answer(307, headers={"Location": "/moved/a"}))
    hub.put("/moved/a", Answer(302, headers={"Location": signed}))
    Http(60, token="hf_token").download(url, tmp_path / "a")
    assert (tmp_path / "a").read_bytes() == ROWS
    assert [(path, _token(headers)) for path, headers in hub.asked] == [
        ("/a", "Bearer hf_token"),
        ("/moved/a", "Bearer hf_token"),
    ]
    assert [(path, _token(headers)) for path, headers in cdn.asked] == [
        ("/cdn/a?signature=secret", None)
    ]


def test_back_on_the_first_host_there_is_no_token_either(
    start: StartServer, tmp_path: Path
) -> None:
    """Whoever stands between may choose the path."""
    hub, other = start(), start()
    back = hub.put("/back", Answer(body=ROWS))
    url = hub.put(
        "/a",
        Answer(302, headers={"Location": other.put("/b", Answer(302, b"", {"Location": back}))}),
    )
    Http(60, token="hf_token").download(url, tmp_path / "a")
    assert [_token(headers) for _, headers in [*hub.asked, *other.asked]] == [
        "Bearer hf_token",
        None,
        None,
    ]


def test_a_redirect_never_leaves_tls(server: Server, tmp_path: Path) -> None:
    plain = Server(None)
    try:
        target = plain.put("/a", Answer(body=ROWS))
        url = server.put("/a", Answer(302, headers={"Location": target}))
        with pytest.raises(HttpError, match="from https:// to http://"):
            Http(30, token="hf_token").download(url, tmp_path / "a")
        assert plain.asked == []
    finally:
        plain.close()


def test_a_circle_of_redirects_ends(server: Server, tmp_path: Path) -> None:
    url = server.put("/a", Answer(302, headers={"Location": "/a"}))
    with pytest.raises(HttpError):
        Http(30).download(url, tmp_path / "a")


@pytest.mark.parametrize("length", [None, ""], ids=["told", "not told"])
def test_more_bytes_than_allowed(server: Server, tmp_path: Path, length: str | None) -> None:
    headers = {} if length is None else {"Content-Length": length}
    url = server.put("/a", Answer(body=BIG, headers=headers))
    with pytest.raises(TooLargeError):
        Http(30).download(url, tmp_path / "a", limit=len(BIG) - 1)
    assert (tmp_path / "a").stat().st_size < len(BIG)
    assert len(server.asked) == 1
    Http(60).download(url, tmp_path / "a", limit=len(BIG))
    assert (tmp_path / "a").read_bytes() == BIG


def test_no_server(tmp_path: Path) -> None:
    with pytest.raises(UnreachableError):
        Http(0).json("https://127.0.0.1:9/a")


def _refused(make_spec: MakeSpec, uri: str, folder: Path, seconds: int) -> TrainerError:
    spec = make_spec(storage={"retrySeconds": seconds})
    with pytest.raises(TrainerError) as caught:
        fetch(uri, spec, folder / "data")
    return caught.value


def _token(headers: dict[str, str]) -> str | None:
    return headers.get("Authorization")
