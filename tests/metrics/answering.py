"""A small HTTP server for tests: it answers as it is told."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

Answer = Callable[[str, Mapping[str, str], bytes], tuple[int, bytes]]


class Answering:
    """
    The server, on a free port of 127.0.0.1; use as a context manager.

    ``answer`` is given path, headers and body of a request, and gives status and body; a redirect leads to /onward.
    With ``lasting`` a connection is used for more than one.
    """

    def __init__(self, answer: Answer, *, name: str, lasting: bool = False) -> None:
        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1" if lasting else "HTTP/1.0"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                status, answered = answer(self.path, dict(self.headers.items()), body)
                self.send_response(status)
                self.send_header("Content-Length", str(len(answered)))
                if 300 <= status < 400:
                    self.send_header("Location", "/onward")
                with contextlib.suppress(ConnectionError):  # who has asked may not have waited
                    self.end_headers()
                    self.wfile.write(answered)

            def do_GET(self) -> None:
                self.do_POST()

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # its name there
                """Nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), name=name)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Stop listening: from now on connections are refused."""
        if self._thread.is_alive():
            self._server.shutdown()
            self._thread.join()
        self._server.server_close()
