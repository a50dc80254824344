"""
The Kubernetes API over HTTP: one `ApiServer` is one listener on a `Cluster`, in a thread and event loop of its own.

Several servers may share a cluster: one with fewer rights (`denied`) is how "a kubeconfig without rights" is tested,
one with `faults` how an API server in trouble is. On 127.0.0.1 only; plain HTTP, or TLS with a certificate of its own.
With `tokens` a request needs one of them, and is its user's; kubectl sends a token over TLS only.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import ssl
import struct
import tempfile
import threading
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from aiohttp import web

from canaryd.lab.kubernetes import discovery, scale, status
from canaryd.lab.kubernetes.asked import (
    Target,
    body_of,
    check_match,
    dry_run_of,
    number_of,
    options_of,
    selector_of,
    target_of,
    verb_of,
    version_of,
    wants_table,
)
from canaryd.lab.kubernetes.builtin import RULES_REVIEWS, SUBJECT_REVIEWS
from canaryd.lab.kubernetes.certificates import Certificate, self_signed
from canaryd.lab.kubernetes.cluster import BACKGROUND, Change, Cluster, Written, patch_types
from canaryd.lab.kubernetes.config import kubeconfig
from canaryd.lab.kubernetes.faults import Fault, Faults
from canaryd.lab.kubernetes.objects import decoded_body, now
from canaryd.lab.kubernetes.ownership import Manager, after_update, managed_fields
from canaryd.lab.kubernetes.patching import (
    APPLY_PATCH,
    JSON_PATCH,
    MERGE_PATCH,
    STRATEGIC_PATCH,
    json_patched,
    merge_patched,
)
from canaryd.lab.kubernetes.selectors import Selector
from canaryd.lab.kubernetes.status import ApiError, Object
from canaryd.lab.kubernetes.tables import table

__all__ = ["ApiServer", "Seen", "kubeconfig"]

_LONGEST_WATCH = 1_800.0
_HEALTH = ("/readyz", "/livez", "/healthz")
_NOBODY = "system:anonymous"
_NAMED = ("update", "patch")  # verbs that need a name
_USER = web.RequestKey("user", str)
_MOST_SEEN = 10_000
_FAULT_REASONS = {
    401: "Unauthorized",
    403: "Forbidden",
    404: "NotFound",
    409: "Conflict",
    410: "Expired",
    429: "TooManyRequests",
    500: "InternalError",
    503: "ServiceUnavailable",
    504: "Timeout",
}


@dataclass(frozen=True, slots=True)
class Seen:
    """One request that arrived, for tests that count them; `code` is 0 when no answer was sent."""

    verb: str
    resource: str
    namespace: str
    name: str
    subresource: str
    code: int


class ApiServer:
    """
    Serve `cluster` on 127.0.0.1. `denied` are (verb, plural) pairs answered with 403, ``*`` for any.

    `tls` serves HTTPS with a self-signed certificate (`authority`, for a kubeconfig), or with the one that is given, so
    that a kubeconfig outlives the server; `tokens` maps bearer tokens to
    the users they are, and anything else gets 401; without them everybody is `user`. `bookmark_every` is how long a
    watch that wants bookmarks stays silent, in seconds.
    """

    def __init__(
        self,
        cluster: Cluster,
        *,
        port: int = 0,
        denied: tuple[tuple[str, str], ...] = (),
        user: str = "canaryd",
        bookmark_every: float = 10.0,
        tls: bool | Certificate = False,
        tokens: Mapping[str, str] | None = None,
    ) -> None:
        self.cluster = cluster
        self.faults = Faults()
        self._requests: deque[Seen] = deque(maxlen=_MOST_SEEN)
        self.address = ""
        self._port = port
        self._denied = denied
        self._user = user
        self._bookmark_every = bookmark_every
        self._certificate = tls if isinstance(tls, Certificate) else self_signed() if tls else None
        self._tokens = dict(tokens or {})
        self._documents: dict[tuple[int | str, ...], bytes] = {}
        self._loop: asyncio.AbstractEventLoop
        self._thread = threading.Thread(target=self._run, name="lab-kubernetes-api", daemon=True)
        self._ready = threading.Event()
        self._failure: BaseException | None = None
        self._stopping = asyncio.Event()
        self._wakes: set[asyncio.Event] = set()

    # -- life

    def start(self) -> str:
        """Listen, and answer the address, such as ``http://127.0.0.1:40123``. Raises OSError for a taken port."""
        self._loop = asyncio.new_event_loop()
        self._thread.start()
        self._ready.wait()
        if self._failure:
            raise self._failure
        return self.address

    def stop(self) -> None:
        """End watches, close the listener, wait for the thread. Harmless when stopped already."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stopping.set)
            self._thread.join()

    @property
    def authority(self) -> bytes:
        """The PEM certificate to trust, empty for plain HTTP."""
        return self._certificate.certificate if self._certificate else b""

    def kubeconfig(self, path: Path, *, user: str = "", namespace: str = "default") -> Path:
        """Write a kubeconfig for this server, with the token of `user` (the first one's where it is left out)."""
        named = [(who, token) for token, who in self._tokens.items() if user in ("", who)]
        who, token = named[0] if named else (user or self._user, "")
        return kubeconfig(self.address, path, user=who, namespace=namespace, authority=self.authority, token=token)

    @property
    def requests(self) -> tuple[Seen, ...]:
        """The last requests for resources, in the order they were answered (a watch: when it ended)."""
        return tuple(self._requests)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _run(self) -> None:
        # A Runner also cancels the requests that still hang in a fault when the server stops.
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            try:
                runner.run(self._serve())
            except BaseException as error:  # noqa: BLE001  # handed to start(), which raises it
                self._failure = error
            finally:
                self._ready.set()

    async def _serve(self) -> None:
        app = web.Application(client_max_size=3 * 2**20)
        app.router.add_route("*", "/{path:.*}", self._answer)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.2)
        await runner.setup()
        unsubscribe = self.cluster.subscribe(self._wake)
        try:
            site = web.TCPSite(runner, "127.0.0.1", self._port, ssl_context=self._ssl_context())
            await site.start()
            scheme = "https" if self._certificate else "http"
            self.address = f"{scheme}://127.0.0.1:{runner.addresses[0][1]}"
            self._ready.set()
            await self._stopping.wait()
        finally:
            unsubscribe()
            self._wake_watches()
            await runner.cleanup()

    def _ssl_context(self) -> ssl.SSLContext | None:
        if self._certificate is None:
            return None
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        with tempfile.TemporaryDirectory() as folder:  # Python loads keys from files only
            context.load_cert_chain(*self._certificate.write(Path(folder)))
        return context

    def _wake(self, _: Change) -> None:
        self._loop.call_soon_threadsafe(self._wake_watches)

    def _wake_watches(self) -> None:
        for wake in self._wakes:
            wake.set()

    # -- one request

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        """Find out what is asked, meet the fault ordered for it if any, then do it."""
        await request.read()  # now, because after a fault the client may be gone
        try:
            request[_USER] = self._user_of(request)
            target = target_of(self.cluster.registry, request.path)
        except ApiError as error:
            return self._refusal(error)
        verb = verb_of(request, target)
        fault = self.faults.take(verb, target.resource.plural if target else "")
        response: web.StreamResponse | None = None
        try:
            if fault is None or await _met(fault):
                response = await self._respond(request, target, verb)
            elif fault.code:
                reason = _FAULT_REASONS.get(fault.code, "")
                message = f"a fault ordered for this request: {fault.code} {reason}".rstrip()
                response = self._refusal(ApiError(fault.code, reason, message, retry_after=fault.retry_after))
        except ApiError as error:
            response = self._refusal(error)
        if fault is not None and fault.cut:
            _cut(request)
            response = None
        if target is not None:
            self._note(verb, target, 0 if response is None else response.status)
        return response or web.Response()

    def _user_of(self, request: web.Request) -> str:
        """Whose token it is. A wrong one is 401; without any one is nobody, who may do nothing but ask for health."""
        if not self._tokens:
            return self._user
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        if not scheme:
            return _NOBODY
        found = self._tokens.get(token.strip()) if scheme.lower() == "bearer" else None
        if found is None:
            raise ApiError(401, "Unauthorized", "Unauthorized")
        return found

    def _note(self, verb: str, target: Target, code: int) -> None:
        namespace = target.namespace or ""
        self._requests.append(Seen(verb, target.resource.plural, namespace, target.name, target.subresource, code))

    async def _respond(self, request: web.Request, target: Target | None, verb: str) -> web.StreamResponse:
        if target is None:
            if request[_USER] == _NOBODY and request.path not in (*_HEALTH, "/version"):
                message = f'forbidden: User "{_NOBODY}" cannot get path "{request.path}"'
                raise ApiError(403, "Forbidden", message, told=True)
            return self._document(request)
        self._check_rights(verb, target, request[_USER])
        if target.subresource == "scale" and target.resource.scales:
            return await self._scale(request, target)
        if target.subresource and (target.subresource != "status" or not target.resource.has_status):
            raise status.no_such_path()
        act = {
            "get": self._get,
            "list": self._list,
            "watch": self._watch,
            "create": self._create,
            "update": self._update,
            "patch": self._patch,
            "delete": self._delete,
            "deletecollection": self._delete_collection,
        }.get(verb)
        if act is None or (target.resource.ephemeral and verb != "create") or (verb in _NAMED and not target.name):
            raise status.method_not_allowed()
        return await act(request, target)

    def _check_rights(self, verb: str, target: Target, user: str) -> None:
        if self._allows(verb, target.resource.plural) and user != _NOBODY:
            return
        where = f' in the namespace "{target.namespace}"' if target.namespace else " at the cluster scope"
        plural = f"{target.resource.plural}/{target.subresource}" if target.subresource else target.resource.plural
        why = f'User "{user}" cannot {verb} resource "{plural}" in API group "{target.resource.group}"{where}'
        raise status.forbidden(target.resource, target.name, why)

    def _allows(self, verb: str, plural: str) -> bool:
        return not any(one[0] in ("*", verb) and one[1] in ("*", plural) for one in self._denied)

    @staticmethod
    def _refusal(error: ApiError) -> web.Response:
        response = web.json_response(error.status(), status=error.code)
        _warn(response, error.warnings)
        if error.retry_after:
            response.headers["Retry-After"] = str(error.retry_after)
        return response

    # -- documents

    def _document(self, request: web.Request) -> web.Response:
        parts = [part for part in request.path.split("/") if part]
        if request.path in _HEALTH:
            return web.Response(text="ok")
        found = self._document_of(parts)
        if found is not None:
            return web.Response(body=found, content_type="application/json")
        if len(parts) == 3 and parts[1] in self.cluster.registry.groups():
            raise status.no_such_path()
        return web.Response(status=404, text="404 page not found\n")

    def _document_of(self, parts: list[str]) -> bytes | None:
        """A document as JSON; they are big and asked for with every kubectl command, so they are kept."""
        key: tuple[int | str, ...] = (self.cluster.registry.revision, *parts)
        if key not in self._documents:
            found = self._described(parts)
            if found is None:
                return None
            self._documents[key] = json.dumps(found).encode()
        return self._documents[key]

    def _described(self, parts: list[str]) -> Object | None:
        registry = self.cluster.registry
        match parts:
            case ["version"]:
                return discovery.VERSION
            case ["api"]:
                return discovery.core_versions(self.address.removeprefix("http://"))
            case ["api", version]:
                return discovery.resource_list(registry, "", version)
            case ["apis"]:
                return discovery.group_list(registry)
            case ["apis", group]:
                return discovery.group(registry, group)
            case ["apis", group, version]:
                return discovery.resource_list(registry, group, version)
            case ["openapi", "v3"]:
                return discovery.openapi_index(registry)
            case ["openapi", "v3", "api", version]:
                return discovery.openapi(registry, "", version)
            case ["openapi", "v3", "apis", group, version]:
                return discovery.openapi(registry, group, version)
        return None

    # -- reading

    async def _get(self, request: web.Request, target: Target) -> web.StreamResponse:
        obj = self.cluster.get(target.resource, target.namespace or "", target.name)
        if wants_table(request):
            metadata = {"resourceVersion": obj["metadata"]["resourceVersion"]}
            include = request.query.get("includeObject", "Metadata")
            return web.json_response(table(target.resource, [_seen(obj, target)], metadata, include=include))
        return web.json_response(_seen(obj, target))

    async def _list(self, request: web.Request, target: Target) -> web.StreamResponse:
        limit = number_of(request, "limit")
        version, exact = version_of(request), request.query.get("resourceVersionMatch") == "Exact"
        check_match(request)
        if version > self.cluster.version:
            raise status.too_large_version(version, self.cluster.version)
        select = selector_of(request, target)
        token = request.query.get("continue", "")
        page = self.cluster.page(
            target.resource, target.namespace, select, limit=limit, token=token, at=version if exact else None
        )
        metadata: Object = {"resourceVersion": str(page.version)}
        if target.resource.custom:
            metadata["continue"] = ""
        if page.token:
            metadata |= {"continue": page.token}
            if not (request.query.get("labelSelector") or request.query.get("fieldSelector")):
                metadata |= {"remainingItemCount": page.remaining}
        if wants_table(request):
            items = [_seen(obj, target) for obj in page.items]
            include = request.query.get("includeObject", "Metadata")
            return web.json_response(table(target.resource, items, metadata, include=include))
        return web.json_response(_listed(page.items, target, metadata))

    async def _watch(self, request: web.Request, target: Target) -> web.StreamResponse:
        select = selector_of(request, target)
        check_match(request)
        version_of(request), number_of(request, "timeoutSeconds")  # refused now: once the answer has begun it is late
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        response.enable_chunked_encoding()
        await response.prepare(request)
        wake = asyncio.Event()
        self._wakes.add(wake)
        try:
            async for event in self._events(request, target, select, wake):
                await response.write(json.dumps(event).encode() + b"\n")
            await response.write_eof()
        except ConnectionError:
            pass  # the watcher went away
        finally:
            self._wakes.discard(wake)
        return response

    async def _events(
        self, request: web.Request, target: Target, select: Selector, wake: asyncio.Event
    ) -> AsyncIterator[Object]:
        """A watch from its resourceVersion on; ends after timeoutSeconds, or with an ERROR event."""
        resource, namespace = target.resource, target.namespace
        deadline = self._loop.time() + (number_of(request, "timeoutSeconds") or _LONGEST_WATCH)
        bookmarks = request.query.get("allowWatchBookmarks") == "true"
        shape = _shape(request, target)
        since = version_of(request)
        initial = request.query.get("sendInitialEvents") == "true"
        try:
            if since == 0 or initial:
                page = self.cluster.page(resource, namespace, select)
                since = page.version
                for obj in page.items:
                    yield {"type": "ADDED", "object": shape(obj)}
                if initial and bookmarks:
                    yield _bookmark(target, since, {"k8s.io/initial-events-end": "true"})
            while True:
                wake.clear()
                newest = self.cluster.version
                for change in self.cluster.changes_since(since, resource, namespace):
                    newest = max(newest, change.version)
                    kind = _seen_as(change, select)
                    if kind:
                        yield {"type": kind, "object": shape(_object_seen(change, kind))}
                since = max(since, newest)
                left = deadline - self._loop.time()
                if left <= 0 or self._stopping.is_set():
                    break
                if not await _woken(wake, min(left, self._bookmark_every)) and bookmarks:
                    yield _bookmark(target, since)
            if bookmarks:
                yield _bookmark(target, since)
        except ApiError as error:
            yield {"type": "ERROR", "object": error.status()}

    # -- writing

    async def _create(self, request: web.Request, target: Target) -> web.StreamResponse:
        if target.name or (target.namespace is None and target.resource.namespaced):
            raise status.method_not_allowed()
        body = await body_of(request, target.resource.model)
        if target.resource.ephemeral:
            return web.json_response(self._reviewed(target, body, request), status=201)
        options = options_of(request, target)
        return _written(self.cluster.create(target.resource, target.namespace or "", body, options), target)

    def _reviewed(self, target: Target, body: Any, request: web.Request) -> Object:
        """What one may do, all that one may do, and who one is."""
        options = options_of(request, target)
        body, _ = decoded_body(target.resource, body, options)
        manager = Manager(options.manager, "Update", target.resource.api_version())
        owners = after_update(target.resource.whole_schema, {}, {"metadata": {}, "spec": {}}, body, manager, now())
        fields = managed_fields(owners)
        found = {**body, "metadata": {**body["metadata"], **({"managedFields": fields} if fields else {})}}
        if target.resource == SUBJECT_REVIEWS:
            found["metadata"] = {"creationTimestamp": now()}
            return {**found, "status": {"userInfo": {"username": request[_USER], "groups": ["system:authenticated"]}}}
        if target.resource == RULES_REVIEWS:
            every = {"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}
            told = "the lab's API server evaluates no RBAC" + (", but refuses some verbs" if self._denied else "")
            rules = {"resourceRules": [every], "nonResourceRules": [{"verbs": ["*"], "nonResourceURLs": ["*"]}]}
            return {**found, "status": {**rules, "incomplete": True, "evaluationError": told}}
        spec = body.get("spec") or {}
        if not (spec.get("resourceAttributes") or spec.get("nonResourceAttributes")):
            raise status.empty_review(target.resource)
        asked = spec.get("resourceAttributes") or {}
        allowed = self._allows(asked.get("verb", "*"), asked.get("resource", "*"))
        answer = {"allowed": allowed} if allowed else {"allowed": False, "reason": "taken away from this server"}
        return {**found, "status": answer}

    async def _scale(self, request: web.Request, target: Target) -> web.StreamResponse:
        """Read or write the number of replicas through the scale subresource."""
        namespace, path = target.namespace or "", self.cluster.scale_paths(target.resource)
        obj = self.cluster.get(target.resource, namespace, target.name)
        if request.method == "GET":
            return web.json_response(scale.of(obj, path))
        if request.method not in ("PUT", "PATCH"):
            raise status.method_not_allowed()
        options = options_of(request, target)
        body = await body_of(request)
        if request.method == "PATCH":
            patchers = {JSON_PATCH: json_patched, MERGE_PATCH: merge_patched, STRATEGIC_PATCH: merge_patched}
            if request.content_type not in patchers:
                raise status.unsupported_media_type(tuple(patchers))
            body = patchers[request.content_type](scale.of(obj, path), body)
        patch = scale.patch(body, path)
        written = self.cluster.patch(target.resource, namespace, target.name, MERGE_PATCH, patch, options)
        return web.json_response(scale.of(written.object, path))

    async def _update(self, request: web.Request, target: Target) -> web.StreamResponse:
        options = options_of(request, target)
        body = await body_of(request, target.resource.model)
        namespace = target.namespace or ""
        return _written(self.cluster.replace(target.resource, namespace, target.name, body, options), target)

    async def _patch(self, request: web.Request, target: Target) -> web.StreamResponse:
        accepted = patch_types(target.resource)
        if request.content_type not in accepted:
            raise status.unsupported_media_type(accepted)
        if request.content_type == APPLY_PATCH and not request.query.get("fieldManager"):
            raise status.required_option("PatchOptions", "fieldManager", "is required for apply patch")
        patch, options = await body_of(request), options_of(request, target)
        written = self.cluster.patch(
            target.resource, target.namespace or "", target.name, request.content_type, patch, options
        )
        return _written(written, target)

    async def _delete(self, request: web.Request, target: Target) -> web.StreamResponse:
        asked = await body_of(request, "V1DeleteOptions") if await request.read() else {}
        namespace = target.namespace or ""
        obj, gone = self.cluster.delete(
            target.resource,
            namespace,
            target.name,
            asked.get("preconditions"),
            dry_run=dry_run_of(request, asked),
            propagation=_propagation(request, asked),
        )
        waits = _propagation(request, asked) != BACKGROUND  # a real one's collector answers later
        if not gone or waits or target.resource.plural in ("pods", "namespaces"):
            return web.json_response(_seen(obj, target))
        details = {**status.details(target.resource, target.name), "uid": obj["metadata"]["uid"]}
        success = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details}
        return web.json_response(success)

    async def _delete_collection(self, request: web.Request, target: Target) -> web.StreamResponse:
        if target.resource.qualified == "namespaces":
            raise status.method_not_allowed()
        asked = await body_of(request, "V1DeleteOptions") if await request.read() else {}
        page = self.cluster.page(target.resource, target.namespace, selector_of(request, target))
        for obj in page.items:
            metadata = obj["metadata"]
            with contextlib.suppress(ApiError):  # an owner that came first may have taken it along
                self.cluster.delete(
                    target.resource,
                    metadata.get("namespace", ""),
                    metadata["name"],
                    dry_run=dry_run_of(request, asked),
                    propagation=_propagation(request, asked),
                )
        metadata = {"resourceVersion": str(self.cluster.version)} | ({"continue": ""} if target.resource.custom else {})
        return web.json_response(_listed(page.items, target, metadata))


def _propagation(request: web.Request, asked: Object) -> str:
    """What the delete is to do about those that the object owns."""
    if asked.get("orphanDependents") or request.query.get("orphanDependents") == "true":
        return "Orphan"
    found = asked.get("propagationPolicy") or request.query.get("propagationPolicy") or BACKGROUND
    known = ("Foreground", BACKGROUND, "Orphan")
    if found not in known:
        raise status.bad_option("DeleteOptions", "propagationPolicy", json.dumps(found), (*known, "nil"))
    return str(found)


def _listed(items: list[Object], target: Target, metadata: Object) -> Object:
    """A list; the items of a built-in kind do not repeat what they are."""
    shown = [_seen(obj, target) for obj in items]
    if not target.resource.custom:
        shown = [{key: value for key, value in obj.items() if key not in ("apiVersion", "kind")} for obj in shown]
    return {
        "kind": f"{target.resource.kind}List",
        "apiVersion": target.resource.api_version(target.version),
        "metadata": metadata,
        "items": shown,
    }


async def _met(fault: Fault) -> bool:
    """Sit out the fault; whether the request is to be performed after it."""
    if fault.seconds:
        await asyncio.sleep(fault.seconds)
    return fault.perform


def _cut(request: web.Request) -> None:
    """Reset the connection: with lingering off the kernel sends RST and not FIN."""
    if request.transport is None:
        return
    connection = request.transport.get_extra_info("socket")
    if connection is not None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    request.transport.abort()


def _seen(obj: Object, target: Target) -> Object:
    """The object in the version that was asked for."""
    return {**obj, "apiVersion": target.resource.api_version(target.version)}


def _shape(request: web.Request, target: Target) -> Callable[[Object], Object]:
    if not wants_table(request):
        return lambda obj: _seen(obj, target)
    include = request.query.get("includeObject", "Metadata")
    return lambda obj: table(
        target.resource,
        [_seen(obj, target)],
        {"resourceVersion": obj["metadata"]["resourceVersion"]},
        include=include,
    )


def _seen_as(change: Change, select: Selector) -> str:
    """How a watch with a selector sees a change: entering it is ADDED, leaving it DELETED. Empty: not at all."""
    was = change.before is not None and select(change.before)
    now = change.type != "DELETED" and select(change.object)
    if was and now:
        return "MODIFIED"
    if now:
        return "ADDED"
    return "DELETED" if was else ""


def _object_seen(change: Change, kind: str) -> Object:
    """Of what leaves a selector the last state that was in it. Source: apiserver, storage/cacher/cache_watcher.go."""
    if kind != "DELETED" or change.type == "DELETED" or change.before is None:
        return change.object
    version = change.object["metadata"]["resourceVersion"]
    return {**change.before, "metadata": {**change.before["metadata"], "resourceVersion": version}}


def _bookmark(target: Target, version: int, annotations: dict[str, str] | None = None) -> Object:
    metadata: Object = {"resourceVersion": str(version)}
    if annotations:
        metadata["annotations"] = annotations
    kind, api_version = target.resource.kind, target.resource.api_version(target.version)
    return {"type": "BOOKMARK", "object": {"kind": kind, "apiVersion": api_version, "metadata": metadata}}


async def _woken(wake: asyncio.Event, seconds: float) -> bool:
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(wake.wait(), seconds)
        return True
    return False


def _written(written: Written, target: Target) -> web.Response:
    response = web.json_response(_seen(written.object, target), status=201 if written.created else 200)
    _warn(response, written.warnings)
    return response


def _warn(response: web.Response, warnings: tuple[str, ...]) -> None:
    for warning in warnings:
        response.headers.add("Warning", f"299 - {json.dumps(warning)}")
