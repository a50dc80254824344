"""
Entries in front: how the requests of a step's ``match`` get to the canary, whatever the weights say.

Before each entry that a run moves stands one of ours, which takes what the entry takes *and* what the step matches, and
sends it to the canary with all else that the entry says: rewrite, timeout, retries, headers. Its name says whose it is.
It goes with the step. Everything here is pure: objects and JSON Patch operations.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from canaryd.errors import Rejected
from canaryd.mesh.entries import INSERTED, Destination, HttpEntry, Object, http_entries, managed_entries
from canaryd.model.match import headers_of
from canaryd.model.traffic import OTHERWISE, Entry, Route, Version

Operation = dict[str, Any]


def name_for(plan: str, entry: Entry) -> str:
    """The name of the entry of ours in front of ``entry``: no other plan's, for a plan's name has no dot."""
    return f"{INSERTED}{plan}.{entry.name or entry.index}"


def conflicts(found: HttpEntry, audience: str) -> tuple[str, ...]:
    """Headers that the entry and the step's match both name, differently: one match cannot ask both."""
    asked = [one.get("headers") or {} for one in found.rest.get("match") or () if one]
    return tuple(
        sorted({name for one in headers_of(audience) for name, value in one.items() for theirs in asked
                if name in theirs and theirs[name] != value})
    )  # fmt: skip


def in_front(virtual_service: Object, route: Route) -> tuple[HttpEntry, ...]:
    """The entries of ours that stand in the object for this plan."""
    prefix = f"{INSERTED}{route.plan}."
    return tuple(entry for entry in http_entries(virtual_service) if entry.name.startswith(prefix))


def audience_in(virtual_service: Object, route: Route, audience: str) -> str:
    """
    For whom entries of ours stand in front: ``audience``, the marker's, where they are what it wrote, else OTHERWISE.

    Empty where there are none. Only what brings traffic to the canary is compared (who is matched, and where it is
    sent): what else the user writes into them is none of our business.
    """
    present = in_front(virtual_service, route)
    if not present:
        return ""
    try:
        wanted = list(_wanted(virtual_service, route, audience))
    except (ValueError, Rejected):
        return OTHERWISE
    if len(wanted) != len(present):
        return OTHERWISE
    for found, (behind, entry) in zip(present, wanted, strict=True):
        same = found.name == entry["name"] and found.rest.get("match") == entry["match"]
        ours = [one for one in found.destinations if found.receives(one)] == list(
            found.to(route.canary, route.namespace)
        )
        if not (same and ours and found.index < behind.index):
            return OTHERWISE
    return audience


def put_in_front(virtual_service: Object, route: Route, audience: str) -> list[Operation]:
    """
    The operations that leave entries for ``audience`` in front of those of ``route``, and no others of ours.

    None where that is so already. Raises Rejected where an entry is gone, or its match and the step's cannot be one.
    """
    if audience_in(virtual_service, route, audience) == audience:
        return []
    present = in_front(virtual_service, route)
    wanted = list(_wanted(virtual_service, route, audience))
    operations = take_away(virtual_service, route)
    for behind, entry in reversed(wanted):
        index = behind.index - sum(one.index < behind.index for one in present)
        operations.append({"op": "add", "path": f"/spec/http/{index}", "value": entry})
    return operations


def take_away(virtual_service: Object, route: Route) -> list[Operation]:
    """The operations that take every entry of ours out, the last first, each guarded by its name."""
    return [
        operation
        for entry in reversed(in_front(virtual_service, route))
        for operation in (
            {"op": "test", "path": f"{entry.path}/name", "value": entry.name},
            {"op": "remove", "path": entry.path},
        )
    ]


def _wanted(virtual_service: Object, route: Route, audience: str) -> Iterator[tuple[HttpEntry, dict[str, Any]]]:
    """For each entry of ``route``, in the order in which they stand: itself, and the one to put in front of it."""
    asked = headers_of(audience)
    if not asked:
        return
    managed = managed_entries(virtual_service, route)
    if gone := [str(entry) for entry, found in managed if found is None]:
        raise Rejected(f"{route}: {', '.join(gone)} is gone, or its destinations are no longer ours")
    for entry, found in sorted(((entry, found) for entry, found in managed if found), key=lambda one: one[1].index):
        if shared := conflicts(found, audience):
            raise Rejected(f"{route}: {found} asks for {', '.join(shared)} itself; the step's match cannot as well")
        kept = {key: value for key, value in found.rest.items() if key != "match"}
        yield (
            found,
            json.loads(
                json.dumps(
                    {
                        "name": name_for(route.plan, entry),
                        "match": list(_both(found.rest.get("match") or [{}], asked)),
                        "route": [_sole(virtual_service, found, route)],
                        **kept,
                    }
                )
            ),
        )


def _both(theirs: list[Any], asked: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Every way to be matched by the entry and by the step as well, without the names that statistics are kept by."""
    for one in theirs:
        for headers in asked:
            own = {key: value for key, value in (one or {}).items() if key != "name"}
            yield own | {"headers": {**(own.get("headers") or {}), **headers}}


def _sole(virtual_service: Object, found: HttpEntry, route: Route) -> dict[str, Any]:
    """The canary as the only destination, as the entry has it, without a weight: alone it has everything."""
    canaries = found.to(route.canary, route.namespace)
    if canaries:
        raw = virtual_service["spec"]["http"][found.index]["route"][canaries[0].index]
        return {key: value for key, value in raw.items() if key != "weight"}
    stables = found.to(route.stable, route.namespace)
    return {"destination": destination_of(route.canary, stables[0] if stables else None)}


def destination_of(version: Version, beside: Destination | None) -> dict[str, Any]:
    """A destination for ``version``, on the port of the one ``beside``."""
    destination: dict[str, Any] = {"host": version.host}
    if version.subset:
        destination["subset"] = version.subset
    if beside is not None and beside.port is not None:
        destination["port"] = beside.port
    return destination
