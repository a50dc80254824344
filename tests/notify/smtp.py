"""
A mail server, as a site would run one: real SMTP on a port of this machine.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from aiosmtpd.controller import Controller


@dataclass
class Mailbox:
    """What came, as bytes; ``refuses`` makes it turn down what comes."""

    url: str = ""
    got: list[bytes] = field(default_factory=list)
    refuses: bool = False

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:  # noqa: N802  # aiosmtpd's name
        if self.refuses:
            return "554 no mail from strangers"
        self.got.append(envelope.content)
        return "250 OK"


@contextlib.contextmanager
def mail(to: str = "team@example.org") -> Iterator[Mailbox]:
    """A mail server, and the Apprise URL that sends to it."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    box = Mailbox(f"mailto://127.0.0.1:{port}/?from=canaryd@example.org&to={to}")
    server = Controller(box, hostname="127.0.0.1", port=port)
    server.start()
    try:
        yield box
    finally:
        server.stop()
