"""
The Kubernetes API: the only module that knows the client library.

The API's verbs on plain JSON objects. Each request has one deadline over everything (name look-up, credentials plugin,
connecting, reading), because a rollback must not wait for a dead connection; nothing is retried here, the caller does.
The library's typed methods are left aside on purpose: they send a JSON Patch as a merge patch unless told otherwise,
and turn objects into models that lose what they do not know.
"""

from __future__ import annotations

import copy
import json
import os
import re
import shlex
import socket
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, TypeVar
from urllib.parse import quote, urlencode

import urllib3
import yaml
from kubernetes import client
from kubernetes import config as untyped_config
from kubernetes.client.exceptions import ApiException
from kubernetes.config.config_exception import ConfigException
from urllib3.util.retry import Retry

from canaryd import telemetry
from canaryd.errors import CanarydError, Conflict, Rejected, Unavailable

T = TypeVar("T")
Object = dict[str, Any]
Objects = list[Object]

config: Any = untyped_config

FIELD_MANAGER = "canaryd"
PAGE = 500
SILENCE = 90.0
"""Seconds without a byte after which a watch is given up; a server sends a bookmark about every minute."""
OVERDUE = 5.0
"""Seconds after the end that was asked for after which a watch is given up, too: the server should have ended it."""
SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount/token")


class Missing(Rejected):
    """There is no such object."""


class Unserved(Rejected):
    """The API server does not serve that kind in that version."""


class Forbidden(Rejected):
    """We may not; ``said`` is the API server's own sentence, where it gave one."""

    def __init__(self, sentence: str, said: str = "") -> None:
        super().__init__(sentence)
        self.said = said or sentence


class Expired(Unavailable):
    """The version to watch from, or the page to go on with, is older than what the server keeps: list again."""


class Throttled(Unavailable):
    """The server has too much to do; ``after`` says in how many seconds it wants to be asked again, at the earliest."""

    def __init__(self, sentence: str, after: float) -> None:
        super().__init__(sentence)
        self.after = after


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of object, by where the API serves it."""

    group: str
    version: str
    plural: str

    def path(self, namespace: str = "", name: str = "", subresource: str = "") -> str:
        """The URL's path of one object (or a part of it, such as its status), or of all in a namespace, or of all."""
        root = f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"
        scope = f"/namespaces/{quote(namespace, safe='')}" if namespace else ""
        one = f"/{quote(name, safe='')}" if name else ""
        return f"{root}{scope}/{self.plural}{one}" + (f"/{subresource}" if subresource else "")

    def __str__(self) -> str:
        return f"{self.plural}.{self.group}" if self.group else self.plural


@dataclass(frozen=True, slots=True)
class Right:
    """A verb on a kind."""

    verb: str
    kind: Kind

    def __str__(self) -> str:
        return f"{self.verb} {self.kind}"


VIRTUAL_SERVICES = Kind("networking.istio.io", "v1", "virtualservices")
DESTINATION_RULES = Kind("networking.istio.io", "v1", "destinationrules")
SERVICES = Kind("", "v1", "services")
PODS = Kind("", "v1", "pods")
DEPLOYMENTS = Kind("apps", "v1", "deployments")
REVIEWS = Kind("authorization.k8s.io", "v1", "selfsubjectaccessreviews")
SELF_REVIEWS = Kind("authentication.k8s.io", "v1", "selfsubjectreviews")
NAMESPACES = Kind("", "v1", "namespaces")
EVENTS = Kind("", "v1", "events")
LEASES = Kind("coordination.k8s.io", "v1", "leases")
DEFINITIONS = Kind("apiextensions.k8s.io", "v1", "customresourcedefinitions")

GROUP = "canaryd.io"
"""The group of our own kinds; annotations and labels of ours begin with it too."""
VERSION = "v1alpha1"
CANARY_PLANS = Kind(GROUP, VERSION, "canaryplans")
CANARY_POLICIES = Kind(GROUP, VERSION, "canarypolicies")
CANARY_RUNS = Kind(GROUP, VERSION, "canaryruns")
CANARY_RECORDS = Kind(GROUP, VERSION, "canaryrecords")
CANARY_FREEZES = Kind(GROUP, VERSION, "canaryfreezes")


class Kube:
    """One API server, over a pool of connections of its own; made by :func:`connect`."""

    def __init__(self, settings: Any, timeout: float) -> None:
        self._settings = settings
        self._timeout = timeout
        self._api: Any = client.ApiClient(settings)

    @property
    def address(self) -> str:
        """The API server's URL."""
        return str(self._settings.host)

    def another(self, *, timeout: float | None = None) -> Kube:
        """The same server over other connections, so that one's full pool or dead connection is not the other's."""
        return Kube(self._settings, timeout or self._timeout)

    def as_bearer(self, token: str) -> Kube:
        """The same server with the rights of who has ``token``, and with nothing of our own credentials."""
        settings = copy.copy(self._settings)
        settings.api_key, settings.api_key_prefix = {"authorization": f"Bearer {token}"}, {}
        settings.refresh_api_key_hook = None
        settings.username = settings.password = settings.cert_file = settings.key_file = None
        return Kube(settings, self._timeout)

    def get(self, kind: Kind, namespace: str, name: str) -> Object:
        """One object. Raises Missing where there is none, Unserved where the API does not know the kind."""
        return self._request("GET", kind.path(namespace, name))

    def list(self, kind: Kind, namespace: str = "", *, labels: Mapping[str, str] | None = None) -> list[Object]:
        """All objects in a namespace, or in all namespaces, that carry ``labels``."""
        return self.listed(kind, namespace, labels=labels)[0]

    def listed(
        self, kind: Kind, namespace: str = "", *, labels: Mapping[str, str] | None = None
    ) -> tuple[Objects, str]:
        """The same, and the version of the list: from there a watch goes on. Raises Expired between two pages."""
        query = {"limit": str(PAGE)} | _selecting(labels)
        found: Objects = []
        while True:
            page = self._request("GET", kind.path(namespace), query)
            found += page.get("items") or []
            meta = page.get("metadata") or {}
            if not meta.get("continue"):
                return found, str(meta.get("resourceVersion") or "")
            query["continue"] = meta["continue"]

    def watch(
        self, kind: Kind, namespace: str = "", *, since: str, seconds: int, labels: Mapping[str, str] | None = None
    ) -> Watch:
        """
        What happens to the objects after version ``since``, for about ``seconds``; the server has answered already.

        Raises Expired when ``since`` is too old, here or while it is read.
        """
        asked = {"watch": "1", "allowWatchBookmarks": "true", "resourceVersion": since, "timeoutSeconds": str(seconds)}
        what = f"WATCH {kind.path(namespace)}"
        url = self._url(kind.path(namespace), asked | _selecting(labels))
        with telemetry.kube_request("WATCH", kind.path(namespace)) as request, self._translated(what):
            silence = min(SILENCE, seconds + OVERDUE)
            answer = _within(self._timeout, lambda: self._stream(url, what, request, silence))
            return Watch(self, answer, what, lambda: telemetry.heard(kind.plural, namespace))

    def create(self, kind: Kind, namespace: str, body: Mapping[str, Any], *, dry_run: bool = False) -> Object:
        """Create an object; as the server has it then. Raises Conflict where there is one of that name."""
        return self._write("POST", kind.path(namespace), body, dry_run=dry_run)

    def replace(
        self, kind: Kind, namespace: str, name: str, body: Mapping[str, Any], *, subresource: str = ""
    ) -> Object:
        """
        Put ``body`` in the place of the object, or of its ``subresource``; as it is then.

        Raises Conflict when the resourceVersion in ``body`` is no longer the object's, Missing when it is gone.
        """
        return self._write("PUT", kind.path(namespace, name, subresource), body)

    def delete(self, kind: Kind, namespace: str, name: str, *, uid: str = "", version: str = "") -> None:
        """
        Delete an object; where there is none, nothing.

        Raises Conflict where it is not the one of ``uid`` or no longer at resourceVersion ``version``, if those are
        given.
        """
        guards = {key: value for key, value in (("uid", uid), ("resourceVersion", version)) if value}
        body = {"apiVersion": "v1", "kind": "DeleteOptions"} | ({"preconditions": guards} if guards else {})
        try:
            self._request("DELETE", kind.path(namespace, name), None, body, "application/json")
        except Missing:
            return

    def apply(
        self, kind: Kind, namespace: str, name: str, body: Mapping[str, Any], *, field_manager: str, force: bool = False
    ) -> Object:
        """
        Server-side apply: create the object, or own and set the fields in ``body``; as it is then.

        Raises Conflict when somebody else owns one of them, unless ``force`` is said.
        """
        query = {"fieldManager": field_manager} | ({"force": "true"} if force else {})
        return self._request("PATCH", kind.path(namespace, name), query, body, "application/apply-patch+yaml")

    def patch_merge(
        self, kind: Kind, namespace: str, name: str, body: Mapping[str, Any], *, subresource: str = ""
    ) -> Object:
        """
        A JSON merge patch (RFC 7386) of the object or its ``subresource``; as it is then.

        Raises Conflict where ``body`` holds a resourceVersion that is no longer the object's.
        """
        path = kind.path(namespace, name, subresource)
        return self._request("PATCH", path, {"fieldManager": FIELD_MANAGER}, body, "application/merge-patch+json")

    def patch_json(
        self,
        kind: Kind,
        namespace: str,
        name: str,
        body: Sequence[Mapping[str, Any]],
        *,
        field_manager: str = FIELD_MANAGER,
        dry_run: bool = False,
    ) -> Object:
        """
        Apply a JSON Patch (RFC 6902); the object as it is then.

        Raises Conflict when a ``test`` in it failed, or somebody wrote at the same moment.
        """
        query = {"fieldManager": field_manager} | ({"dryRun": "All"} if dry_run else {})
        path = kind.path(namespace, name)
        return self._request("PATCH", path, query, list(body), "application/json-patch+json")

    def may(self, right: Right, namespace: str = "") -> bool:
        """Whether the API server would let us, asked by a SelfSubjectAccessReview."""
        attributes = {"verb": right.verb, "group": right.kind.group, "resource": right.kind.plural}
        body = {
            "apiVersion": f"{REVIEWS.group}/{REVIEWS.version}",
            "kind": "SelfSubjectAccessReview",
            "spec": {"resourceAttributes": attributes | ({"namespace": namespace} if namespace else {})},
        }
        answer = self._request("POST", REVIEWS.path(), None, body, "application/json")
        return bool((answer.get("status") or {}).get("allowed"))

    def forbidden(self, namespace: str, needed: Sequence[Right]) -> tuple[Right, ...]:
        """The rights among ``needed`` that we have not. Where the question itself is not served: none."""
        try:
            return tuple(right for right in needed if not self.may(right, namespace))
        except (Unserved, Forbidden):
            return ()  # the requests themselves will tell

    def account(self) -> str:
        """The user that the API server takes us for; empty where it does not say so (before Kubernetes 1.28)."""
        body = {"apiVersion": f"{SELF_REVIEWS.group}/{SELF_REVIEWS.version}", "kind": "SelfSubjectReview"}
        try:
            answer = self._request("POST", SELF_REVIEWS.path(), None, body, "application/json")
        except (Unserved, Forbidden):
            return ""
        return str(((answer.get("status") or {}).get("userInfo") or {}).get("username") or "")

    def versions(self, group: str) -> tuple[str, ...]:
        """The versions in which a group is served, the preferred one first; none where it is not served at all."""
        try:
            answer = self._request("GET", f"/apis/{quote(group, safe='')}")
        except Unserved:
            return ()
        return tuple(str(one["version"]) for one in answer.get("versions") or () if one.get("version"))

    def close(self) -> None:
        """Close idle connections."""
        self._api.rest_client.pool_manager.clear()

    def _request(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None = None,
        body: Any = None,
        content_type: str | None = None,
    ) -> Object:
        what = f"{method} {path}"
        url = self._url(path, query)
        with telemetry.kube_request(method, path) as request, self._translated(what):
            status, text, after = _within(self._timeout, lambda: self._send(method, url, body, content_type))
            request.code = status
        if not 200 <= status < 300:
            raise _refusal(status, text, what, self.address, after)
        try:
            answer = json.loads(text)
        except ValueError as error:
            raise Unavailable(f"what answered {what} at {self.address} does not speak JSON: {text[:80]!r}") from error
        if not isinstance(answer, dict):
            raise Unavailable(f"what answered {what} at {self.address} is no Kubernetes API: {text[:80]!r}")
        return answer

    def _write(self, method: str, path: str, body: Mapping[str, Any], *, dry_run: bool = False) -> Object:
        query = {"fieldManager": FIELD_MANAGER} | ({"dryRun": "All"} if dry_run else {})
        return self._request(method, path, query, body, "application/json")

    def _url(self, path: str, query: Mapping[str, str] | None) -> str:
        return self.address.rstrip("/") + path + (f"?{urlencode(query)}" if query else "")

    @contextmanager
    def _translated(self, what: str) -> Iterator[None]:
        """The library's exceptions as ours."""
        try:
            yield
        except CanarydError:
            raise
        except (urllib3.exceptions.HTTPError, OSError) as error:
            if _is_late(error):
                late = f"did not answer {what} within {self._timeout:g} s"
                raise Unavailable(f"the Kubernetes API at {self.address} {late}") from error
            raise Unavailable(f"the Kubernetes API at {self.address} is not reachable: {_plain(error)}") from error
        except ApiException as error:
            raise _unusable_connection(self.address, error) from error
        except ValueError as error:
            raise Unavailable(f"what answered {what} at {self.address} does not speak JSON: {error}") from error

    def _headers(self) -> dict[str, str]:
        headers = {"Accept": "application/json", "User-Agent": FIELD_MANAGER}
        for setting in self._settings.auth_settings().values():
            if setting["in"] == "header" and setting["value"]:
                headers[setting["key"]] = setting["value"]
        return headers

    def _stream(self, url: str, what: str, request: telemetry.Asked, silence: float) -> Any:
        """The answer to a watch, unread; reading fails after ``silence`` seconds without a byte."""
        limits = urllib3.Timeout(connect=self._timeout, read=silence)
        pool = self._api.rest_client.pool_manager  # its own `request` reads the answer to the end in some versions
        # Never back into the pool: who closes the watch at that moment would cut another request's connection.
        headers = self._headers() | {"Connection": "close"}
        answer = pool.request("GET", url, headers=headers, preload_content=False, timeout=limits)
        request.code = int(answer.status)
        if answer.status != 200:
            raise _refusal(int(answer.status), answer.read(), what, self.address, _retry_after(answer.headers))
        return answer

    def _send(self, method: str, url: str, body: Any, content_type: str | None) -> tuple[int, bytes, float]:
        """Status, body, and in how many seconds the server wants to be asked again (0: it did not say)."""
        headers = self._headers()
        if content_type:
            headers["Content-Type"] = content_type
        # Two numbers are urllib3's limits for connecting and for each read; the deadline over all is _within's.
        limits = (self._timeout, self._timeout)
        try:
            answer = self._api.rest_client.request(method, url, headers=headers, body=body, _request_timeout=limits)
        except ApiException as error:  # raised for refusals by some versions of the library
            if not error.status:
                raise
            return int(error.status), _bytes(error.body), _retry_after(error.headers)
        text = answer.data if answer.data is not None else answer.read()
        return int(answer.status), text, _retry_after(answer.headers)


class Watch:
    """
    The events of a watch, as an iterator: ``{"type": ..., "object": ...}``.

    Types are ADDED, MODIFIED, DELETED and BOOKMARK, whose object has nothing but a version to go on from. Ends when the
    server ends it, or when :meth:`close` is called, by any thread. Raises Expired when the version to go on from is too
    old, Unavailable when the connection breaks or nothing came for :data:`SILENCE` seconds, or not even its end.
    """

    def __init__(self, kube: Kube, answer: Any, what: str, heard: Callable[[], None]) -> None:
        self._heard = heard
        self._closed = False
        self._lock = threading.Lock()
        # A socket of our own on the same connection: closing the answer while another thread reads it would wait for
        # that read, and the answer's own descriptor may be another connection's by the time it is shut down.
        self._cord = _cord(answer)
        self._events = self._read(kube, answer, what)

    def __iter__(self) -> Iterator[Object]:
        return self

    def __next__(self) -> Object:
        return next(self._events)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End it: a thread that waits for the next event gets the end at once. Harmless when ended already."""
        with self._lock:
            self._closed = True
            if self._cord is not None:
                with suppress(OSError):
                    self._cord.shutdown(socket.SHUT_RDWR)
                self._cord.close()
                self._cord = None

    def _read(self, kube: Kube, answer: Any, what: str) -> Iterator[Object]:
        try:
            with kube._translated(what):  # noqa: SLF001  # the two are one
                for line in _lines(answer):
                    if self._closed:
                        return
                    self._heard()
                    event = json.loads(line)
                    if event.get("type") == "ERROR":
                        said = event.get("object") or {}
                        raise _refusal(int(said.get("code") or 500), json.dumps(said).encode(), what, kube.address)
                    yield event
        except Unavailable:
            if not self._closed:
                raise
        finally:
            self.close()
            with suppress(OSError, urllib3.exceptions.HTTPError):
                answer.close()


def _cord(answer: Any) -> socket.socket | None:
    try:
        return socket.socket(fileno=os.dup(answer.fileno()))
    except (OSError, ValueError, AttributeError):
        return None  # the whole answer was there at once, and its connection is closed: nothing to wait for


def grantee(account: str) -> str:
    """How kubectl's create rolebinding names ``account``; an account that is not known is USER, to be filled in."""
    kind, _, name = account.partition("system:serviceaccount:")
    if name and not kind:
        return f"--serviceaccount={name}"
    return f"--user={shlex.quote(account or 'USER')}"


def _bytes(text: str | bytes | None) -> bytes:
    return text.encode() if isinstance(text, str) else text or b""


def _selecting(labels: Mapping[str, str] | None) -> dict[str, str]:
    if not labels:
        return {}
    return {"labelSelector": ",".join(f"{key}={value}" for key, value in sorted(labels.items()))}


def _lines(answer: Any) -> Iterator[bytes]:
    """The lines of a streamed answer; one that the end cut short is left out."""
    rest = b""
    for chunk in answer.stream(None, decode_content=True):
        *lines, rest = (rest + chunk).split(b"\n")
        yield from (line for line in lines if line.strip())


def connect(
    kubeconfig: str | os.PathLike[str] | None = None, context: str | None = None, *, timeout: float = 10
) -> Kube:
    """
    The cluster that ``kubeconfig`` names; without one: $KUBECONFIG, else the pod we run in, else ~/.kube/config.

    ``timeout`` in seconds bounds every request. Sends none itself. Raises Rejected when the file, or the context in
    it, is missing or broken, Unavailable when its credentials plugin does not end in time.
    """
    settings = client.Configuration()
    if kubeconfig is None and not os.environ.get("KUBECONFIG") and _in_pod():
        try:
            config.load_incluster_config(client_configuration=settings)
        except ConfigException as error:
            raise Rejected(f"this pod has no usable service account: {_plain(error)}") from error
    else:
        _read_kubeconfig(settings, kubeconfig, context, timeout)
    settings.retries = Retry(0)
    settings.connection_pool_maxsize = 16
    return Kube(settings, timeout)


def standing_in(kubeconfig: str | os.PathLike[str] | None = None, context: str | None = None) -> tuple[str, str]:
    """
    The name of the context that :func:`connect` uses, and its namespace, as kubectl would take them.

    In a pod the name is empty, and the namespace the pod's. Raises nothing: what is not there, connect tells.
    """
    if kubeconfig is None and not os.environ.get("KUBECONFIG") and _in_pod():
        with suppress(OSError):
            return "", SERVICE_ACCOUNT.with_name("namespace").read_text().strip() or "default"
        return "", "default"
    named = os.fspath(kubeconfig) if kubeconfig else os.environ.get("KUBECONFIG") or "~/.kube/config"
    location = os.pathsep.join(str(Path(part).expanduser()) for part in named.split(os.pathsep) if part)
    try:
        contexts, current = config.list_kube_config_contexts(location)
        chosen = next(one for one in contexts if one["name"] == context) if context else current
        return str(chosen["name"]), str(chosen["context"].get("namespace") or "default")
    except Exception:  # noqa: BLE001  # reading the file in earnest will tell what is wrong with it
        return context or "", "default"


def _in_pod() -> bool:
    return bool(os.environ.get("KUBERNETES_SERVICE_HOST")) and SERVICE_ACCOUNT.exists()


def _read_kubeconfig(
    settings: Any, kubeconfig: str | os.PathLike[str] | None, context: str | None, timeout: float
) -> None:
    named = os.fspath(kubeconfig) if kubeconfig else os.environ.get("KUBECONFIG") or "~/.kube/config"
    files = [Path(part).expanduser() for part in named.split(os.pathsep) if part]
    if not any(file.is_file() for file in files):
        raise Rejected(
            f"there is no kubeconfig at {named}; name one with --kubeconfig or $KUBECONFIG, "
            "such as the one that works for: kubectl get virtualservices"
        )
    location = os.pathsep.join(map(str, files))
    known = _contexts(location) if context else []
    if known and context not in known:
        raise Rejected(
            f"there is no context {context} in kubeconfig {named}, but {', '.join(known)}; "
            f"see: kubectl config get-contexts --kubeconfig {named}"
        )
    try:
        _within(
            timeout,
            lambda: config.load_kube_config(location, context, client_configuration=settings, persist_config=False),
        )
    except TimeoutError as error:
        raise Unavailable(f"the credentials plugin in kubeconfig {named} did not end within {timeout:g} s") from error
    except yaml.YAMLError as error:
        raise Rejected(f"kubeconfig {named} is not YAML that can be read: {_plain(error)}") from error
    except ConfigException as error:
        raise Rejected(f"kubeconfig {named} cannot be used: {_plain(error)}") from error
    except OSError as error:
        raise Rejected(f"kubeconfig {named} cannot be read: {_plain(error)}") from error
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise Rejected(
            f"{named} is no kubeconfig: it has not the clusters, users and contexts of one; "
            f"see: kubectl config view --kubeconfig {named}"
        ) from error


def _contexts(location: str) -> list[str]:
    """The names of the contexts that there are; none where they cannot be told."""
    try:
        contexts, _ = config.list_kube_config_contexts(location)
    except Exception:  # noqa: BLE001  # reading the file in earnest will tell what is wrong with it
        return []
    return [str(one["name"]) for one in contexts]


def _within(seconds: float, call: Callable[[], T]) -> T:
    """
    What ``call`` gives, or TimeoutError after ``seconds``.

    A socket's timeout bounds one read, not the whole, and neither a name look-up nor a plugin; so the call runs in a
    thread that is left to itself when it is late.
    """
    answer: list[T] = []
    failure: list[BaseException] = []

    def run() -> None:
        try:
            answer.append(call())
        except BaseException as error:  # noqa: BLE001  # handed to the thread that asked
            failure.append(error)

    thread = threading.Thread(target=run, name="kube-request", daemon=True)
    thread.start()
    thread.join(seconds)
    if failure:
        raise failure[0]
    if not answer:
        raise TimeoutError
    return answer[0]


def _retry_after(headers: Any) -> float:
    """
    The header's seconds, 0 where there are none.

    Priority and fairness refuse in plain text, without the Status that holds them too.
    Source: apiserver, pkg/server/filters (tooManyRequests).
    """
    said = str((headers or {}).get("Retry-After") or "")
    return float(said) if said.isdigit() else 0.0


def _refusal(status: int, text: bytes, what: str, address: str, after: float = 0) -> CanarydError:
    """Our error for an HTTP status, with what a person can do about it."""
    said = _status(text)
    message = str(said.get("message") or text[:200].decode(errors="replace").strip() or f"HTTP {status}")
    details = said.get("details") or {}
    if status in (408, 410, 429) or status >= 500:
        sentence = f"the Kubernetes API at {address} answered {what} with {status}: {message}"
        if status == 410:
            return Expired(sentence)
        return (
            Throttled(sentence, float(details.get("retryAfterSeconds") or after or 1))
            if status == 429
            else Unavailable(sentence)
        )
    if status == 409:
        return Conflict(f"{what}: somebody wrote at the same time: {message}")
    if status == 422 and not details.get("causes"):
        # A failed `test` of a JSON Patch names no field, unlike an object that breaks its schema.
        return Conflict(f"{what}: the object is not as it was read: {message}")
    if status == 401:
        return Rejected(
            f"the Kubernetes API at {address} does not know us (401: {message}); "
            "renew the credentials in the kubeconfig, check with: kubectl auth whoami"
        )
    if status == 403:
        return Forbidden(f"{what}: {message}; grant it with a Role, check with: kubectl auth can-i --list", message)
    if status == 404:
        # A path that is not served is answered without the name of what was sought.
        if details.get("name"):
            return Missing(f"{what}: {message}")
        return Unserved(f"{what}: the API server at {address} does not serve this kind; are Istio's CRDs installed?")
    return Rejected(f"{what}: the API server refused it ({status}): {message}")


def _status(text: bytes) -> Object:
    try:
        answer = json.loads(text)
    except ValueError:
        return {}
    return answer if isinstance(answer, dict) and answer.get("kind") == "Status" else {}


def _unusable_connection(address: str, error: ApiException) -> CanarydError:
    reason = " ".join(str(error.reason).split())
    if "certificate" in reason.lower():
        return Rejected(f"the certificate of the Kubernetes API at {address} is not trusted: {reason}")
    return Unavailable(f"the Kubernetes API at {address} is not reachable: {reason}")


def _is_late(error: BaseException) -> bool:
    """Whether the deadline passed: ours over all, or the socket's, which is as long and may come first."""
    inner = getattr(error, "reason", None)
    late = (TimeoutError, urllib3.exceptions.TimeoutError)
    # A refused connection is a ConnectTimeoutError to urllib3 by descent only.
    return isinstance(inner if isinstance(inner, BaseException) else error, late) and not isinstance(
        inner, urllib3.exceptions.NewConnectionError
    )


def _plain(error: BaseException) -> str:
    """An exception's text on one line, without the objects' addresses that urllib3 puts in."""
    inner = getattr(error, "reason", None)
    text = str(inner if isinstance(inner, BaseException) else error)
    text = re.sub(r"^(<[^>]*>|\w+\(host=[^)]*\)): ", "", text).removeprefix("Failed to establish a new connection: ")
    return " ".join(text.split()) or type(error).__name__
