"""Flux's own controllers, and a git repository on this machine's loopback that they follow."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

from integration.kube import Obj
from ports import ReservedPort

from luthier_cluster import Cluster, binaries
from luthier_cluster.binaries import Binary

NAMESPACE = "flux-system"
_SERVED = "models.git"
_WHO = ("-c", "user.name=tester", "-c", "user.email=tester@example.com")


class Repository:
    """A folder whose commits are pushed to where the server has them."""

    def __init__(self, folder: Path, layout: Path) -> None:
        self.folder, self.served = folder / "work", folder / "served"
        shutil.copytree(layout, self.folder)
        self._git("init", "--quiet", "--initial-branch=main")
        _run("git", "init", "--quiet", "--bare", "--initial-branch=main", self.served / _SERVED)
        self._git("remote", "add", "origin", str(self.served / _SERVED))

    def commit(self, why: str) -> str:
        """Commit and push all that was changed; the commit's hash."""
        self._git("add", "--all")
        self._git(*_WHO, "commit", "--quiet", "--message", why)
        self._git("push", "--quiet", "origin", "main")
        return self.head()

    def revert(self) -> str:
        """Take the last commit back, by another one."""
        self._git(*_WHO, "revert", "--no-edit", "HEAD")
        self._git("push", "--quiet", "origin", "main")
        return self.head()

    def head(self) -> str:
        """The last commit's hash."""
        return self._git("rev-parse", "HEAD").strip()

    def _git(self, *words: str) -> str:
        return _run("git", "-C", self.folder, *words)


def _run(*words: str | Path) -> str:
    done = subprocess.run(words, check=True, capture_output=True, text=True, timeout=60)
    return done.stdout


@contextmanager
def git_server(served: Path) -> Iterator[str]:
    """Serves the repository by git's own CGI program; its URL."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._answer(b"")

        def do_POST(self) -> None:
            self._answer(self.rfile.read(int(self.headers.get("Content-Length", 0))))

        def _answer(self, body: bytes) -> None:
            path, _, query = self.path.partition("?")
            environment = {
                "GIT_PROJECT_ROOT": str(served),
                "GIT_HTTP_EXPORT_ALL": "1",
                "REQUEST_METHOD": self.command,
                "PATH_INFO": path,
                "QUERY_STRING": query,
                "CONTENT_TYPE": self.headers.get("Content-Type", ""),
                "HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding", ""),
                "GIT_PROTOCOL": self.headers.get("Git-Protocol", ""),
            }
            said = subprocess.run(
                ["git", "http-backend"],
                input=body,
                env={"PATH": os.environ["PATH"], **environment},
                capture_output=True,
                check=True,
                timeout=60,
            ).stdout
            head, _, content = said.partition(b"\r\n\r\n")
            headers = dict(line.split(": ", 1) for line in head.decode().splitlines())
            self.send_response(int(headers.pop("Status", "200 OK").split()[0]))
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            """Nothing: the controllers have logs of their own."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/{_SERVED}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join(10)


@contextmanager
def controllers(cluster: Cluster, folder: Path) -> Iterator[None]:
    """Flux, as processes of this machine with an administrator's rights."""
    storage = ReservedPort()
    address = f"127.0.0.1:{storage.number}"
    with ExitStack() as stack:
        for binary, flags in (
            (
                binaries.FLUX_SOURCE,
                (
                    f"--storage-path={folder}",
                    f"--storage-addr={address}",
                    f"--storage-adv-addr={address}",
                ),
            ),
            (binaries.FLUX_KUSTOMIZE, ("--requeue-dependency=1s",)),
        ):
            stack.enter_context(_controller(binary, cluster, folder, flags))
        yield


@contextmanager
def _controller(
    binary: Binary, cluster: Cluster, folder: Path, flags: tuple[str, ...]
) -> Iterator[None]:
    log = folder / f"{binary.name}.log"
    with log.open("wb") as stream:
        process = subprocess.Popen(
            [binaries.ensure(binary), "--metrics-addr=0", "--health-addr=127.0.0.1:0", *flags],
            env={
                "PATH": os.environ["PATH"],
                "HOME": str(folder),
                "KUBECONFIG": str(cluster.kubeconfig),
                "RUNTIME_NAMESPACE": NAMESPACE,
            },
            cwd=folder,
            stdout=stream,
            stderr=stream,
        )
    try:
        yield
        assert process.poll() is None, log.read_text()[-2000:]
    finally:
        process.terminate()
        process.wait(30)


def ready(obj: Obj) -> tuple[str, str]:
    """Reason and message of a Flux object's Ready, about its newest generation."""
    (condition,) = [it for it in obj["status"]["conditions"] if it["type"] == "Ready"]
    assert condition["observedGeneration"] == obj["metadata"]["generation"], condition
    return condition["reason"], condition["message"]
