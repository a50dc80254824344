"""
Traffic: the split, the two versions, and the marker that we leave beside each weight.

A split is one number, the canary's share; stable has the rest. It is kept in thousandths of a percent because Istio's
weights are relative to their sum, so that half a percent is an ordinary weight.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from decimal import Decimal
from fractions import Fraction

from canaryd.model.finding import Finding

WHOLE = 100_000
"""A split of 100 %, in the unit of :class:`Split`."""


@dataclass(frozen=True, slots=True, order=True)
class Split:
    """The division of traffic: the canary's share in thousandths of a percent, 0 to 100,000."""

    canary: int

    def __post_init__(self) -> None:
        if not 0 <= self.canary <= WHOLE:
            raise ValueError(f"a split lies between 0 and 100 percent, got {self.canary / 1000} percent")

    @classmethod
    def percent(cls, value: str | float | Decimal) -> Split:
        """The split of ``value`` percent. Raises ValueError beyond 0..100 or finer than 0.001."""
        thousandths = Decimal(str(value)) * 1000
        if thousandths != thousandths.to_integral_value():
            raise ValueError(f"a split is a multiple of 0.001 percent, got {value}")
        return cls(int(thousandths))

    @classmethod
    def of_weights(cls, canary: int, total: int) -> Split:
        """What ``canary`` out of a sum of ``total`` weights amounts to, rounded to the unit."""
        return cls(round(Fraction(canary * WHOLE, total)))

    @property
    def share(self) -> float:
        """The canary's share, 0 to 1."""
        return self.canary / WHOLE

    def __str__(self) -> str:
        return (
            f"{Decimal(self.canary) / 1000:f}".rstrip("0").rstrip(".") + " %"
            if self.canary % 1000
            else f"{self.canary // 1000} %"
        )


NOTHING = Split(0)
EVERYTHING = Split(WHOLE)


@dataclass(frozen=True, slots=True)
class Version:
    """One of the two sides: a ``subset`` of ``host``'s DestinationRule, or, with an empty subset, the whole host."""

    host: str
    subset: str = ""

    def __str__(self) -> str:
        return self.subset or self.host


@dataclass(frozen=True, slots=True)
class Entry:
    """
    One http entry of a VirtualService.

    ``name`` finds it wherever it has moved to; where it is empty the entry is the one at ``index`` (from 0), and its
    destinations must still be ours.
    """

    index: int
    name: str = ""

    def __str__(self) -> str:
        return self.name or f"http[{self.index}]"


@dataclass(frozen=True, slots=True)
class Route:
    """
    What a run moves: entries of one VirtualService, and the two versions in each of them; ``also`` in other objects.

    ``plan`` is the plan's name, which names our annotation. Hosts are as the VirtualService writes them; short names
    mean a service in ``namespace``, the VirtualService's own.
    """

    namespace: str
    virtual_service: str
    plan: str
    entries: tuple[Entry, ...]
    stable: Version
    canary: Version
    also: tuple[Route, ...] = ()

    def __str__(self) -> str:
        if self.also:
            names = [f"{part.namespace}/{part.virtual_service}" for part in self.parts]
            return f"VirtualServices {', '.join(names[:-1])} and {names[-1]}"
        return f"VirtualService {self.namespace}/{self.virtual_service}"

    @property
    def parts(self) -> tuple[Route, ...]:
        """The same object by object, this one first."""
        return (replace(self, also=()), *self.also) if self.also else (self,)

    def lies_in(self, namespace: str, name: str) -> bool:
        """Whether some of it is in that VirtualService."""
        return any((part.namespace, part.virtual_service) == (namespace, name) for part in self.parts)


@dataclass(frozen=True, slots=True)
class Admission:
    """
    A plan that may start: the route it moves, where the traffic stands now, and what a person should know.

    ``sides`` are the pods behind both versions; ``findings`` are those that stop nothing.
    """

    route: Route
    split: Split
    sides: Sides
    findings: tuple[Finding, ...] = ()

    @property
    def remarks(self) -> tuple[str, ...]:
        """The findings in words."""
        return tuple(map(str, self.findings))


@dataclass(frozen=True, slots=True)
class Marker:
    """
    What canaryd writes into an annotation with every weight, in the same operation.

    ``run`` is the run's uid, ``seq`` counts the writes of that run, ``split`` is what this write wanted and ``was``
    what stood before it, ``at`` is the Unix time of the intent: the cells of the split start there. ``latch`` is empty
    unless the write belongs to a rollback; it then names the latch, and ``reason`` its sentence, so that a lost save is
    made good from the mesh. ``match`` is the audience that goes to the canary beside the split (see
    :mod:`canaryd.model.match`), empty for none.

    ``born`` is when the run was created: of two runs of a plan the younger one is right. ``kept`` says where the run
    lives: empty for a folder, ``canaryrun`` for an object of that name in the VirtualService's namespace.
    """

    run: str
    seq: int
    split: Split
    was: Split
    stable: Version
    canary: Version
    at: float
    match: str = ""
    latch: str = ""
    reason: str = ""
    born: float = 0.0
    kept: str = ""

    def dump(self) -> str:
        """The annotation's value: JSON with sorted keys, so that equal markers are equal text."""
        fields = asdict(self) | {"split": self.split.canary, "was": self.was.canary}
        if not self.match:
            fields.pop("match")  # as markers were before there were any
        return json.dumps(fields, sort_keys=True, separators=(",", ":"))

    @classmethod
    def parse(cls, text: str) -> Marker:
        """The marker in an annotation's value. Raises ValueError for anything that :meth:`dump` cannot have written."""
        try:
            fields = json.loads(text)
            if not all(isinstance(fields.get(name, 0), int | float) for name in ("seq", "at", "born")):
                raise TypeError("seq, at and born are numbers")  # noqa: TRY301  # as what the lines below raise
            if not isinstance(fields.get("match", ""), str):
                raise TypeError("match is a text")  # noqa: TRY301  # as above
            return cls(
                **fields
                | {
                    "split": Split(fields["split"]),
                    "was": Split(fields["was"]),
                    "stable": Version(**fields["stable"]),
                    "canary": Version(**fields["canary"]),
                }
            )
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"not a marker of canaryd: {text[:80]!r}") from error


OTHERWISE = "otherwise"
"""The audience of entries of ours that are not as the marker says."""


@dataclass(frozen=True, slots=True)
class Sighting:
    """
    What the mesh's object says at one moment.

    ``split`` is what its weights amount to, or None where they amount to none of ours (entries that disagree, a
    foreign destination, an entry that is gone); ``why`` then says what was found. ``highest`` is the largest share that
    any entry gives the canary, for where they amount to no split. ``marker`` is the annotation, if any.
    ``stable_missing`` is true where an entry has lost its stable destination: then no rollback can be done by weights.
    ``match`` is the audience for which entries of ours stand in front: as the marker says where they are as we wrote
    them, OTHERWISE where they are not. ``parts`` are the sightings of each object where a route lies in several; the
    other fields then say what they amount to together: ``split`` is None where they differ.
    """

    split: Split | None
    marker: Marker | None
    version: str = ""
    why: str = ""
    stable_missing: bool = False
    highest: Split | None = None
    match: str = ""
    parts: tuple[Sighting, ...] = ()

    @property
    def readable(self) -> bool:
        """Whether every object's weights amount to a split, be they different ones."""
        return self.split is not None or (bool(self.parts) and all(part.split is not None for part in self.parts))

    @property
    def most(self) -> Split:
        """The largest share that the canary is seen to get anywhere."""
        return max(self.split or NOTHING, self.highest or NOTHING)


@dataclass(frozen=True, slots=True)
class Side:
    """
    The pods behind one version.

    ``workloads`` are the names that Istio reports as ``destination_workload``; ``namespace`` theirs; ``uids`` the
    workloads' uids; ``hashes`` the pod-template-hashes of the pods that are not terminating; ``rolled_out`` whether
    every workload runs only its newest template with all replicas available. ``since`` is when the oldest pod of the
    newest template was created (Unix seconds), None where that is not known.
    """

    workloads: tuple[str, ...]
    namespace: str
    uids: tuple[str, ...]
    hashes: tuple[str, ...]
    ready: int
    desired: int
    rolled_out: bool
    why: str = ""
    since: float | None = None


@dataclass(frozen=True, slots=True)
class Difference:
    """Something that stable's pod template says otherwise than the canary's: its dotted ``path``, and in words."""

    path: str
    words: str

    def within(self, paths: Iterable[str]) -> bool:
        """Whether it is at one of ``paths``, or below one."""
        return any(self.path == one or self.path.startswith(f"{one}.") for one in paths)


@dataclass(frozen=True, slots=True)
class Sides:
    """
    Both sides' pods at one moment.

    ``unlike`` is in what stable's pod templates differ from the canary's; None where nobody has compared.
    """

    stable: Side
    canary: Side
    unlike: tuple[Difference, ...] | None = None
