"""
Markers whose run is gone: the traffic that they stand for is rolled back from what the marker itself says.

A run's object may be deleted by a hand, or be missing from a restored backup, while its canary has traffic. Nobody
would ever look at that traffic again. Only markers of runs that lived in the cluster are meant: one of ``canaryd run``
on a laptop is its owner's affair.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, Protocol

import structlog

from canaryd.engine.ports import Clock, Mesh
from canaryd.engine.scheduler import Scheduler
from canaryd.errors import CanarydError
from canaryd.mesh.entries import annotations_of
from canaryd.mesh.orphans import orphan_of
from canaryd.mesh.weights import MARKER
from canaryd.model.traffic import NOTHING, Marker, Route

Object = dict[str, Any]

AGAIN = 5.0
"""Seconds between two tries."""

log = structlog.get_logger()


class Objects(Protocol):
    """The VirtualServices as they were last seen."""

    def get(self, namespace: str, name: str) -> Object | None: ...
    def all(self) -> list[Object]: ...


class Orphans:
    """
    Rolls orphaned markers back.

    ``exists`` says whether there is a CanaryRun of a name in a namespace, asked of the API server itself: what a cache
    has not heard of yet is no orphan. ``tell`` is told of each, with a sentence.
    """

    def __init__(
        self,
        mesh: Mesh,
        objects: Objects,
        exists: Callable[[str, str], bool],
        clock: Clock,
        *,
        tell: Callable[[Object, str], None],
        may: Callable[[], bool] = lambda: True,
    ) -> None:
        self._mesh = mesh
        self._objects = objects
        self._exists = exists
        self._clock = clock
        self._tell = tell
        self._may = may
        self._told: dict[str, str] = {}
        self._scheduler = Scheduler(self._look, workers=1, measured=False)

    def start(self) -> None:
        """Look at every VirtualService once."""
        self._scheduler.start()
        for found in self._objects.all():
            self.changed(found)

    def stop(self) -> None:
        self._scheduler.stop()

    def changed(self, virtual_service: Object) -> None:
        """A VirtualService was seen, or one of its runs was deleted: look, if there is anything to look at."""
        if any(True for _ in marked(virtual_service)):
            meta = virtual_service["metadata"]
            self._scheduler.add(f"{meta['namespace']}/{meta['name']}", AGAIN)

    def _look(self, key: str) -> None:
        namespace, _, name = key.partition("/")
        found = self._objects.get(namespace, name)
        left = list(marked(found)) if found else []
        try:
            orphaned = [(route, marker) for route, marker in left if not self._exists(namespace, marker.run)]
        except CanarydError:
            return  # what cannot be asked is no orphan; it is asked again soon
        if not orphaned or not found:
            self._scheduler.rest(key)  # a change of the object, or of its run, brings it back
            return
        if not self._may():
            return
        for route, marker in orphaned:
            self._roll_back(found, route, marker)

    def _roll_back(self, found: Object, route: Route, marker: Marker) -> None:
        try:
            if not self._mesh.sides(route).stable.ready:
                self._say(found, marker, f"run {marker.run} is gone, and {route.stable} has no ready endpoint to go to")
                return
            why = f"run {marker.run} is gone; its canary {route.canary} goes from {marker.split} to 0 %"
            seen = self._mesh.look(route)
            if seen.split != NOTHING or seen.match:
                self._say(found, marker, why)
                self._mesh.retreat(route, self._last(route, marker, why))
            self._mesh.release(route, marker.run)
        except CanarydError as error:
            log.warning("marker.not_released", virtual_service=str(route), run=marker.run, error=str(error))

    def _last(self, route: Route, marker: Marker, why: str) -> Marker:
        return replace(
            marker,
            seq=marker.seq + 1,
            split=NOTHING,
            match="",
            was=marker.split,
            stable=route.stable,
            canary=route.canary,
            at=self._clock.now(),
            latch="abort",
            reason=why,
        )

    def _say(self, found: Object, marker: Marker, why: str) -> None:
        if self._told.get(marker.run) != why:
            self._told[marker.run] = why
            log.warning("marker.orphaned", run=marker.run, why=why)
            self._tell(found, why)


def marked(virtual_service: Object) -> Iterator[tuple[Route, Marker]]:
    """What the markers of runs that live in the cluster say."""
    for key in annotations_of(virtual_service):
        orphan = orphan_of(virtual_service, key) if key.startswith(f"{MARKER}/") else None
        if orphan and orphan[1].kept == "canaryrun":
            yield orphan
