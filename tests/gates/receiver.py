"""
A receiver of webhooks, as a user would write one: a real server over real connections.

What it answers is on ``answers``, the last one for ever; what it was asked is in ``asked``.
"""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

KEY = "a key of more than sixteen bytes"


@dataclass(frozen=True)
class Asked:
    """One request."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def event(self) -> dict[str, Any]:
        return json.loads(self.body)  # type: ignore[no-any-return]  # it is a mapping


@dataclass
class Receiver:
    """``answers`` are (status, headers, body); ``slow`` are seconds before an answer, ``drips`` between its bytes."""

    url: str = ""
    answers: list[tuple[int, dict[str, str], bytes]] = field(default_factory=lambda: [(200, {}, b"")])
    asked: list[Asked] = field(default_factory=list)
    slow: float = 0.0
    drips: float = 0.0

    def says(self, status: int, body: Any = b"", **headers: str) -> None:
        """From now on this, and nothing else."""
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.answers = [(status, {name.replace("_", "-"): value for name, value in headers.items()}, content)]

    @property
    def ids(self) -> list[str]:
        return [one.headers["webhook-id"] for one in self.asked]


@contextlib.contextmanager
def receiving() -> Iterator[Receiver]:
    """A receiver at a free port of this machine."""
    receiver = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            headers = {name.lower(): value for name, value in self.headers.items()}
            receiver.asked.append(Asked(self.path, headers, body))
            status, more, answer = receiver.answers.pop(0) if len(receiver.answers) > 1 else receiver.answers[0]
            time.sleep(receiver.slow)
            with contextlib.suppress(OSError):
                self.send_response(status)
                for name, value in {"content-length": str(len(answer)), **more}.items():
                    self.send_header(name, value)
                self.end_headers()
                for place in range(0, len(answer), 1 if receiver.drips else 1 << 16):
                    time.sleep(receiver.drips)
                    self.wfile.write(answer[place : place + (1 if receiver.drips else 1 << 16)])
                    self.wfile.flush()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    receiver.url = f"http://127.0.0.1:{server.server_address[1]}/canaryd"
    try:
        yield receiver
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
