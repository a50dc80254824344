"""
Several VirtualServices as one route: the mesh's for calls inside, the gateway's for calls from outside.

No API server writes two objects at once. So each is looked at and written for itself; what they amount to together is a
:class:`~canaryd.model.traffic.Sighting` with ``parts``, and the machine says what follows where they differ: an advance
that has reached some is sent again to the others, a retreat is sent to all. Nothing here undoes anything.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from canaryd.errors import CanarydError, Conflict, Rejected, Unavailable
from canaryd.mesh.hosts import same_version
from canaryd.mesh.virtualservice import IstioMesh, Rehearsal
from canaryd.model import codes
from canaryd.model.plan import Plan
from canaryd.model.problem import Problem, Refused
from canaryd.model.traffic import NOTHING, OTHERWISE, Admission, Marker, Route, Sides, Sighting


class Several:
    """The port ``Mesh`` for routes in one object or in several, over an adapter that knows one."""

    def __init__(self, one: IstioMesh) -> None:
        self._one = one

    def admit(self, plan: Plan) -> Admission:
        """What the plan would move, in every object. Raises Refused with the problems of all."""
        if not plan.spec.target.also:
            return self._one.admit(plan)
        found: list[Admission] = []
        refused: list[Refused] = []
        for each in plan.parts:
            try:
                found.append(self._one.admit(each))
            except Refused as error:
                refused.append(error)
        if refused:
            problems = [problem for one in refused for problem in one.problems]
            raise Refused(dict.fromkeys(problems), [finding for one in refused for finding in one.findings])
        first, *others = found
        if unlike := [one for one in others if not _alike(first, one)]:
            raise Refused([_unlike(first, one) for one in unlike])
        findings = dict.fromkeys(finding for one in found for finding in one.findings)
        route = replace(first.route, also=tuple(one.route for one in others))
        return replace(first, route=route, findings=tuple(findings))

    def look(self, route: Route) -> Sighting:
        """The weights and markers as they are now, of each object and together."""
        if not route.also:
            return self._one.look(route)
        return together([self._one.look(part) for part in route.parts], route)

    def shift(self, route: Route, marker: Marker, seen: Sighting) -> None:
        """
        Write ``marker`` into each object that has it not yet, provided that nothing in it has changed since ``seen``.

        The first that fails ends it: the others are written when the machine sends it again. Raises what that one did.
        """
        if not route.also:
            self._one.shift(route, marker, seen)
            return
        for part, found in zip(route.parts, seen.parts, strict=True):
            if found.marker is None or (found.marker.run, found.marker.seq) != (marker.run, marker.seq):
                self._one.shift(part, _as_in(part, marker), found)

    def retreat(self, route: Route, marker: Marker) -> None:
        """
        Write ``marker`` into every object, whatever else has changed, each for itself and all at one time.

        One that fails, or does not answer, keeps none of the others. Raises the gravest of what they raised: that of
        an object in which nothing can be done.
        """
        if not route.also:
            self._one.retreat(route, marker)
            return
        self._each(route, lambda part: self._one.retreat(part, _as_in(part, marker)))

    def release(self, route: Route, run: str) -> None:
        """Take our marker and what we inserted out of every object."""
        if not route.also:
            self._one.release(route, run)
            return
        self._each(route, lambda part: self._one.release(part, run))

    def sides(self, route: Route) -> Sides:
        """The pods behind both versions now; they are the same wherever a route names them."""
        return self._one.sides(replace(route, also=()))

    def hosts(self, route: Route) -> tuple[str, ...]:
        """The fully qualified names of the services behind both versions."""
        return tuple(dict.fromkeys(host for part in route.parts for host in self._one.hosts(part)))

    def suspects(self, route: Route, clients: Sequence[str]) -> tuple[str, ...]:
        """Why ``clients`` may not meet the weights, object by object."""
        return tuple(dict.fromkeys(why for part in route.parts for why in self._one.suspects(part, clients)))

    def rehearse(self, plan: Plan) -> tuple[Rehearsal, ...]:
        """What a run of ``plan`` would write, object by object; see the adapter's own."""
        if not plan.spec.target.also:
            return self._one.rehearse(plan)
        self.admit(plan)
        return tuple(
            replace(one, what=f"{each.spec.target.virtual_service}, {one.what}")
            for each in plan.parts
            for one in self._one.rehearse(each)
        )

    @staticmethod
    def _each(route: Route, do: Callable[[Route], None]) -> None:
        """Do it for each part at one time; afterwards raise what went wrong, all of it in one sentence."""

        def tried(part: Route) -> CanarydError | None:
            try:
                do(part)
            except CanarydError as error:
                return error
            return None

        with ThreadPoolExecutor(len(route.parts), "object") as threads:
            failed = [error for error in threads.map(tried, route.parts) if error]
        if failed:
            kinds = (Rejected, Conflict, Unavailable)
            gravest = next((kind for kind in kinds if any(isinstance(one, kind) for one in failed)), CanarydError)
            raise gravest("; ".join(map(str, failed))) from failed[0]


def together(parts: Sequence[Sighting], route: Route) -> Sighting:
    """What several objects amount to: a split where all have the same, else None with each one's in ``why``."""
    splits = {one.split for one in parts}
    matches = {one.match for one in parts}
    named = list(zip(route.parts, parts, strict=True))
    whys = [f"{part.virtual_service}: {one.why}" for part, one in named if one.why]
    if len(splits) > 1 and None not in splits:
        whys.append("the objects differ: " + ", ".join(f"{part.virtual_service} {one.split}" for part, one in named))
    return Sighting(
        split=splits.pop() if len(splits) == 1 else None,
        marker=max((one.marker for one in parts if one.marker), key=lambda marker: marker.seq, default=None),
        version=" ".join(one.version for one in parts),
        why="; ".join(whys),
        stable_missing=any(one.stable_missing for one in parts),
        highest=max((one.most for one in parts), default=NOTHING),
        match=matches.pop() if len(matches) == 1 else OTHERWISE,
        parts=tuple(parts),
    )


def _as_in(part: Route, marker: Marker) -> Marker:
    """The marker with the versions as that object writes their hosts."""
    return replace(marker, stable=part.stable, canary=part.canary)


def _alike(first: Admission, other: Admission) -> bool:
    """Whether both stand at one split between the same versions, however their hosts are written."""
    one, two, home = first.route, other.route, first.route.namespace
    same = same_version(one.stable, two.stable, home) and same_version(one.canary, two.canary, home)
    return same and first.split == other.split


def _unlike(first: Admission, other: Admission) -> Problem:
    """Two objects that do not stand alike: one run cannot say for both where it begins."""
    return Problem(
        path=str(other.route),
        value=f"{other.split} at {other.route.canary}, {other.route.stable} as stable",
        expected=f"what {first.route} has: {first.split} at {first.route.canary}, {first.route.stable} as stable",
        remedy="give stable everything in both, and name stable in the plan",
        code=codes.NOT_AT_STABLE.name,
    )
