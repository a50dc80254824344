"""
Field ownership: what ``metadata.managedFields`` still says of us after a run's end.

Istio's lists are atomic to the API server, so that who writes one weight owns the whole of ``spec.http`` and takes it
from whoever applied it. Left behind, that makes the owner's next server-side apply a conflict, for ever. So the last
patch of a run takes our entries out, and nobody else's.

Sources: kubernetes.io, Server-Side Apply, "Clearing managedFields"; apimachinery,
managedfields/internal/fieldmanager.go (decodeLiveOrNew).
"""

from __future__ import annotations

from typing import Any

from canaryd.mesh.entries import Object, annotations_of
from canaryd.mesh.weights import MARKER, Operation, marker_key


def disown_patch(virtual_service: Object, plan: str, manager: str) -> list[Operation]:
    """
    The JSON Patch operations that take the entries of ``manager`` out of managedFields; an empty list for none.

    None while another plan than ``plan`` has its marker in the object: it writes, or will roll back, as ``manager``.
    Such a patch may change no field that ``manager`` would own by it, or the API server writes the entry anew; taking
    annotations out is none. The places in the list are those of the object as read, so that the caller's patch must be
    guarded by its resourceVersion. There are two entries where we wrote through two versions of the API.
    """
    others = (key for key in annotations_of(virtual_service) if key.startswith(f"{MARKER}/"))
    if any(key != marker_key(plan) for key in others):
        return []
    entries = (virtual_service.get("metadata") or {}).get("managedFields") or []
    ours = [place for place, entry in enumerate(entries) if _is_of(entry, manager)]
    tests: list[Operation] = [
        {"op": "test", "path": f"/metadata/managedFields/{place}/{key}", "value": entries[place][key]}
        for place in ours
        for key in ("manager", "operation")
    ]
    if ours and len(ours) == len(entries):
        # An empty list is taken for one that was left out; one empty entry says that it is meant.
        return [*tests, {"op": "replace", "path": "/metadata/managedFields", "value": [{}]}]
    return [*tests, *({"op": "remove", "path": f"/metadata/managedFields/{place}"} for place in reversed(ours))]


def _is_of(entry: Any, manager: str) -> bool:
    """Whether it is what our patches make: never an applied manifest's, nor a status writer's of the same name."""
    return entry.get("manager") == manager and entry.get("operation") == "Update" and not entry.get("subresource")
