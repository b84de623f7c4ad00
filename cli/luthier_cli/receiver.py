"""The operator's end of progress reports, on this machine's loopback: POST /v1/progress."""

import hmac
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from pydantic import ValidationError

from luthier_api.progress import MAX_REPORT_BYTES, PROGRESS_ROUTE, ProgressReport

_SOCKET_SECONDS = 10


@contextmanager
def receive(token: str, on_report: Callable[[ProgressReport], None]) -> Iterator[str]:
    """Serve until the block ends; yields the base URL.

    Answers as `luthier_api.progress` says: 204, 401 for a wrong token. `on_report`
    is called in the order of the reports' sequence, on the server's threads.
    """
    latest: dict[str, int] = {}
    lock = threading.Lock()

    def accept(report: ProgressReport) -> None:
        with lock:
            if report.sequence > latest.get(report.pod, -1):
                latest[report.pod] = report.sequence
                on_report(report)

    class Handler(BaseHTTPRequestHandler):
        timeout = _SOCKET_SECONDS

        def do_POST(self) -> None:
            self.send_response(self._answer())
            self.send_header("Content-Length", "0")
            self.end_headers()

        def _answer(self) -> int:
            shown = self.headers.get("Authorization", "").removeprefix("Bearer ")
            if not hmac.compare_digest(shown.encode(), token.encode()):
                return 401
            if self.path != PROGRESS_ROUTE:
                return 404
            length = self.headers.get("Content-Length", "")
            if not length.isdigit():
                return 411
            if int(length) > MAX_REPORT_BYTES:
                return 413
            try:
                accept(ProgressReport.read_json(self.rfile.read(int(length))))
            except ValidationError:
                return 400
            return 204

        def log_message(self, format: str, *args: object) -> None:
            """Reports show on the screen; requests would only disturb it."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.1})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
