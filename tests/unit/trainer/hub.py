"""A hub on loopback."""

import hashlib
import json
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

COMMIT = "0123456789abcdef0123456789abcdef01234567"
FILES = {"config.json": b"{}", "model.safetensors": b"w" * 300_000, "README.md": b"#"}
DATA = {
    "data/train-00000-of-00002.jsonl": b'{"text": "a rose", "label": "red"}\n',
    "data/train-00001-of-00002.jsonl": b"",
}


class Hub:
    """Stands for a hub such as huggingface.co: its routes api/KIND/NAME/revision/REVISION and
    resolve/COMMIT/FILE, a gated repository, and answers that break off. It has neither
    redirects to a CDN nor accounts."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, str | None]] = []
        self.breaks = 0  # downloads to break off in the middle
        self.seconds = 0.0  # a file's download takes so long
        self.commits = {COMMIT: FILES}  # of the model, and their files
        self.head = COMMIT  # of its branch main
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.requests.append((self.path, self.headers["Authorization"]))
                status, code, body = outer.answer(self.path)
                start = 0
                if self.headers["Range"] and status == 200:
                    status, start = 206, int(self.headers["Range"][6:-1])
                body = body[start:]
                self.send_response(status)
                if code:
                    self.send_header("X-Error-Code", code)
                self.send_header("ETag", '"x"')
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                if "safetensors" in self.path:
                    self.wfile.write(body[: len(body) // 2])
                    time.sleep(outer.seconds)
                    if outer.breaks:
                        outer.breaks -= 1
                        return
                    body = body[len(body) // 2 :]
                self.wfile.write(body)

            def log_message(self, *_: object) -> None: ...

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        Thread(target=self._server.serve_forever, daemon=True).start()

    def answer(self, path: str) -> tuple[int, str, bytes]:
        path = path.partition("?")[0]
        if "gated" in path:
            return 403, "GatedRepo", b""
        if "private" in path:  # so does a hub hide it, and what isn't there
            return 401, "RepoNotFound", b""
        if "none" in path:
            return 404, "RepoNotFound", b""
        for kind, base, commits, head in (
            ("models", "", self.commits, self.head),
            ("datasets", "datasets/", {COMMIT: DATA}, COMMIT),
        ):
            if path.startswith(f"/api/{kind}/own/tiny/revision/"):
                revision = path.rpartition("/")[2]
                commit = head if revision in ("main", "v1") else revision
                if commit not in commits:
                    return 404, "RevisionNotFound", b""
                return 200, "", json.dumps(listing(commits[commit], commit)).encode()
            for commit, files in commits.items():
                prefix = f"/{base}own/tiny/resolve/{commit}/"
                if path.startswith(prefix) and path[len(prefix) :] in files:
                    return 200, "", files[path[len(prefix) :]]
        if path == "/api/models/own/pickle/revision/main":
            return 200, "", json.dumps(listing({"config.json": b"", "x.bin": b""})).encode()
        return 404, "EntryNotFound", b""

    def downloads(self) -> list[str]:
        return [path for path, _ in self.requests if "/resolve/" in path]

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


def listing(files: dict[str, bytes], commit: str = COMMIT) -> dict[str, Any]:
    siblings = []
    for name, content in files.items():
        item: dict[str, Any] = {"rfilename": name, "size": len(content), "blobId": name}
        if name.endswith("safetensors"):
            item["lfs"] = {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content)}
        siblings.append(item)
    return {"sha": commit, "siblings": siblings, "cardData": {"license": "apache-2.0"}}
