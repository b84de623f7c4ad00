"""The network between an operator and its API server, to be cut, held and mended."""

import select
import socket
import threading
from contextlib import suppress
from pathlib import Path
from types import TracebackType

import yaml


class Wire:
    """A TCP proxy before the API server of a kubeconfig."""

    def __init__(self, kubeconfig: Path, folder: Path) -> None:
        config = yaml.safe_load(kubeconfig.read_text())
        cluster = config["clusters"][0]["cluster"]
        host, _, port = cluster["server"].removeprefix("https://").partition(":")
        self._server = host, int(port or 443)
        self._listener = socket.create_server(("127.0.0.1", 0))
        cluster["server"] = f"https://127.0.0.1:{self._listener.getsockname()[1]}"
        self.kubeconfig = folder / "wire.kubeconfig"
        self.kubeconfig.write_text(yaml.safe_dump(config))
        self._open: set[socket.socket] = set()
        self._mended, self._flowing = threading.Event(), threading.Event()
        self._ended = False

    def cut(self) -> None:
        """End every connection, and let none through."""
        self._mended.clear()
        self.reset()

    def reset(self) -> None:
        """End every connection; new ones work."""
        for end in tuple(self._open):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def hold(self) -> None:
        """Connections stay open, and nothing goes through any of them."""
        self._flowing.clear()

    def mend(self) -> None:
        """All is well again."""
        self._mended.set()
        self._flowing.set()

    def __enter__(self) -> "Wire":
        self.mend()
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._ended = True
        self._listener.close()
        self.mend()
        self.reset()

    def _accept(self) -> None:
        while not self._ended:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(near,), daemon=True).start()

    def _serve(self, near: socket.socket) -> None:
        with near, suppress(OSError):
            if not self._mended.is_set():
                return
            with socket.create_connection(self._server, timeout=10) as far:
                ends = {near, far}
                self._open |= ends
                try:
                    self._pass_on(near, far)
                finally:
                    self._open -= ends

    def _pass_on(self, near: socket.socket, far: socket.socket) -> None:
        while True:
            readable, _, _ = select.select([near, far], [], [], 60)
            self._flowing.wait(timeout=60)
            for end in readable:
                data = end.recv(2**16)
                if not data:
                    return
                (far if end is near else near).sendall(data)
