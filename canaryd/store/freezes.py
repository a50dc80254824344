"""
Freezes, where people have written them down: as files in the state folder, or as CanaryFreezes in a cluster.

    DIR/freezes/<name>.json      one freeze, for `canaryd run` and `canaryd serve` on that folder

`canaryd run` and `serve` see both; the controller sees its cluster's.

In a cluster a freeze counts for the namespace that it lies in; one in canaryd's own namespace counts for all. So RBAC
says who may freeze what, with nothing but roles.

One that cannot be read freezes: whoever wrote it wanted something to stand still.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import structlog
from pydantic import TypeAdapter, ValidationError

from canaryd.errors import Rejected, Unavailable
from canaryd.kube import CANARY_FREEZES, GROUP, VERSION, Forbidden, Kube, Unserved
from canaryd.model.guards import Freeze
from canaryd.store.folder import found_in, put
from canaryd.store.objects import seconds_of, time_text

Object = dict[str, Any]

log = structlog.get_logger()
_FREEZE = TypeAdapter(Freeze)
NAME = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")


class FolderFreezes:
    """The freezes port on a state folder. Raises Unavailable when the disk does not play along."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder / "freezes"

    def freezes(self) -> tuple[Freeze, ...]:
        try:
            files = sorted(found_in(self._folder, ".json"))
            return tuple(found for file in files if (found := _read(file)))
        except OSError as error:
            raise Unavailable(f"the state folder does not answer: {error}") from error

    def add(self, freeze: Freeze) -> None:
        """Write a freeze down. Raises Rejected where there is one of that name."""
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            file = self._folder / f"{freeze.name}.json"
            if file.exists():
                raise Rejected(f"there is a freeze {freeze.name} already")
            put(file, _FREEZE.dump_json(freeze))
        except OSError as error:
            raise Unavailable(f"the state folder does not answer: {error}") from error

    def lift(self, name: str) -> None:
        """End a freeze. Raises Rejected where there is none of that name."""
        if not NAME.fullmatch(name):
            raise Rejected(f"there is no freeze {name}")
        try:
            (self._folder / f"{name}.json").unlink()
        except FileNotFoundError as error:
            raise Rejected(f"there is no freeze {name}") from error
        except OSError as error:
            raise Unavailable(f"the state folder does not answer: {error}") from error


def _read(file: Path) -> Freeze | None:
    """The freeze in a file; None for one that was lifted meanwhile."""
    try:
        return replace(_FREEZE.validate_json(file.read_bytes()), name=file.stem)
    except FileNotFoundError:
        return None
    except ValidationError as error:
        return Freeze(file.stem, "", f"{file} cannot be read: {error.errors()[0]['msg']}")


class ClusterFreezes:
    """The freezes port on the CanaryFreezes that ``objects`` gives, as a watch has them; ``home`` is canaryd's own."""

    def __init__(self, objects: Callable[[], Iterable[Mapping[str, Any]]], home: str) -> None:
        self._objects = objects
        self._home = home

    def freezes(self) -> tuple[Freeze, ...]:
        return tuple(freeze_of(found, self._home) for found in self._objects())


class ListedFreezes:
    """
    The far freezes port on the CanaryFreezes of a cluster, for who has no watch: a list for each reading.

    Where the API server has no such kind, or the account may not list it, it cannot be seen what anybody has frozen:
    that is said once, and there are none. What could be seen once has to be seen: there it is a fault.
    """

    def __init__(self, kube: Kube, home: str) -> None:
        self._kube = kube
        self._home = home
        self._everywhere = True
        self._seen: set[str] = set()
        self._said: set[str] = set()

    def read(self, namespace: str) -> tuple[Freeze, ...]:
        if self._everywhere:
            try:
                found = self._kube.list(CANARY_FREEZES)
            except Forbidden:
                self._everywhere = False
            except Unserved as error:
                return self._unseen("", error)
            else:
                self._seen.add("")
                return tuple(freeze_of(one, self._home) for one in found)
        places = dict.fromkeys((namespace, self._home))
        return tuple(found for place in places for found in self._in(place))

    def _in(self, namespace: str) -> tuple[Freeze, ...]:
        try:
            found = self._kube.list(CANARY_FREEZES, namespace)
        except (Forbidden, Unserved) as error:
            return self._unseen(namespace, error)
        self._seen.add(namespace)
        return tuple(freeze_of(one, self._home) for one in found)

    def _unseen(self, namespace: str, error: Forbidden | Unserved) -> tuple[Freeze, ...]:
        if self._seen & {"", namespace}:
            raise Unavailable(f"CanaryFreezes can be listed no more: {error}") from error
        if namespace not in self._said:
            self._said.add(namespace)
            if isinstance(error, Unserved):  # nobody can freeze anything there, and that is most people's case
                log.info("freezes.unseen", why=f"the cluster has no {CANARY_FREEZES}")
            else:
                log.warning("freezes.unseen", namespace=namespace, why=str(error))
        return ()


def freeze_of(found: Mapping[str, Any], home: str) -> Freeze:
    """The freeze that a CanaryFreeze says, where canaryd's own namespace is ``home``."""
    meta, spec = found["metadata"], found.get("spec") or {}
    namespace = str(meta.get("namespace") or "")
    freeze = Freeze(str(meta["name"]), "" if namespace == home else namespace, str(spec.get("reason") or ""))
    try:
        made = meta.get("creationTimestamp")
        until = spec.get("until")
        return replace(
            freeze,
            owner=str(spec.get("owner") or ""),
            until=seconds_of(until) if until else None,
            since=seconds_of(made) if made else 0.0,
            stop=bool(spec.get("stop")),
        )
    except (ValueError, TypeError) as error:
        return replace(freeze, reason=f"{freeze.reason} (the rest of it cannot be read: {error})")


def freeze_object(freeze: Freeze, namespace: str) -> Object:
    """The CanaryFreeze to create in ``namespace``."""
    spec: Object = {"reason": freeze.reason, "owner": freeze.owner, "stop": freeze.stop}
    if freeze.until is not None:
        spec["until"] = time_text(freeze.until, fraction=False)
    return {
        "apiVersion": f"{GROUP}/{VERSION}",
        "kind": "CanaryFreeze",
        "metadata": {
            "name": freeze.name,
            "namespace": namespace,
            "labels": {"app.kubernetes.io/managed-by": "canaryd"},
        },
        "spec": {key: value for key, value in spec.items() if value not in ("", False)},
    }


class FolderQueue:
    """
    When each plan of ``canaryd serve`` asked first, so that a restart changes nobody's place.

        DIR/queue.json               {"namespace/name": {"release": ..., "asked": ...}}
    """

    def __init__(self, folder: Path) -> None:
        self._file = folder / "queue.json"

    def read(self) -> dict[str, tuple[str, float]]:
        """Release and time by plan; nothing where nothing can be read: the order is by who comes first, then."""
        try:
            found = json.loads(self._file.read_bytes())
            return {str(plan): (str(one["release"]), float(one["asked"])) for plan, one in found.items()}
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return {}

    def write(self, asked: Mapping[str, tuple[str, float]]) -> None:
        """Raises Unavailable when the disk does not play along."""
        content = {plan: {"release": release, "asked": at} for plan, (release, at) in asked.items()}
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            put(self._file, json.dumps(content).encode())
        except OSError as error:
            raise Unavailable(f"the state folder does not answer: {error}") from error
