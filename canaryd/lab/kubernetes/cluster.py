"""
The cluster in memory: every object, one global resourceVersion, and a bounded log of what changed.

Stored objects are never mutated, only replaced: events, pages and subscribers may share them with the store, and must
not write to them. Objects are kept in their storage version; a `version` in `Options` says how the caller speaks.
What is left out on purpose: controllers (a Deployment makes no pods), defaulting of built-ins, garbage collection.
"""

from __future__ import annotations

import base64
import binascii
import copy
import json
import threading
import uuid
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from itertools import takewhile
from typing import Any

from canaryd.lab.kubernetes import status
from canaryd.lab.kubernetes.builtin import BUILTIN_RESOURCES, DEFINITIONS, NAMESPACES
from canaryd.lab.kubernetes.gatewayapi import GATEWAY_API_RESOURCES
from canaryd.lab.kubernetes.istio import ISTIO_RESOURCES
from canaryd.lab.kubernetes.objects import (
    PLAIN,
    Options,
    check_identity,
    check_name,
    check_namespace,
    check_preconditions,
    desired,
    generated_name,
    now,
    part_written,
    resource_of,
    strict_decoding_error,
    tidy_metadata,
    with_server_status,
    without_nulls,
)
from canaryd.lab.kubernetes.ownership import Manager, after_update, applied, managed_fields, ownership_of
from canaryd.lab.kubernetes.patching import (
    APPLY_PATCH,
    JSON_PATCH,
    MERGE_PATCH,
    STRATEGIC_PATCH,
    json_patched,
    merge_patched,
    strategically_patched,
)
from canaryd.lab.kubernetes.resources import Registry, Resource
from canaryd.lab.kubernetes.schema import read
from canaryd.lab.kubernetes.selectors import Selector
from canaryd.lab.kubernetes.status import ApiError, Cause, Object
from canaryd.lab.kubernetes.validations import all_causes
from canaryd.lab.kubernetes.webhook import admit


@dataclass(frozen=True, slots=True)
class Written:
    """The object as it is now, whether it was created by this, and what the server warns of."""

    object: Object
    created: bool = False
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Change:
    """One entry of the log. `type` is ADDED, MODIFIED or DELETED; `before` is None for ADDED."""

    version: int
    type: str
    resource: Resource
    object: Object
    before: Object | None


@dataclass(frozen=True, slots=True)
class Page:
    """Part of a list, all of it as of `version`; `token` continues it, `remaining` counts what is left."""

    items: list[Object]
    version: int
    token: str = ""
    remaining: int = 0


Key = tuple[str, str]  # namespace (empty for cluster-scoped), name


@dataclass(slots=True)
class _Shelf:
    resource: Resource
    objects: dict[Key, Object] = field(default_factory=dict)


class Cluster:
    """The object store behind any number of `ApiServer`s, also used directly by the lab in the same process.

    `history` is how many changes a watch can be resumed over before it gets 410. Thread-safe; subscribers are called
    in order, in the writer's thread and before the write returns: they must be quick and must not raise.
    """

    def __init__(self, *, history: int = 10_000, first_version: int = 1_000) -> None:
        self.registry = Registry((*BUILTIN_RESOURCES, *ISTIO_RESOURCES, *GATEWAY_API_RESOURCES))
        self._lock = threading.RLock()
        self._shelves: dict[str, _Shelf] = {}
        self._version = first_version
        self._forgotten = first_version
        self._log: deque[Change] = deque()
        self._history = history
        self._subscribers: list[Callable[[Change], None]] = []
        for name in ("default", "kube-system"):
            self._add_namespace(name)

    # -- for the lab, in the same process

    def subscribe(self, callback: Callable[[Change], None]) -> Callable[[], None]:
        """Call `callback` with every later change; the answer ends that."""
        with self._lock:
            self._subscribers.append(callback)

        def unsubscribe() -> None:
            with self._lock:
                self._subscribers.remove(callback)

        return unsubscribe

    def objects(self, kind: str, namespace: str | None = None) -> list[Object]:
        """Copies of all objects of a kind (or plural), ordered by namespace and name; KeyError if it is not served."""
        with self._lock:
            found = self._state(self.registry.by_kind(kind), namespace)
            return copy.deepcopy([found[key] for key in sorted(found)])

    def find(self, kind: str, namespace: str, name: str) -> Object | None:
        """A copy of one object, None if it is not there; `namespace` is empty for cluster-scoped ones."""
        with self._lock:
            return copy.deepcopy(self._shelf(self.registry.by_kind(kind)).objects.get((namespace, name)))

    def apply(self, obj: Object) -> Object:
        """Create or overwrite, spec and status, as the lab's seed does: no resourceVersion asked, none checked.

        Without a status in `obj` the status stays; a namespace that is missing is made. Raises ApiError for an
        invalid object, KeyError for an unknown kind.
        """
        resource = self.registry.of(obj)
        version = str(obj["apiVersion"]).rpartition("/")[2]
        options = Options(version=version, manager="lab", whole=True)
        metadata = {key: value for key, value in obj["metadata"].items() if key != "resourceVersion"}
        namespace = metadata.get("namespace", "default") if resource.namespaced else ""
        body = {**obj, "metadata": metadata}
        with self._lock:
            if namespace and ("", namespace) not in self._shelf(NAMESPACES).objects:
                self._add_namespace(namespace)
            key = (namespace, metadata.get("name", ""))
            live = self._shelf(resource).objects.get(key)
            if live is None:
                return copy.deepcopy(self.create(resource, namespace, body, options).object)
            body["metadata"] = {**metadata, "resourceVersion": live["metadata"]["resourceVersion"]}
            return copy.deepcopy(self.replace(resource, *key, body, options).object)

    def set_status(self, kind: str, namespace: str, name: str, status: Object) -> None:
        """Write an object's status as its controller does; nothing happens when the object is gone meanwhile."""
        resource = self.registry.by_kind(kind)
        options = Options(version=resource.versions[0], manager="lab", subresource="status")
        with self._lock:
            if (namespace, name) in self._shelf(resource).objects:
                self.patch(resource, namespace, name, MERGE_PATCH, {"status": status}, options)

    def remove(self, kind: str, namespace: str, name: str) -> None:
        """Delete as a client would, finalizers included. Raises ApiError 404 when it is not there."""
        self.delete(self.registry.by_kind(kind), namespace, name)

    def compact(self) -> None:
        """Forget the log, as etcd's compaction does: every watch that resumes from before now gets 410."""
        with self._lock:
            self._log.clear()
            self._forgotten = self._version

    # -- reading

    @property
    def version(self) -> int:
        """The newest resourceVersion given out."""
        with self._lock:
            return self._version

    def get(self, resource: Resource, namespace: str, name: str) -> Object:
        with self._lock:
            found = self._shelf(resource).objects.get((namespace, name))
        if found is None:
            raise status.not_found(resource, name)
        return found

    def page(
        self, resource: Resource, namespace: str | None, select: Selector, *, limit: int = 0, token: str = ""
    ) -> Page:
        """A list, or what of it follows `token`, as of one version. Raises ApiError 410 when that is forgotten."""
        with self._lock:
            version, after = _read_token(token) if token else (self._version, None)
            state = self._state_at(version, resource, namespace)
        keys = [key for key in sorted(state) if (after is None or key > after) and select(state[key])]
        shown = keys[:limit] if limit else keys
        rest = len(keys) - len(shown)
        following = _token(version, shown[-1]) if rest else ""
        return Page([state[key] for key in shown], version, following, rest)

    def changes_since(self, version: int, resource: Resource, namespace: str | None) -> list[Change]:
        """The log after `version`. Raises ApiError 410 Expired when part of that is forgotten."""
        with self._lock:
            self._check_remembered(version)
            newer = list(takewhile(lambda one: one.version > version, reversed(self._log)))
        return [
            one
            for one in reversed(newer)
            if one.resource == resource
            and (namespace is None or one.object["metadata"].get("namespace", "") == namespace)
        ]

    # -- writing

    def create(self, resource: Resource, namespace: str, body: Any, options: Options = PLAIN) -> Written:
        with self._lock:
            body = self._checked_body(resource, body, options)
            metadata = self._new_metadata(resource, namespace, body.get("metadata") or {})
            name = metadata["name"]
            if (namespace, name) in self._shelf(resource).objects:
                raise status.already_exists(resource, name)
            new = {**body, "apiVersion": resource.api_version(), "kind": resource.kind, "metadata": metadata}
            if resource.has_status and not options.whole:
                new.pop("status", None)
            new, warnings = self._validated(resource, name, with_server_status(resource, new), options)
            manager = Manager(options.manager, "Update", resource.api_version(options.version))
            owners = after_update({}, {}, new, manager, now())
            new = {**new, "metadata": {**new["metadata"], "managedFields": managed_fields(owners)}}
            if options.dry_run:
                return Written(new, True, warnings)
            return Written(self._commit("ADDED", resource, None, new), True, warnings)

    def replace(
        self,
        resource: Resource,
        namespace: str,
        name: str,
        body: Any,
        options: Options = PLAIN,
    ) -> Written:
        with self._lock:
            old = self.get(resource, namespace, name)
            body = self._checked_body(resource, body, options)
            if not body["metadata"].get("resourceVersion") and not resource.unconditional_update:
                message = "Invalid value: 0: must be specified for an update"
                raise status.invalid(resource, name, (Cause("FieldValueInvalid", message, "metadata.resourceVersion"),))
            return self._update(resource, old, body, options)

    def patch(
        self,
        resource: Resource,
        namespace: str,
        name: str,
        content_type: str,
        patch: Any,
        options: Options = PLAIN,
    ) -> Written:
        """Any of the four patch formats. Raises ApiError 415 for a strategic merge of a custom resource."""
        with self._lock:
            accepted = patch_types(resource)
            if content_type not in accepted:
                raise status.unsupported_media_type(accepted)
            if content_type == APPLY_PATCH:
                return self._server_side_apply(resource, namespace, name, patch, options)
            old = self.get(resource, namespace, name)
            seen = {**old, "apiVersion": resource.api_version(options.version)}
            patchers = {
                JSON_PATCH: json_patched,
                MERGE_PATCH: merge_patched,
                STRATEGIC_PATCH: strategically_patched,
            }
            new = patchers[content_type](seen, patch)
            return self._update(resource, old, self._checked_body(resource, new, options), options, patching=True)

    def delete(
        self,
        resource: Resource,
        namespace: str,
        name: str,
        preconditions: Object | None = None,
        *,
        dry_run: bool = False,
    ) -> tuple[Object, bool]:
        """Delete, or mark as being deleted while finalizers remain: the object, and whether it is gone."""
        with self._lock:
            old = self.get(resource, namespace, name)
            check_preconditions(resource, old, preconditions or {})
            if dry_run:
                return old, not old["metadata"].get("finalizers")
            if resource == NAMESPACES:
                self._empty_namespace(name)
            if not old["metadata"].get("finalizers"):
                return self._commit("DELETED", resource, old, old), True
            if old["metadata"].get("deletionTimestamp"):
                return old, False
            marks = {"deletionTimestamp": now(), "deletionGracePeriodSeconds": 0}
            new = {**old, "metadata": {**old["metadata"], **marks}}
            if resource.has_generation:
                new["metadata"]["generation"] += 1
            return self._commit("MODIFIED", resource, old, new), False

    # -- inside

    def _shelf(self, resource: Resource) -> _Shelf:
        return self._shelves.setdefault(resource.qualified, _Shelf(resource))

    def _state(self, resource: Resource, namespace: str | None) -> dict[Key, Object]:
        found = self._shelf(resource).objects
        return {key: obj for key, obj in found.items() if namespace is None or key[0] == namespace}

    def _state_at(self, version: int, resource: Resource, namespace: str | None) -> dict[Key, Object]:
        """The state as it was: today's, with every later change taken back."""
        self._check_remembered(version)
        state = self._state(resource, namespace)
        for change in reversed(self.changes_since(version, resource, namespace)):
            key = (change.object["metadata"].get("namespace", ""), change.object["metadata"]["name"])
            if change.before is None:
                state.pop(key, None)
            else:
                state[key] = change.before
        return state

    def _check_remembered(self, version: int) -> None:
        if version < self._forgotten:
            raise status.expired(f"too old resource version: {version} ({self._forgotten})")

    def _add_namespace(self, name: str) -> None:
        self.create(NAMESPACES, "", {"metadata": {"name": name}}, Options(manager="lab"))

    def _empty_namespace(self, name: str) -> None:
        for shelf in list(self._shelves.values()):
            for key in [key for key in shelf.objects if key[0] == name]:
                self.delete(shelf.resource, *key)

    def _checked_body(self, resource: Resource, body: Any, options: Options) -> Object:
        """An object that is what the URL says it is. Custom resources must say so themselves."""
        if not isinstance(body, dict):
            raise status.bad_request("the object provided is unrecognized: it must be a JSON object")
        wanted = resource.api_version(options.version)
        given, kind = body.get("apiVersion", ""), body.get("kind", "")
        if resource.custom and not kind:
            raise status.bad_request(f"Object 'Kind' is missing in '{json.dumps(body)[:200]}'")
        if given and given != wanted:
            raise status.bad_request(
                f"the API version in the data ({given}) does not match the expected API version ({wanted})"
            )
        if kind and kind != resource.kind:
            raise status.bad_request(f"{kind} in version {given!r} cannot be handled as a {resource.kind}")
        if not isinstance(body.get("metadata", {}), dict | None):
            raise status.bad_request("metadata must be an object")
        body = body if resource.custom else without_nulls(body)
        return {**body, "apiVersion": resource.api_version(), "metadata": without_nulls(body.get("metadata") or {})}

    def _new_metadata(self, resource: Resource, namespace: str, given: Object) -> Object:
        if given.get("resourceVersion"):
            raise ApiError(500, "", "resourceVersion should not be set on objects to be created")
        if resource.namespaced:
            check_namespace(given.get("namespace", namespace), namespace)
            if ("", namespace) not in self._shelf(NAMESPACES).objects:
                raise status.not_found(NAMESPACES, namespace)
        name = given.get("name") or generated_name(given.get("generateName", ""))
        check_name(resource, name)
        identity: Object = {"name": name, "uid": str(uuid.uuid4()), "creationTimestamp": now()}
        if resource.namespaced:
            identity["namespace"] = namespace
        if resource.has_generation:
            identity["generation"] = 1
        dropped = ("managedFields", "deletionTimestamp", "selfLink")
        return {**{key: value for key, value in given.items() if key not in dropped}, **identity}

    def _update(
        self, resource: Resource, old: Object, new: Object, options: Options, *, patching: bool = False
    ) -> Written:
        given = new["metadata"]
        name = old["metadata"]["name"]
        check_identity(resource, old, given)
        new = part_written(resource, old, new, options)
        new, warnings = self._validated(resource, name, new, options, patching=patching)
        owners = ownership_of({"metadata": given}) if given.get("managedFields") else ownership_of(old)
        subresource = options.subresource
        manager = Manager(options.manager, "Update", resource.api_version(options.version), subresource)
        owners = after_update(owners, old, new, manager, now())
        new["metadata"]["managedFields"] = managed_fields(owners)
        return Written(self._stored(resource, old, new, options), False, warnings)

    def _server_side_apply(
        self, resource: Resource, namespace: str, name: str, manifest: Any, options: Options
    ) -> Written:
        manifest = self._checked_body(resource, manifest, options)
        if manifest["metadata"].get("managedFields"):
            raise status.bad_request("metadata.managedFields must be nil")
        manifest["metadata"] = {**manifest["metadata"], "name": manifest["metadata"].get("name", name)}
        subresource = options.subresource
        manager = Manager(options.manager, "Apply", resource.api_version(options.version), subresource)
        old = self._shelf(resource).objects.get((namespace, name))
        if old is None:
            created = self.create(resource, namespace, manifest, replace(options, dry_run=True))
            _, owners = applied({}, manifest, {}, manager, now(), force=False)
            new = {**created.object}
            new["metadata"] = {**new["metadata"], "managedFields": managed_fields(owners)}
            if not options.dry_run:
                new = self._commit("ADDED", resource, None, new)
            return Written(new, True, created.warnings)
        check_identity(resource, old, manifest["metadata"])
        merged, owners = applied(copy.deepcopy(old), manifest, ownership_of(old), manager, now(), force=options.force)
        new, warnings = self._validated(resource, name, part_written(resource, old, merged, options), options)
        new["metadata"]["managedFields"] = managed_fields(owners)
        return Written(self._stored(resource, old, new, options), False, warnings)

    def _validated(
        self, resource: Resource, name: str, obj: Object, options: Options, *, patching: bool = False
    ) -> tuple[Object, tuple[str, ...]]:
        """The object pruned, checked against its schema, then shown to the webhook; and the warnings to send."""
        obj = {**obj, "metadata": tidy_metadata(obj["metadata"])}
        if not resource.custom:
            return obj, ()
        body = {key: value for key, value in obj.items() if key not in ("apiVersion", "kind", "metadata")}
        reading = read(resource.schema or {}, body)
        warnings = tuple(f'unknown field "{path}"' for path in reading.unknown)
        if warnings and options.validation == "Strict":
            raise strict_decoding_error(resource, options, obj, warnings, patching=patching)
        causes = all_causes(resource.schema or {}, reading.value, reading.causes)
        if causes:
            raise status.invalid(resource, name, tuple(causes))
        obj = {"apiVersion": obj["apiVersion"], "kind": resource.kind, "metadata": obj["metadata"], **reading.value}
        told = () if options.subresource else admit(obj)
        return obj, (*(() if options.validation == "Ignore" else warnings), *told)

    def _stored(self, resource: Resource, old: Object, new: Object, options: Options) -> Object:
        """Commit an update; one that changes nothing gets no new resourceVersion, one that ends finalizers deletes."""
        metadata = new["metadata"]
        metadata["resourceVersion"] = old["metadata"]["resourceVersion"]
        if resource.has_generation and desired(new) != desired(old):
            metadata["generation"] = old["metadata"].get("generation", 0) + 1
        if new == old or options.dry_run:
            return new
        if metadata.get("deletionTimestamp") and not metadata.get("finalizers"):
            return self._commit("DELETED", resource, old, new)
        return self._commit("MODIFIED", resource, old, new)

    def _commit(self, kind: str, resource: Resource, old: Object | None, new: Object) -> Object:
        self._version += 1
        new = copy.deepcopy({**new, "metadata": {**new["metadata"], "resourceVersion": str(self._version)}})
        metadata = new["metadata"]
        key = (metadata.get("namespace", ""), metadata["name"])
        shelf = self._shelf(resource)
        if kind == "DELETED":
            del shelf.objects[key]
        else:
            shelf.objects[key] = new
        if resource == DEFINITIONS:
            self._serve_definition(kind, new)
        change = Change(self._version, kind, resource, new, old)
        self._log.append(change)
        while len(self._log) > self._history:
            self._forgotten = self._log.popleft().version
        for callback in tuple(self._subscribers):
            callback(change)
        return new

    def _serve_definition(self, kind: str, definition: Object) -> None:
        resource = resource_of(definition)
        if kind == "DELETED":
            self._shelves.pop(resource.qualified, None)
            self.registry.drop(resource)
            return
        self.registry.add(resource)
        self._shelf(resource).resource = resource


def patch_types(resource: Resource) -> tuple[str, ...]:
    if resource.custom:
        return (JSON_PATCH, MERGE_PATCH, APPLY_PATCH)
    return (JSON_PATCH, MERGE_PATCH, STRATEGIC_PATCH, APPLY_PATCH)


def _token(version: int, key: Key) -> str:
    return base64.urlsafe_b64encode(json.dumps([version, *key]).encode()).decode()


def _read_token(token: str) -> tuple[int, Key]:
    try:
        version, namespace, name = json.loads(base64.urlsafe_b64decode(token))
        return int(version), (str(namespace), str(name))
    except (ValueError, TypeError, binascii.Error) as error:
        raise status.bad_request("continue key is not valid") from error
