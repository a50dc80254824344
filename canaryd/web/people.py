"""
Who is in front of the page, and how they came in.

A :class:`Door` turns what somebody shows (a key, a token, an identity that a proxy vouches for) into a
:class:`Person`, with a desk that has that person's rights and no others.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from threading import Lock
from typing import Literal, Protocol

from canaryd.desk import ClusterDesk, Desk
from canaryd.errors import Rejected
from canaryd.kube import Kube, Unidentified

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

LONGEST_SECRET = 16_384
"""Characters of a token; those of identity providers have some thousand."""
KNOWN_FOR = 60.0
"""Seconds for which the API server's word on whose token it is, is believed. What a person may is asked each time."""
MOST_KNOWN = 1_000


class NotLetIn(Rejected):
    """What was shown opens nothing; says what would."""


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody with a name that the API server knows, and the desk of theirs in a namespace (empty: in all)."""

    name: str
    desk: Callable[[str], Desk]
    close: Callable[[], None] = lambda: None


@dataclass(frozen=True, slots=True)
class Brought:
    """What a request brings along: headers by their names in lower case, and the address of who sent it."""

    headers: Mapping[str, str]
    peer: str

    @property
    def bearer(self) -> str:
        """The token of ``Authorization: Bearer``, empty without one."""
        scheme, _, token = self.headers.get("authorization", "").partition(" ")
        return token.strip() if scheme.lower() == "bearer" else ""


class Door(Protocol):
    """One way in. ``shows`` is what a person has to type: nothing where each request brings its own identity."""

    @property
    def shows(self) -> Literal["key", "token", ""]: ...

    @property
    def where(self) -> str:
        """The place behind it, in words."""

    def enter(self, secret: str) -> Person:
        """Whose secret it is. Raises :class:`NotLetIn`, and Unavailable where nobody answers."""

    def brought(self, request: Brought) -> Person | None:
        """Who a request says it is from, None where it does not say so. Raises as :meth:`enter`."""


class OwnDoor:
    """
    The door of a laptop: one person, with the kubeconfig or the state folder that is theirs.

    The port is open to everybody on the machine, so whoever comes must know ``key``, which is told to the terminal.
    """

    shows: Literal["key"] = "key"

    def __init__(self, desk: Desk, key: str) -> None:
        self._desk, self._key = desk, key
        self._person: Person | None = None

    @property
    def where(self) -> str:
        return self._desk.where

    def enter(self, secret: str) -> Person:
        if not hmac.compare_digest(secret.encode(), self._key.encode()):
            raise NotLetIn("that is not the key of this canaryd ui: open the address that it printed when it started")
        if self._person is None:
            self._person = Person(self._desk.me(), self._of_namespace)
        return self._person

    def brought(self, request: Brought) -> Person | None:
        return self.enter(request.bearer) if request.bearer else None

    def _of_namespace(self, namespace: str) -> Desk:
        if isinstance(self._desk, ClusterDesk) and namespace:
            return ClusterDesk(self._desk.kube, (namespace,), context=self._desk.context)
        return self._desk


class TokenDoor:
    """
    The door of a cluster: who has a token of it is who the API server says.

    The page itself needs no right for that: the question (SelfSubjectReview) is asked with the very token. A token may
    be typed, or be brought by an auth proxy with each request.
    """

    shows: Literal["token"] = "token"

    def __init__(self, kube: Kube, namespace: str = "", clock: Callable[[], float] = time.monotonic) -> None:
        self._kube, self._namespace, self._clock = kube, namespace, clock
        self._known: OrderedDict[bytes, tuple[float, Person]] = OrderedDict()
        self._lock = Lock()

    @property
    def where(self) -> str:
        return f"the cluster at {self._kube.address}"

    def enter(self, secret: str) -> Person:
        token = secret.strip()
        if not token or len(token) > LONGEST_SECRET or not token.isascii() or not token.isprintable() or " " in token:
            raise NotLetIn("that is no token: it is one word, such as kubectl create token NAME prints")
        return self._named(token)

    def brought(self, request: Brought) -> Person | None:
        if not request.bearer:
            return None
        mark = hashlib.sha256(request.bearer.encode()).digest()
        with self._lock:
            at, known = self._known.get(mark, (0.0, None))
        if known is not None and self._clock() - at < KNOWN_FOR:
            return known
        person = self.enter(request.bearer)
        with self._lock:
            self._known[mark] = (self._clock(), person)
            while len(self._known) > MOST_KNOWN:
                self._known.popitem(last=False)
        return person

    def _named(self, token: str) -> Person:
        kube = self._kube.as_bearer(token)
        try:
            name = kube.account()
        except Unidentified as error:
            raise NotLetIn("the API server does not know this token, or it has expired: get a new one") from error
        if not name or name == "system:anonymous":
            raise NotLetIn(
                "the API server does not say whose token this is (SelfSubjectReview, Kubernetes 1.28 or newer)"
            )
        return _in_cluster(name, kube, self._namespace)


class ProxyDoor:
    """
    The door behind a proxy that vouches for who comes, by headers.

    Whoever can write these headers is whoever they say, so they are believed from ``trusted`` addresses alone; and the
    account of canaryd itself must have the right to impersonate, which makes it worth stealing. The token door is the
    better one wherever the proxy can hand on a token.
    """

    shows: Literal[""] = ""

    def __init__(
        self,
        kube: Kube,
        trusted: Sequence[Network],
        *,
        user: str = "X-Forwarded-User",
        groups: str = "X-Forwarded-Groups",
        namespace: str = "",
    ) -> None:
        self._kube, self._trusted, self._namespace = kube, tuple(trusted), namespace
        self._user, self._groups = user.lower(), groups.lower()

    @property
    def where(self) -> str:
        return f"the cluster at {self._kube.address}"

    def enter(self, secret: str) -> Person:  # noqa: ARG002  # there is none here
        raise NotLetIn("people come in through the proxy in front of this page, which says who they are")

    def brought(self, request: Brought) -> Person | None:
        user = request.headers.get(self._user, "").strip()
        if not user:
            return None
        if not self._is_trusted(request.peer):
            raise NotLetIn(
                f"{request.peer} is not among the proxies that may say who somebody is; if it is one, name it with "
                "--trusted-proxy"
            )
        groups = [one.strip() for one in request.headers.get(self._groups, "").split(",") if one.strip()]
        for name in (user, *groups):
            if name.startswith("system:") or not name.isprintable():
                raise NotLetIn(f"the proxy says {name!r}: what is called system: is the cluster's own, and no person")
        return _in_cluster(user, self._kube.as_person(user, (*groups, "system:authenticated")), self._namespace)

    def _is_trusted(self, peer: str) -> bool:
        try:
            address = ipaddress.ip_address(peer)
        except ValueError:
            return False
        mapped = getattr(address, "ipv4_mapped", None)
        return any((mapped or address) in network for network in self._trusted)


def _in_cluster(name: str, kube: Kube, usual: str) -> Person:
    return Person(name, lambda namespace: ClusterDesk(kube, (namespace or usual,)), kube.close)


def networks(texts: Sequence[str]) -> tuple[Network, ...]:
    """Addresses and networks (CIDR). Raises Rejected for what is neither."""
    try:
        return tuple(ipaddress.ip_network(text) for text in texts)
    except ValueError as error:
        raise Rejected(f"--trusted-proxy: {error}; expected an address or a network such as 10.0.3.0/24") from error
