"""
The cluster in memory: every object, one global resourceVersion, and a bounded log of what changed.

Stored objects are never mutated, only replaced: events, pages and subscribers may share them with the store, and must
not write to them. Objects are kept in their storage version; a `version` in `Options` says how the caller speaks.
Of a cluster's controllers only the garbage collector is here, and it acts within the delete that gives it work: a
Deployment makes no pods.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import copy
import json
import threading
import uuid
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import takewhile
from typing import Any

from canaryd.lab.kubernetes import status
from canaryd.lab.kubernetes.builtin import BUILTIN_RESOURCES, DEFINITIONS, NAMESPACES
from canaryd.lab.kubernetes.checks import wrong, wrongly_changed
from canaryd.lab.kubernetes.defaults import defaulted, empty, given_by_server
from canaryd.lab.kubernetes.gatewayapi import GATEWAY_API_RESOURCES
from canaryd.lab.kubernetes.istio import ISTIO_RESOURCES
from canaryd.lab.kubernetes.labels import wrong_metadata
from canaryd.lab.kubernetes.objects import (
    PLAIN,
    Options,
    causes_of_name,
    check_identity,
    check_manifest,
    check_name,
    check_namespace,
    check_path,
    check_preconditions,
    check_strategic,
    decoded_body,
    desired,
    generated_name,
    now,
    part_written,
    resource_of,
    tidy_metadata,
    unevaluated,
    with_server_status,
)
from canaryd.lab.kubernetes.ownership import (
    Manager,
    Ownership,
    after_update,
    applied,
    managed_fields,
    ownership_of,
)
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
from canaryd.lab.kubernetes.scale import Paths
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


BACKGROUND = "Background"
_FINALIZERS = {"Foreground": "foregroundDeletion", "Orphan": "orphan"}

_OLD_LIST = "The resourceVersion for the provided list is too old."
_OLD_PAGE = (
    "The provided continue parameter is too old to display a consistent list result. You must start a new list without "
    "the continue parameter."
)

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
        self._addresses = 0
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
        self,
        resource: Resource,
        namespace: str | None,
        select: Selector,
        *,
        limit: int = 0,
        token: str = "",
        at: int | None = None,
    ) -> Page:
        """
        A list, or what of it follows `token`, as of one version: the newest, unless `at` names another.

        Raises ApiError 410 when that is forgotten.
        """
        with self._lock:
            version, after = _read_token(token) if token else (self._version if at is None else at, None)
            if version < self._forgotten:
                raise status.expired(_OLD_PAGE if token else _OLD_LIST)
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

    def scale_paths(self, resource: Resource) -> Paths:
        """Where objects of a kind keep their numbers of replicas."""
        if not resource.custom:
            return Paths()
        definition = self._shelf(DEFINITIONS).objects.get(("", resource.qualified)) or {}
        for version in (definition.get("spec") or {}).get("versions") or []:
            if declared := (version.get("subresources") or {}).get("scale"):
                return Paths(
                    declared["specReplicasPath"],
                    declared["statusReplicasPath"],
                    declared.get("labelSelectorPath", ".status.selector"),
                    must_exist=True,
                )
        return Paths()

    # -- writing

    def create(self, resource: Resource, namespace: str, body: Any, options: Options = PLAIN) -> Written:
        with self._lock:
            asked, new, warnings = self._made(resource, namespace, body, options)
            manager = Manager(options.manager, "Update", resource.api_version(options.version))
            owners = after_update(resource.whole_schema, {}, empty(resource), asked, manager, now())
            return self._created(resource, _owned(new, owners), options, warnings)

    def replace(
        self,
        resource: Resource,
        namespace: str,
        name: str,
        body: Any,
        options: Options = PLAIN,
    ) -> Written:
        with self._lock:
            body, warnings = decoded_body(resource, body, options)
            old = self._shelf(resource).objects.get((namespace, name))
            check_path(resource, namespace, name, body["metadata"])
            if old is None:
                if not resource.create_on_update or options.subresource:
                    raise status.not_found(resource, name)
                return self.create(resource, namespace, {**body, "apiVersion": ""}, options)
            if not body["metadata"].get("resourceVersion") and not resource.unconditional_update:
                raise status.without_version(resource, name)
            return self._update(resource, old, body, options, warnings)

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
            if content_type == STRATEGIC_PATCH and options.validation == "Strict":
                check_strategic(resource, seen, patch)
            patched, warnings = decoded_body(resource, patchers[content_type](seen, patch), options, patching=True)
            check_path(resource, namespace, name, patched["metadata"])
            return self._update(resource, old, patched, options, warnings)

    def delete(
        self,
        resource: Resource,
        namespace: str,
        name: str,
        preconditions: Object | None = None,
        *,
        dry_run: bool = False,
        propagation: str = BACKGROUND,
    ) -> tuple[Object, bool]:
        """
        Delete, or mark as being deleted while finalizers remain: the object, and whether it is gone.

        `propagation` says what happens to those that name it as their owner: ``Background`` deletes them after it,
        ``Foreground`` before it, ``Orphan`` takes the reference away from them.
        """
        with self._lock:
            old = self.get(resource, namespace, name)
            check_preconditions(resource, old, preconditions or {})
            if dry_run:
                return old, not old["metadata"].get("finalizers")
            if resource == NAMESPACES:
                self._empty_namespace(name)
            if resource == DEFINITIONS:
                self._empty_shelf(resource_of(old))
            finalizer = _FINALIZERS.get(propagation)
            if finalizer is None:
                return self._deleted(resource, old)
            marked = self._marked(resource, old, finalizer)
            self._collect(marked, propagation)
            if propagation == "Foreground" and self._is_waited_for(marked):
                return marked, False
            return marked, self._finalized(resource, marked, finalizer)

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

    # -- deleting and collecting

    def _deleted(self, resource: Resource, old: Object) -> tuple[Object, bool]:
        """Gone with everything it owned, or marked while somebody's finalizers remain."""
        if old["metadata"].get("finalizers"):
            return self._marked(resource, old, ""), False
        last = old
        if resource.qualified == "pods" and not old["metadata"].get("deletionTimestamp"):
            metadata = {**old["metadata"], "generation": old["metadata"].get("generation", 0) + 1}
            last = {**old, "metadata": {**metadata, "deletionTimestamp": now(), "deletionGracePeriodSeconds": 0}}
        gone = self._commit("DELETED", resource, old, last)
        self._after_deletion(gone)
        return gone, True

    def _marked(self, resource: Resource, old: Object, finalizer: str) -> Object:
        metadata = dict(old["metadata"])
        if finalizer and finalizer not in metadata.get("finalizers", ()):
            metadata["finalizers"] = [*metadata.get("finalizers", ()), finalizer]
        if not metadata.get("deletionTimestamp"):
            metadata |= {"deletionTimestamp": now(), "deletionGracePeriodSeconds": 0}
            if resource.has_generation:
                metadata["generation"] += 1
        new = {**old, "metadata": metadata}
        return old if new == old else self._commit("MODIFIED", resource, old, new)

    def _finalized(self, resource: Resource, marked: Object, finalizer: str) -> bool:
        """Take the collector's own finalizer off again; whether that was the last one."""
        key = (marked["metadata"].get("namespace", ""), marked["metadata"]["name"])
        old = self._shelf(resource).objects.get(key)
        if old is None:
            return True
        left = [one for one in old["metadata"].get("finalizers", ()) if one != finalizer]
        new = {**old, "metadata": tidy_metadata({**old["metadata"], "finalizers": left})}
        if left:
            self._commit("MODIFIED", resource, old, new)
            return False
        gone = self._commit("DELETED", resource, old, new)
        if finalizer == _FINALIZERS["Foreground"]:
            self._after_deletion(gone)
        return True

    def _after_deletion(self, gone: Object) -> None:
        """Collect what it owned, and let those go that were waiting for it in the foreground."""
        self._collect(gone, BACKGROUND)
        owners = {one.get("uid") for one in gone["metadata"].get("ownerReferences") or () if _blocks(one)}
        if not owners:
            return
        finalizer = _FINALIZERS["Foreground"]
        for shelf in list(self._shelves.values()):
            for obj in list(shelf.objects.values()):
                waits = finalizer in obj["metadata"].get("finalizers", ())
                if waits and obj["metadata"]["uid"] in owners and not self._is_waited_for(obj):
                    self._finalized(shelf.resource, obj, finalizer)

    def _is_waited_for(self, owner: Object) -> bool:
        """Whether something is left that blocks its owner's deletion."""
        uid = owner["metadata"]["uid"]
        return any(
            one.get("uid") == uid and _blocks(one)
            for shelf in self._shelves.values()
            for obj in shelf.objects.values()
            for one in obj["metadata"].get("ownerReferences") or ()
        )

    def _collect(self, owner: Object, propagation: str) -> None:
        """What the garbage collector does about those that name `owner` as their owner."""
        uid = owner["metadata"]["uid"]
        for shelf in list(self._shelves.values()):
            for obj in list(shelf.objects.values()):
                references = obj["metadata"].get("ownerReferences") or ()
                if not any(one.get("uid") == uid for one in references):
                    continue
                left = [one for one in references if one.get("uid") != uid]
                if not left and propagation != "Orphan":
                    metadata = obj["metadata"]
                    self.delete(
                        shelf.resource, metadata.get("namespace", ""), metadata["name"], propagation=propagation
                    )
                elif propagation != "Foreground":
                    new = {**obj, "metadata": tidy_metadata({**obj["metadata"], "ownerReferences": left})}
                    self._commit("MODIFIED", shelf.resource, obj, new)

    def _empty_namespace(self, name: str) -> None:
        for shelf in list(self._shelves.values()):
            for key in [key for key in shelf.objects if key[0] == name]:
                if key in shelf.objects:  # its owner's deletion may have taken it along
                    self.delete(shelf.resource, *key)

    def _empty_shelf(self, resource: Resource) -> None:
        shelf = self._shelf(resource)
        for key in list(shelf.objects):
            if key in shelf.objects:
                self.delete(resource, *key)

    # -- writing, step by step

    def _made(
        self, resource: Resource, namespace: str, body: Any, options: Options
    ) -> tuple[Object, Object, tuple[str, ...]]:
        """A new object as it was asked for, as it would be stored but for its owners, and warnings. Raises ApiError."""
        body, warnings = decoded_body(resource, body, options)
        with _warning(warnings):
            metadata = self._new_metadata(resource, namespace, body.get("metadata") or {})
            new = {**body, "metadata": metadata}
            if resource.has_status and not options.whole:
                new.pop("status", None)
                if not resource.custom:
                    new = defaulted(resource, new)
            asked = new
            if resource.qualified == "services":
                new = self._with_address(new)
            new, told = self._validated(resource, metadata["name"], with_server_status(resource, new), options)
            if (namespace, metadata["name"]) in self._shelf(resource).objects:
                raise status.already_exists(resource, metadata["name"])
            return asked, new, (*warnings, *told)

    def _created(self, resource: Resource, new: Object, options: Options, warnings: tuple[str, ...]) -> Written:
        if options.dry_run:
            return Written(new, True, warnings)
        return Written(self._commit("ADDED", resource, None, new), True, warnings)

    def _with_address(self, service: Object, old: Object | None = None) -> Object:
        """A Service with its cluster IP: the one it has, or the next that is free."""
        spec = service.get("spec") or {}
        if spec.get("type") == "ExternalName" or spec.get("clusterIP"):
            given = spec.get("clusterIP")
            return {**service, "spec": {**spec, "clusterIPs": [given]}} if given else service
        address = ((old or {}).get("spec") or {}).get("clusterIP")
        if not address:
            self._addresses += 1
            address = f"10.96.{self._addresses // 250}.{self._addresses % 250 + 1}"
        return {**service, "spec": {**spec, "clusterIP": address, "clusterIPs": [address]}}

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
        self, resource: Resource, old: Object, new: Object, options: Options, warnings: tuple[str, ...] = ()
    ) -> Written:
        with _warning(warnings):
            return self._updated(resource, old, new, options, warnings)

    def _updated(
        self, resource: Resource, old: Object, new: Object, options: Options, warnings: tuple[str, ...]
    ) -> Written:
        given = new["metadata"]
        name = old["metadata"]["name"]
        check_identity(resource, old, given)
        new = asked = part_written(resource, old, new, options)
        if resource.qualified == "services":
            new = self._with_address(new, old)
        new, told = self._validated(resource, name, given_by_server(resource, new), options, old)
        owners = _owners_before(old, given)
        if owners:  # who has taken all of it off is not tracked again
            subresource = options.subresource
            manager = Manager(options.manager, "Update", resource.api_version(options.version), subresource)
            owners = after_update(resource.whole_schema, owners, _asked(resource, old, asked), asked, manager, now())
        stored = self._stored(resource, old, _owned(new, owners), options)
        return Written(stored, False, (*warnings, *told))

    def _server_side_apply(
        self, resource: Resource, namespace: str, name: str, manifest: Any, options: Options
    ) -> Written:
        plain = check_manifest(resource, namespace, name, manifest, options)
        subresource = options.subresource
        manager = Manager(options.manager, "Apply", resource.api_version(options.version), subresource)
        schema = resource.whole_schema
        old = self._shelf(resource).objects.get((namespace, name))
        if old is None:
            if subresource:
                raise status.not_found(resource, name)
            _, new, warnings = self._made(resource, namespace, plain, options)
            _, owners = applied(schema, {}, plain, {}, manager, now(), force=False)
            return self._created(resource, _owned(new, owners), options, warnings)
        check_identity(resource, old, plain["metadata"])
        live = copy.deepcopy(old)
        merged, owners = applied(schema, live, plain, ownership_of(old), manager, now(), force=options.force)
        merged = {**merged, "apiVersion": resource.api_version(options.version), "kind": resource.kind}
        merged, warnings = decoded_body(resource, merged, options)
        new = given_by_server(resource, part_written(resource, old, merged, options))
        if resource.qualified == "services":
            new = self._with_address(new, old)
        new, told = self._validated(resource, name, new, options, old)
        stored = self._stored(resource, old, _owned(new, owners), options)
        return Written(stored, False, (*warnings, *told))

    def _validated(
        self, resource: Resource, name: str, obj: Object, options: Options, old: Object | None = None
    ) -> tuple[Object, tuple[str, ...]]:
        """
        The object with its metadata tidied, checked, and then shown to the webhook; and what is warned of.

        Raises ApiError.
        """
        obj = {**obj, "metadata": tidy_metadata(obj["metadata"])}
        causes = () if old else causes_of_name(resource, name)
        if not options.whole:  # a seed may leave out what nobody asks it for, and stays writable
            known = set(_wrong(resource, old, options)) if old else set()
            causes += tuple(one for one in _wrong(resource, obj, options) if one not in known)
        if old and not (options.whole or options.subresource or resource.custom):
            causes += tuple(wrongly_changed(resource, old, obj))
        if resource.custom:
            body = {key: value for key, value in obj.items() if key not in ("apiVersion", "kind", "metadata")}
            reading = read(resource.schema or {}, body)
            causes += tuple(all_causes(resource.schema or {}, reading.value, reading.causes))
            # Defaults again: a status that was taken off may have one.
            obj = {key: obj[key] for key in ("apiVersion", "kind", "metadata")} | reading.value
        if causes:
            raise status.invalid(resource, name, causes)
        return obj, (*unevaluated(resource, obj), *(() if options.subresource else admit(obj)))

    def _stored(self, resource: Resource, old: Object, new: Object, options: Options) -> Object:
        """Commit an update; one that changes nothing gets no new resourceVersion, one that ends finalizers deletes."""
        metadata = new["metadata"]
        metadata["resourceVersion"] = old["metadata"]["resourceVersion"]
        if resource.has_generation and desired(resource, new, options) != desired(resource, old, options):
            metadata["generation"] = old["metadata"].get("generation", 0) + 1
        if new == old or options.dry_run:
            return new
        if metadata.get("deletionTimestamp") and not metadata.get("finalizers"):
            gone = self._commit("DELETED", resource, old, new)
            self._after_deletion(gone)
            return gone
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


@contextlib.contextmanager
def _warning(warnings: tuple[str, ...]) -> Iterator[None]:
    """What was found in the body is told with a refusal, too."""
    try:
        yield
    except ApiError as error:
        error.warnings = warnings
        raise


def _wrong(resource: Resource, obj: Object, options: Options) -> tuple[Cause, ...]:
    """What is wrong with an object beyond its schema."""
    own = () if options.subresource else tuple(wrong(resource, obj))
    return (*wrong_metadata(obj["metadata"]), *own)


def _blocks(reference: Object) -> bool:
    return bool(reference.get("blockOwnerDeletion"))


def _owned(obj: Object, owners: Ownership) -> Object:
    """The object with its owners written down; nobody's have no list."""
    metadata = {key: value for key, value in obj["metadata"].items() if key != "managedFields"}
    fields = managed_fields(owners)
    return {**obj, "metadata": {**metadata, "managedFields": fields} if fields else metadata}


def _asked(resource: Resource, old: Object, asked: Object) -> Object:
    """`old` without what the server gave it and this write leaves out: that is not taken away by the writer."""
    if resource.custom or "spec" not in old:
        return old
    spec = asked.get("spec") or {}
    given = given_by_server(resource, {**asked, "spec": {}}).get("spec") or {}
    kept = {key: value for key, value in old["spec"].items() if key in spec or key not in given}
    return {**old, "spec": kept}


def _owners_before(old: Object, given: Object) -> Ownership:
    """Who owned what before a write, which may itself say so; ``[{}]`` takes all of it off."""
    if given.get("managedFields"):
        return ownership_of({"metadata": given})
    return ownership_of(old)


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
        raise status.bad_request(f"invalid continue token: continue key is not valid: {error}") from error
