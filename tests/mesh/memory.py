"""
A mesh in memory: one VirtualService, patched by the same plans as the real one, with faults on order.

It is the port ``Mesh`` for tests of the machine and of what happens when we die between two writes.
tests/contracts/test_mesh.py runs on it and on the real adapter, so that it cannot lie.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

from canaryd.errors import CanarydError, Conflict, Gone
from canaryd.lab.kubernetes.patching import json_patched
from canaryd.lab.kubernetes.status import ApiError
from canaryd.mesh.admission import Surroundings, admission, sides_of
from canaryd.mesh.hosts import fully_qualified
from canaryd.mesh.suspects import suspects
from canaryd.mesh.weights import Guard, Operation, release_patch, restore_patch, split_of, weight_patch
from canaryd.model.plan import Plan
from canaryd.model.problem import Problem, Refused
from canaryd.model.traffic import Admission, Marker, Route, Sides, Sighting

Object = dict[str, Any]


class MemoryMesh:
    """
    ``virtual_service`` is the object as it is (None: deleted); ``around`` what admission and ``sides`` see beside it.

    ``writes`` are the patches that had an effect, in order. ``sides_now`` overrides what ``around`` says.
    """

    def __init__(self, virtual_service: Object, around: Surroundings | None = None, sides: Sides | None = None) -> None:
        self.virtual_service: Object | None = copy.deepcopy(virtual_service)
        self.virtual_service["metadata"].setdefault("resourceVersion", "1")  # type: ignore[index]
        self.around = around or Surroundings()
        self.sides_now = sides
        self.writes: list[list[Operation]] = []
        self.calls: list[str] = []
        self._before: list[tuple[str, CanarydError]] = []
        self._after: list[tuple[str, CanarydError]] = []

    # -- knobs

    def fail_before(self, error: CanarydError, call: str = "*") -> None:
        """The next call of that name (or any) raises ``error`` and does nothing."""
        self._before.append((call, error))

    def fail_after(self, error: CanarydError, call: str = "*") -> None:
        """The next write of that name (or any) has its effect, and raises ``error`` all the same."""
        self._after.append((call, error))

    def edit(self, change: Callable[[Object], None]) -> None:
        """Somebody edits the object by hand."""
        assert self.virtual_service is not None
        change(self.virtual_service)
        self._touch()

    def weigh(self, *weights: int, entry: int = 0) -> None:
        """Somebody sets the weights of an entry by hand, in the order of its destinations."""

        def change(found: Object) -> None:
            for destination, weight in zip(found["spec"]["http"][entry]["route"], weights, strict=True):
                destination["weight"] = weight

        self.edit(change)

    def delete(self) -> None:
        """Somebody deletes the object."""
        self.virtual_service = None

    # -- the port

    def admit(self, plan: Plan) -> Admission:
        """What the plan would move."""
        self._enter("admit")
        found = self.virtual_service
        if found is None or found["metadata"]["name"] != plan.spec.target.virtual_service:
            where = f"a VirtualService in namespace {plan.namespace}"
            raise Refused([Problem("spec.target.virtualService", plan.spec.target.virtual_service, where)])
        return admission(plan, found, self.around)

    def look(self, route: Route) -> Sighting:
        """The weights and the marker as they are now."""
        self._enter("look")
        return split_of(self._read(route), route)

    def shift(self, route: Route, marker: Marker, seen: Sighting) -> None:
        """Write the split, provided that nothing has changed since ``seen``."""
        self._enter("shift")
        found = self._read(route)
        if found["metadata"]["resourceVersion"] != seen.version:
            raise Conflict(f"{route} has changed since it was read")
        self._write("shift", weight_patch(found, route, marker, Guard.OBJECT))

    def retreat(self, route: Route, marker: Marker) -> None:
        """Write the split, whatever else has changed."""
        self._enter("retreat")
        self._write("retreat", weight_patch(self._read(route), route, marker, Guard.DESTINATIONS))

    def release(self, route: Route, run: str) -> None:
        """Take our marker out."""
        self._enter("release")
        for patch in (restore_patch, release_patch):
            if self.virtual_service is not None and (operations := patch(self.virtual_service, route, run)):
                self._write("release", operations)

    def sides(self, route: Route) -> Sides:
        """The pods behind both versions."""
        self._enter("sides")
        return self.sides_now or sides_of(route, self.around)

    def hosts(self, route: Route) -> tuple[str, ...]:
        """The fully qualified names of the services."""
        self._enter("hosts")
        return tuple(dict.fromkeys(fully_qualified(one.host, route.namespace) for one in (route.stable, route.canary)))

    def suspects(self, route: Route, clients: Sequence[str]) -> tuple[str, ...]:
        """Why clients may not meet the weights."""
        self._enter("suspects")
        return suspects(route, clients, self._read(route), self.around)

    # -- inside

    def _read(self, route: Route) -> Object:
        if self.virtual_service is None:
            raise Gone(f"{route} is gone")
        return copy.deepcopy(self.virtual_service)

    def _write(self, call: str, operations: Sequence[Operation]) -> None:
        try:
            self.virtual_service = json_patched(self.virtual_service or {}, list(operations))
        except ApiError as error:
            raise Conflict(f"the object is not as it was read: {error}") from error
        self._touch()
        self.writes.append(list(operations))
        self._fail(self._after, call)

    def _touch(self) -> None:
        assert self.virtual_service is not None
        meta = self.virtual_service["metadata"]
        meta["resourceVersion"] = str(int(meta["resourceVersion"]) + 1)

    def _enter(self, call: str) -> None:
        self.calls.append(call)
        self._fail(self._before, call)

    @staticmethod
    def _fail(orders: list[tuple[str, CanarydError]], call: str) -> None:
        order = next((one for one in orders if one[0] in ("*", call)), None)
        if order:
            orders.remove(order)
            raise order[1]
