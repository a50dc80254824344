"""
A world for electors without threads: one clock, one Lease, and everything that can go wrong between any two lines.

The electors are the real ones; only their threads are not started. The world calls what the threads would call, also in
the middle of another elector's request or of its look at the clock, which is how a process is paused there.
"""

from __future__ import annotations

import contextlib
import copy
import random
from collections.abc import Callable
from typing import Any

from canaryd.cluster.elector import Elector
from canaryd.errors import CanarydError, Conflict, Unavailable
from canaryd.kube import Missing, Throttled

DURATION, DEADLINE, RETRY = 15.0, 10.0, 2.0
Object = dict[str, Any]


class Candidate:
    """One process: an elector, and what was called in it."""

    def __init__(self, world: World, name: str) -> None:
        self.world, self.name = world, name
        self.alive, self.busy, self.ended = True, False, False
        self.calls: list[tuple[str, Any]] = []
        self.terms: list[int] = []
        self.ask_at = 0.0
        self.elector = Elector(
            Api(world, self),  # type: ignore[arg-type]
            "default",
            "canaryd",
            name,
            duration=DURATION,
            renew_deadline=DEADLINE,
            retry=RETRY,
            on_started=self._started,
            on_stopped=self._stopped,
            clock=lambda: world.look(self),
            die=self._die,
        )

    @property
    def at_work(self) -> bool:
        """Between on_started and the return of on_stopped."""
        return self.alive and bool(self.calls) and self.calls[-1][0] != "stopped"

    def ask(self) -> None:
        if self.busy or not self.alive:
            return
        self.busy = True
        try:
            self.ask_at = self.world.now + self.elector._turn()
        finally:
            self.busy = False

    def call(self) -> None:
        if not self.alive:
            return
        with self.elector._changed:
            due = self.elector._due()
        if due is not None:
            due()

    def guard(self) -> None:
        if not self.alive:
            return
        with self.elector._changed:
            overdue = self.elector._overdue()
        if overdue:
            self._die("overdue")

    def _started(self, term: int) -> None:
        assert not self.at_work, f"{self.name} was started twice"
        self.calls.append(("started", term))
        self.terms.append(term)
        self.world.check()

    def _stopped(self, reason: str) -> None:
        assert self.calls, f"{self.name} was stopped before it was started"
        assert self.calls[-1][0] == "started", f"{self.name} was stopped twice"
        assert not self.elector.valid()
        self.calls.append(("stopping", reason))
        self.world.work(self)
        self.calls.append(("stopped", reason))

    def _die(self, why: str) -> None:
        self.alive, self.ended = False, True
        self.world.deaths.append((self.name, why))


class Api:
    """The API server as one candidate reaches it."""

    def __init__(self, world: World, who: Candidate) -> None:
        self._world, self._who = world, who

    def another(self, *, timeout: float | None = None) -> Api:
        assert timeout is not None
        assert timeout < DEADLINE / 3
        self.timeout = timeout
        return self

    def get(self, kind: Any, namespace: str, name: str) -> Object:
        return self._ask(self._world.read)

    def create(self, kind: Any, namespace: str, body: Object) -> Object:
        sent = copy.deepcopy(body)
        return self._ask(lambda: self._world.create(sent))

    def replace(self, kind: Any, namespace: str, name: str, body: Object) -> Object:
        sent = copy.deepcopy(body)
        return self._ask(lambda: self._world.replace(sent))

    def _ask(self, what: Callable[[], Object]) -> Object:
        world, chance = self._world, self._world.chance
        world.pass_time(self._who)
        fault = chance.choice(world.faults) if world.faults and chance.random() < world.trouble else ""
        if fault == "before":
            raise Unavailable("reset")
        if fault == "conflict":
            raise Conflict("somebody wrote")
        if fault == "throttled":
            raise Throttled("busy", chance.choice([1.0, 5.0, 60.0]))
        if fault == "hang":
            world.advance(self._who, self.timeout)
            raise Unavailable("late")
        if fault == "late":  # given up, and done afterwards
            world.later.append(what)
            world.advance(self._who, self.timeout)
            raise Unavailable("late")
        answer = what()
        world.pass_time(self._who)
        if fault == "after":
            raise Unavailable("reset")
        return answer


class World:
    """``pauses``: processes stand still between any two lines, also for longer than a Lease."""

    def __init__(self, seed: int, candidates: int, *, pauses: bool, faults: tuple[str, ...] = (), hands: bool = False):
        self.chance = random.Random(seed)
        random.seed(seed)
        self.now = 1000.0
        self.pauses, self.faults, self.hands = pauses, faults, hands
        self.trouble = self.chance.choice([0.0, 0.1, 0.5, 0.95])
        self.version = 1
        self.lease: Object | None = None
        self.later: list[Callable[[], Object]] = []
        self.deaths: list[tuple[str, str]] = []
        self.log: list[tuple[float, str]] = []
        self.strict = not pauses
        self.broken = ""
        self._frozen = False
        self._depth = 0
        self.former: list[Candidate] = []
        self.all = [Candidate(self, name) for name in "abc"[:candidates]]

    # -- the server

    def read(self) -> Object:
        if self.lease is None:
            raise Missing("gone")
        return copy.deepcopy(self.lease)

    def create(self, body: Object) -> Object:
        if self.lease is not None:
            raise Conflict("there is one")
        return self._store(body)

    def replace(self, body: Object) -> Object:
        if self.lease is None:
            raise Missing("gone")
        if body["metadata"]["resourceVersion"] != self.lease["metadata"]["resourceVersion"]:
            raise Conflict("somebody wrote")
        return self._store(body)

    def _store(self, body: Object) -> Object:
        self.version += 1
        self.lease = copy.deepcopy(body)
        self.lease["metadata"]["resourceVersion"] = str(self.version)
        self.log.append((self.now, str(body["spec"])))
        return copy.deepcopy(self.lease)

    # -- time

    def look(self, who: Candidate) -> float:
        """A process looks at the clock; before and after it may stand still while the others go on."""
        if self._frozen:
            return self.now
        if self.pauses:
            self._stand_still(who)
        seen = self.now
        if self.pauses:
            self._stand_still(who)
        return seen

    def advance(self, who: Candidate | None, seconds: float) -> None:
        """Time passes while ``who`` waits, and the others go on; its own other threads too."""
        until = self.now + seconds
        while self.now < until:
            self.now = min(until, self.now + self.chance.uniform(0.05, 0.4))
            self.check()
            self.meanwhile(who)

    def pass_time(self, who: Candidate) -> None:
        """What a request takes."""
        if self.pauses:
            self._stand_still(who)
        self.advance(who, self.chance.uniform(0.0, 0.05))

    def _stand_still(self, who: Candidate) -> None:
        if self._depth >= 3 or self.chance.random() > 0.15:
            return
        self._depth += 1
        try:
            until = self.now + self.chance.choice([0.1, 1.0, DEADLINE, DURATION, 2 * DURATION]) * self.chance.random()
            while self.now < until:
                self.now += self.chance.uniform(0.1, 3.0)
                self.check()
                other = self.chance.choice(self.all)
                if other is not who:
                    self.chance.choice([other.ask, other.call, other.guard])()
                    self.check()
                self._late()
        finally:
            self._depth -= 1

    def meanwhile(self, who: Candidate | None) -> None:
        """All threads get their turn, except the one that waits."""
        if self._depth >= 3:
            return
        self._depth += 1
        try:
            for one in self.all:
                if one is who and self.pauses:
                    continue
                one.guard()
                if one is not who:
                    one.call()
                    if self.now >= one.ask_at:
                        one.ask()
                else:
                    one.call()
                self.check()
            self._late()
        finally:
            self._depth -= 1

    def _late(self) -> None:
        if self.later and self.chance.random() < 0.1:
            with contextlib.suppress(CanarydError):
                self.later.pop(0)()

    def work(self, who: Candidate) -> None:
        """What on_stopped takes."""
        if not self.pauses:
            self.now += self.chance.uniform(0.0, 0.5)
            self.check()

    # -- what must hold

    def check(self) -> None:
        """What is found in a callback is found again by the next check: an elector survives its callbacks."""
        self._frozen = True
        try:
            valid = [one.name for one in self.all if one.alive and one.elector.valid()]
            at_work = [one.name for one in self.all if one.at_work] if self.strict else []
        finally:
            self._frozen = False
        for what, who in (("are valid", valid), ("work", at_work)):
            if len(who) > 1:
                self.broken = f"{who} {what} at once at {self.now:.2f}: {self.log[-6:]}"
        assert not self.broken, self.broken

    def leader(self) -> Candidate | None:
        self._frozen = True
        try:
            return next((one for one in self.all if one.alive and one.elector.valid()), None)
        finally:
            self._frozen = False

    # -- running it

    def run(self, seconds: float) -> None:
        until = self.now + seconds
        while self.now < until:
            self.now += self.chance.uniform(0.05, 0.3)
            self.check()
            self.meanwhile(None)
            if self.pauses:
                one = self.chance.choice(self.all)
                self.chance.choice([one.ask, one.call, one.guard])()
                self.check()
            if self.chance.random() < 0.05:
                self.restart()
            if self.hands and self.chance.random() < 0.01:
                self._somebody()

    def restart(self) -> None:
        """Processes that ended come again, and know nothing."""
        for one in [one for one in self.all if one.ended]:
            self.all.remove(one)
            self.former.append(one)
            self.all.append(Candidate(self, one.name))

    def _somebody(self) -> None:
        """A person deletes the Lease, annotates it, or writes nonsense into it."""
        what = self.chance.choice(["delete", "annotate", "empty", "garbage", "steal"])
        self.log.append((self.now, what))
        if what == "delete" or self.lease is None:
            self.lease = None
            return
        self.version += 1
        self.lease["metadata"]["resourceVersion"] = str(self.version)
        if what == "annotate":
            self.lease["metadata"]["annotations"] = {"at": str(self.now)}
        elif what == "empty":
            self.lease.pop("spec", None)
        elif what == "garbage":
            self.lease["spec"] = self.chance.choice(
                [None, {}, {"holderIdentity": ""}, {"holderIdentity": 7, "leaseDurationSeconds": "x"},
                 {"leaseTransitions": -4, "renewTime": "yesterday"}]
            )  # fmt: skip
        else:
            self.lease["spec"] = {"holderIdentity": "somebody", "leaseDurationSeconds": self.chance.choice([15, 20])}
