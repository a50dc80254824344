"""What the API server's objects went through, one version after the other: what a look from time to time would miss."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from canaryd.lab.kubernetes.cluster import Change, Cluster
from canaryd.model.run import Run
from canaryd.model.traffic import Marker
from canaryd.store.objects import record_of

Json = dict[str, Any]


@dataclass(frozen=True)
class Moment:
    """One version of the VirtualService: the canary's weight, and our marker if it has one."""

    at: float
    weight: int
    marker: Marker | None

    def __str__(self) -> str:
        who = f" ({self.marker.run} {self.marker.seq} {self.marker.latch})" if self.marker else ""
        return f"{self.weight} %{who}"


@dataclass
class Past:
    """Subscribes to ``cluster``; ``plan`` is whose marker is read."""

    cluster: Cluster
    plan: str = "reviews"
    canary: str = "v3"
    moments: list[Moment] = field(default_factory=list)
    runs: dict[str, list[Run]] = field(default_factory=dict)
    _orders: list[tuple[Callable[[Json], bool], Callable[[], None]]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.cluster.subscribe(self._changed)

    def once(self, fact: Callable[[Json], bool], act: Callable[[], None]) -> None:
        """Do ``act`` within the write of the first object of which ``fact`` is true, before it is answered."""
        self._orders.append((fact, act))

    def _changed(self, change: Change) -> None:
        found = change.object
        if found["kind"] == "VirtualService" and found["metadata"]["name"] == "reviews":
            self._note(found)
        if found["kind"] == "CanaryRecord" and change.type != "DELETED":
            run = record_of(found).run
            self.runs.setdefault(run.uid, []).append(run)
        for order in [one for one in self._orders if change.type != "DELETED" and one[0](found)]:
            self._orders.remove(order)
            order[1]()

    def _note(self, found: Json) -> None:
        route = found["spec"]["http"][0]["route"]
        weight = sum(one.get("weight", 0) for one in route if one["destination"].get("subset") == self.canary)
        text = (found["metadata"].get("annotations") or {}).get(f"marker.canaryd.io/{self.plan}")
        self.moments.append(Moment(time.monotonic(), weight, Marker.parse(text) if text else None))

    # -- what must never be

    def check(self) -> None:
        """No weight rose after a latch of the same run, and evidence that was saved was never lost."""
        latched: set[str] = set()
        former = 0
        for moment in self.moments:
            if moment.marker and moment.marker.run in latched:
                assert moment.weight <= former, f"it rose after the latch: {self}"
            if moment.marker and moment.marker.latch:
                latched.add(moment.marker.run)
            former = moment.weight
        for uid, versions in self.runs.items():
            for before, after in pairwise(versions):
                lost = {(one.segment, one.start) for one in before.cells} - {
                    (one.segment, one.start) for one in after.cells
                }
                assert not lost or after.judged_from > before.judged_from, f"{uid} lost cells: {lost}"
                assert before.latch is None or after.latch is not None, f"{uid} lost its latch"

    def __str__(self) -> str:
        return " -> ".join(map(str, self.moments))


def record_in(*phases: Any) -> Callable[[Json], bool]:
    """Whether an object is the record of a run in one of ``phases``."""
    return lambda found: found["kind"] == "CanaryRecord" and record_of(found).run.phase in phases
