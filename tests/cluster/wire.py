"""A cable between a client and an API server that can be cut, or go silent, at any moment."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

import yaml


class Wire:
    """Forwards 127.0.0.1 to ``address``; TLS goes through unread, and a certificate for 127.0.0.1 stays right."""

    def __init__(self, address: str) -> None:
        parts = urlsplit(address)
        self._scheme, self._target = parts.scheme, (parts.hostname or "127.0.0.1", parts.port or 443)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        self._flows = threading.Event()
        self._flows.set()
        self.connections = 0
        self.address = f"{self._scheme}://127.0.0.1:{self._listener.getsockname()[1]}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.close()
        self.thaw()
        self.cut()

    def kubeconfig(self, given: Path, path: Path) -> Path:
        """``given`` with this wire in the place of its server."""
        found: dict[str, Any] = yaml.safe_load(given.read_text())
        for one in found["clusters"]:
            one["cluster"]["server"] = self.address
        path.write_text(yaml.safe_dump(found))
        return path

    def cut(self) -> None:
        """Reset all connections that there are; new ones are welcome."""
        for pair in self._pairs:
            for one in pair:
                with contextlib.suppress(OSError):
                    one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    one.shutdown(socket.SHUT_RDWR)
                one.close()
        self._pairs.clear()

    def freeze(self) -> None:
        """Nothing comes through any more, and nobody is told."""
        self._flows.clear()

    def thaw(self) -> None:
        self._flows.set()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
                far = socket.create_connection(self._target)
            except OSError:
                return
            self.connections += 1
            self._pairs.append((near, far))
            for one, other in ((near, far), (far, near)):
                threading.Thread(target=self._pump, args=(one, other), daemon=True).start()

    def _pump(self, one: socket.socket, other: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := one.recv(65536):
                self._flows.wait()
                other.sendall(data)
        for end in (one, other):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
