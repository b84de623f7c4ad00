"""A client of the API server that costs little: what it computes is missing to what is measured."""

import base64
import http.client
import json
import re
import ssl
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

Json = dict[str, Any]
MERGE = "application/merge-patch+json"
# A watch tells of metadata alone.
METADATA = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"
THREADS = 16
# What ticks by itself, and what is told and not done.
UNCOUNTED = {"events", "leases", "nodes", "tokenreviews", "subjectaccessreviews"}


class RefusedError(Exception):
    """The API server's answer was an error."""


class Client:
    """The API server, as its administrator; each thread has a connection of its own."""

    def __init__(self, kubeconfig: Path) -> None:
        config = json.loads(kubeconfig.read_text())
        cluster = config["clusters"][0]["cluster"]
        authority = base64.b64decode(cluster["certificate-authority-data"]).decode()
        self._server = urlsplit(cluster["server"])
        self._tls = ssl.create_default_context(cadata=authority)
        self._headers = {"Authorization": f"Bearer {config['users'][0]['user']['token']}"}
        self._own = threading.local()

    def connect(self, timeout: float | None = 60) -> http.client.HTTPSConnection:
        host, port = self._server.hostname or "", self._server.port
        return http.client.HTTPSConnection(host, port, context=self._tls, timeout=timeout)

    def text(
        self, method: str, path: str, body: Json | None = None, kind: str = "application/json"
    ) -> bytes:
        """The answer as it comes. RefusedError with the API server's words."""
        sent = None if body is None else json.dumps(body).encode()
        headers = self.headers({"Content-Type": kind})
        try:
            answer = self._asked(method, path, sent, headers)
        except (http.client.RemoteDisconnected, ConnectionError):  # it has idled for too long
            self._own.connection.close()
            answer = self._asked(method, path, sent, headers)
        read = answer.read()
        if answer.status >= 400:
            raise RefusedError(f"{method} {path}: {answer.status} {read.decode()[:500]}")
        return read

    def _asked(
        self, method: str, path: str, body: bytes | None, headers: dict[str, str]
    ) -> http.client.HTTPResponse:
        if not hasattr(self._own, "connection"):
            self._own.connection = self.connect()
        self._own.connection.request(method, path, body, headers)
        answer: http.client.HTTPResponse = self._own.connection.getresponse()
        return answer

    def headers(self, more: dict[str, str]) -> dict[str, str]:
        return self._headers | more

    def get(self, path: str) -> Json:
        found: Json = json.loads(self.text("GET", path))
        return found

    def create(self, path: str, body: Json) -> Json:
        made: Json = json.loads(self.text("POST", path, body))
        return made

    def patch(self, path: str, changes: Json) -> None:
        self.text("PATCH", path, changes, MERGE)

    def at_once(self, bodies: Sequence[tuple[str, Json]]) -> list[float]:
        """Create all of them, so many at a time; when each was asked for."""

        def one(item: tuple[str, Json]) -> float:
            asked = time.monotonic()
            self.text("POST", *item)
            return asked

        with ThreadPoolExecutor(THREADS) as pool:
            return list(pool.map(one, bodies))

    def writes(self) -> float:
        """Writing requests that the API server has granted so far, without those UNCOUNTED."""
        return sum(self.writes_by_resource().values())

    def writes_by_resource(self) -> dict[str, float]:
        """The same by verb and resource."""
        found: dict[str, float] = {}
        for line in self.text("GET", "/metrics").decode().splitlines():
            if not line.startswith("apiserver_request_total{"):
                continue
            labels = dict(re.findall(r'(\w+)="([^"]*)"', line))
            if labels["verb"] not in ("POST", "PUT", "PATCH", "DELETE", "APPLY"):
                continue
            if labels["resource"] in UNCOUNTED or not labels["code"].startswith("2"):
                continue
            where = "/".join(filter(None, (labels["resource"], labels["subresource"])))
            name = f"{labels['verb']} {where}"
            found[name] = found.get(name, 0) + float(line.rsplit(" ", 1)[1])
        return found


class Watch:
    """Calls `seen` with each line of a watch, as it comes, and the time (monotonic)."""

    def __init__(
        self,
        client: Client,
        path: str,
        seen: Callable[[bytes, float], None],
        accept: str = "application/json",
    ) -> None:
        version = client.get(f"{path}?limit=1")["metadata"]["resourceVersion"]
        self._connection = client.connect(timeout=None)
        query = f"watch=1&allowWatchBookmarks=false&resourceVersion={version}"
        headers = client.headers({"Accept": accept})
        self._connection.request("GET", f"{path}?{query}", headers=headers)
        self._lines = self._connection.getresponse()
        self._seen = seen
        self._closed = False
        self._thread = threading.Thread(target=self._follow, daemon=True)
        self._thread.start()

    def _follow(self) -> None:
        while line := self._line():
            self._seen(line, time.monotonic())

    def _line(self) -> bytes:
        try:
            return self._lines.readline()
        except (OSError, ValueError, AttributeError, http.client.HTTPException):
            if self._closed:
                return b""
            raise

    def __enter__(self) -> "Watch":
        return self

    def __exit__(self, *_: object) -> None:
        self._closed = True
        if self._connection.sock:
            self._connection.sock.shutdown(2)
        self._thread.join(10)
        self._connection.close()


class FirstSeen:
    """When the object of each name was first told of: by a label's value, or its own name."""

    def __init__(self, label: str | None = None, mark: bytes = b'"type":"ADDED"') -> None:
        key = rb'"name":"' if label is None else f'"{label}":"'.encode()
        self._name = re.compile(re.escape(key) + rb'([^"]+)"')
        self._mark = mark
        self.at: dict[str, float] = {}

    def __call__(self, line: bytes, when: float) -> None:
        if self._mark in line and (found := self._name.search(line)):
            self.at.setdefault(found[1].decode(), when)

    def wait(self, names: Sequence[str], within: float) -> None:
        """Until all of them have been seen. TimeoutError with how many are lacking."""
        deadline = time.monotonic() + within
        while lacking := [name for name in names if name not in self.at]:
            if time.monotonic() > deadline:
                raise TimeoutError(f"{len(lacking)} of {len(names)} not seen, e.g. {lacking[0]}")
            time.sleep(0.01)
