"""From what was typed to a page that is served."""

from __future__ import annotations

import ipaddress
import os
import secrets
import socket
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal
from urllib.parse import urlsplit

import uvicorn

from canaryd.errors import Rejected
from canaryd.web.coming import Hall
from canaryd.web.guard import Addresses
from canaryd.web.people import Door
from canaryd.web.reporting import Neighbours, no_neighbours
from canaryd.web.sessions import Sessions
from canaryd.web.site import site

Auth = Literal["kubeconfig", "bearer", "proxy"]


@dataclass(frozen=True, slots=True)
class Place:
    """Where the page listens, and ``url``, under which people find it where that is another address."""

    host: str
    port: int
    url: str = ""

    def addresses(self, auth: Auth) -> Addresses:
        """The addresses that are ours. Raises Rejected for what would lie open."""
        local = is_loopback(self.host)
        if auth == "kubeconfig" and not local:
            raise Rejected(
                f"--host {self.host}: with the credentials of one person the page listens on this machine only "
                "(--host 127.0.0.1); for others say --auth bearer, and everybody signs in for themselves"
            )
        if not self.url:
            if not local:
                raise Rejected(
                    f"--host {self.host}: under which address do people find it? Say --url, such as "
                    "--url https://canaryd.example"
                )
            named = f"[{self.host}]" if ":" in self.host else self.host
            return Addresses.of(
                f"http://{name}:{self.port}" for name in dict.fromkeys((named, "127.0.0.1", "localhost", "[::1]"))
            )
        parts = urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.path.strip("/") or parts.query:
            raise Rejected(f"--url {self.url}: expected the root of a site, such as https://canaryd.example")
        if parts.scheme == "http" and not is_loopback(parts.hostname):
            raise Rejected(
                f"--url {self.url}: tokens would travel in clear; let an ingress or a proxy speak TLS, and say its "
                "https:// address"
            )
        return Addresses.of([self.url])


def is_loopback(host: str) -> bool:
    """Whether a host is this machine alone."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def new_key() -> str:
    """What opens the page of a laptop."""
    return secrets.token_urlsafe(24)


def serve(
    door: Door, place: Place, auth: Auth, listening: Callable[[], None], *, neighbours: Neighbours = no_neighbours
) -> None:
    """
    Serve until SIGINT or SIGTERM; ``listening`` is called once nobody is turned away any more.

    Raises Rejected for what would lie open, or a port that is taken.
    """
    hall = Hall(door, Sessions(), place.addresses(auth), place.port)
    family = socket.AF_INET6 if ":" in place.host else socket.AF_INET
    try:
        port = socket.create_server((place.host, place.port), family=family, backlog=128)
    except OSError as error:
        why = os.strerror(error.errno) if error.errno else str(error)
        raise Rejected(
            f"port {place.port} of {place.host} cannot be listened on ({why}); another is "
            f"--port {place.port % 65535 + 1}"
        ) from error
    with port:
        listening()
        config = uvicorn.Config(
            site(hall, neighbours=neighbours), lifespan="off", server_header=False, proxy_headers=False,
            access_log=False, log_config=None, timeout_graceful_shutdown=3,
        )  # fmt: skip
        uvicorn.Server(config).run(sockets=[port])
