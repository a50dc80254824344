"""
What was observed against what was expected: one line for each expectation, and the timeline of what happened.

Pure. Facts come from outside canaryd wherever that is possible: the weights from the cluster's own log, the harm from
the clients' books, the exit code from the process. What is promised of every run is asked of every scenario though no
file says so (``_always``): such as that canaryd wrote no weight that its plan does not have, and that after a failure
or an abort it raised none.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from canaryd.lab.scenarios.calendar import Closed
from canaryd.lab.scenarios.format import Expect, Script, Within

EXITS = {
    "promoted": 0,
    "rolled back": 10,
    "aborted": 11,
    "inconclusive": 12,
    "refused": 13,
    "left in flight": 14,
}
"""How ``canaryd run`` says that it ended so; the README lists them."""
FINALLY = {"promoted": 100.0, "rolled back": 0.0, "aborted": 0.0, "inconclusive": 0.0}
"""The canary's weight that an ending implies, percent."""

AT_ONCE = 3.0
"""Seconds within which a foreign weight above the plan's is brought down, where the API answers."""
UNDER_WAY = 2.0
"""Seconds into a closed time in which a write may still arrive that was decided before."""


@dataclass(frozen=True, slots=True)
class Weighed:
    """The canary's weight in the VirtualService from ``at`` on (Unix seconds), in percent, and who wrote it."""

    at: float
    percent: float
    by: str


@dataclass(frozen=True, slots=True)
class Happened:
    """An event of the scenario that happened; ``ended`` is None for one that does not end."""

    name: str
    what: str
    began: float
    ended: float | None = None


@dataclass(frozen=True, slots=True)
class Told:
    """An event that canaryd told, as its journal has it."""

    at: float
    name: str
    reason: str


@dataclass(frozen=True, slots=True)
class Facts:
    """
    What was observed of one telling.

    ``began`` is when the run was begun (Unix seconds), ``seconds`` how long canaryd ran. ``weights`` begins with the
    split at the start, ``apart`` are the canary's weights in the plan's entries where these differed, percent.
    ``missing`` are events that never came, ``closed`` when nothing may rise. ``changed`` is what of the VirtualServices
    is otherwise at the end than at the beginning, weights apart; ``reached`` how many requests of a stream a version
    answered. Requests are counted at the clients, while canaryd ran; ``harmed`` failed at the canary or took more than
    twice as long there as 999 of 1,000 did at stable.
    """

    exit_code: int
    ending: str
    reason: str
    began: float
    seconds: float
    weights: tuple[Weighed, ...] = ()
    apart: tuple[tuple[float, ...], ...] = ()
    told: tuple[Told, ...] = ()
    happened: tuple[Happened, ...] = ()
    missing: tuple[str, ...] = ()
    closed: tuple[Closed, ...] = ()
    entry: Mapping[str, Any] = field(default_factory=dict)
    changed: tuple[str, ...] = ()
    reached: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    answered: int = 0
    failed: int = 0
    canary: int = 0
    canary_failed: int = 0
    harmed: int = 0

    @property
    def largest(self) -> float:
        """The largest weight that canaryd wrote, percent."""
        return max((one.percent for one in self.weights if one.by == "canaryd"), default=0.0)


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the comparison."""

    what: str
    expected: str
    happened: str
    good: bool


def compare(script: Script, facts: Facts) -> tuple[Line, ...]:
    """Every expectation of the scenario beside what happened."""
    expect = script.scenario.expect
    return (*_ending(expect, facts), *_weights(expect, facts), *_words(expect, facts), *_harm(expect, facts),
            *_streams(expect, facts), *_always(script, facts))  # fmt: skip


def as_expected(lines: tuple[Line, ...]) -> bool:
    """Whether every line is good."""
    return all(line.good for line in lines)


def wanted(expect: Expect) -> str:
    """The expectation in a few words, for a table."""
    words = " or ".join(expect.ending)
    words += f" before {expect.before:g} %" if expect.before is not None else ""
    if expect.within:
        words += f" within {expect.within.limit.total_seconds():g} s of {_of(expect.within)}"
    words += f", at most {expect.harmed} harmed" if expect.harmed is not None else ""
    return words


def timeline(facts: Facts) -> tuple[tuple[float, str, str], ...]:
    """(seconds since the run began, who, what) of all that happened, in order."""
    rows = [(one.began, "scenario", one.what) for one in facts.happened]
    rows += [(one.ended, "scenario", f"over: {one.what}") for one in facts.happened if one.ended is not None]
    rows += [(one.at, "canaryd", f"{one.name}: {one.reason}") for one in facts.told]
    rows += [
        (one.at, "mesh", f"the canary's weight is {one.percent:g} % (was {former.percent:g} %), written by {one.by}")
        for former, one in pairwise(facts.weights)
    ]
    rows += [(one.began, "scenario", one.what) for one in facts.closed]
    rows += [(one.ended, "scenario", f"over: {one.what}") for one in facts.closed]
    rows = [row for row in rows if row[0] <= facts.began + facts.seconds]
    return tuple((at - facts.began, who, what) for at, who, what in sorted(rows, key=lambda row: row[0]))


def _ending(expect: Expect, facts: Facts) -> Iterator[Line]:
    yield Line("ending", " or ".join(expect.ending), facts.ending, facts.ending in expect.ending)
    exits = [EXITS[one] for one in expect.ending if one in EXITS]
    if facts.ending in EXITS and exits:
        found = facts.exit_code
        yield Line("exit code", " or ".join(map(str, exits)), str(found), found in exits)


def _weights(expect: Expect, facts: Facts) -> Iterator[Line]:
    if expect.before is not None:
        good = facts.largest < expect.before
        yield Line("largest weight", f"below {expect.before:g} %", f"{facts.largest:g} %", good)
    if expect.at_least is not None:
        good = facts.largest >= expect.at_least
        yield Line("largest weight", f"{expect.at_least:g} % or more", f"{facts.largest:g} %", good)
    if expect.within is not None:
        yield _soon(expect.within, facts)
    final = expect.weight if expect.weight is not None else FINALLY.get(facts.ending)
    if facts.ending == "refused" and final is None and facts.weights:
        final = facts.weights[0].percent  # a refusal changes nothing
    if final is not None and facts.weights:
        last = facts.weights[-1].percent
        yield Line("weight at the end", f"{final:g} %", f"{last:g} %", abs(last - final) < 0.01)
    for key, value in expect.entry.items():
        found = facts.entry.get(key)
        yield Line(f"{key} at the end", str(value), str(found), found == value)


def _soon(within: Within, facts: Facts) -> Line:
    limit = within.limit.total_seconds()
    what, expected = f"canary without traffic after {_of(within)}", f"within {limit:g} s"
    event = next((one for one in facts.happened if one.name == within.of), None)
    since = None if event is None else event.began if within.from_ == "start" else event.ended
    if since is None:
        return Line(what, expected, "it did not happen" if event is None else "it did not end", good=False)
    if (none := _nothing_from(since, facts.weights)) is None:
        return Line(what, expected, "never", good=False)
    return Line(what, expected, f"{none - since:.1f} s", none - since <= limit)


def _nothing_from(since: float, weights: tuple[Weighed, ...]) -> float | None:
    """The first moment from ``since`` on at which the canary's weight is 0."""
    at_that_time = [one for one in weights if one.at <= since]
    if at_that_time and at_that_time[-1].percent == 0:
        return since
    return next((one.at for one in weights if one.at > since and one.percent == 0), None)


def _of(within: Within) -> str:
    return f"the end of {within.of}" if within.from_ == "end" else within.of


def _words(expect: Expect, facts: Facts) -> Iterator[Line]:
    for words in expect.reason:
        yield Line("reason", f"… {words} …", facts.reason, words in facts.reason)
    told = {one.name for one in facts.told}
    for name in expect.told:
        yield Line("told", name, name if name in told else "not told", name in told)
    for words in expect.said:
        found = next((one.reason for one in facts.told if words in one.reason), None)
        yield Line("said", f"… {words} …", found or "not said", found is not None)
    for name in expect.never_told:
        yield Line("never told", name, "not told" if name not in told else name, name not in told)


def _harm(expect: Expect, facts: Facts) -> Iterator[Line]:
    if expect.harmed is not None:
        good = facts.harmed <= expect.harmed
        yield Line("requests harmed at the canary", f"at most {expect.harmed}", str(facts.harmed), good)
    if expect.failed is not None:
        good = facts.failed <= expect.failed
        yield Line("requests failed", f"at most {expect.failed}", str(facts.failed), good)


def _streams(expect: Expect, facts: Facts) -> Iterator[Line]:
    for stream, versions in expect.reached.items():
        for version, least in versions.items():
            found = facts.reached.get(stream, {}).get(version, 0)
            yield Line(f"requests of {stream} at {version}", f"{least} or more", str(found), found >= least)


def changes(before: Mapping[str, Mapping[str, Any]], after: Mapping[str, Mapping[str, Any]]) -> tuple[str, ...]:
    """
    What is otherwise in objects ``after`` than ``before``, by their names: annotations, labels, and the spec without
    weights. A destination with all or some of the traffic that was not there before is what was released.
    """
    found = [f"{name} is {'gone' if name in before else 'new'}" for name in before.keys() ^ after.keys()]
    for name in before.keys() & after.keys():
        first, last = before[name], after[name]
        found += [
            f"{name}: {key} {last['metadata'].get(key)}, not {first['metadata'].get(key)}"
            for key in ("annotations", "labels")
            if (first["metadata"].get(key) or {}) != (last["metadata"].get(key) or {})
        ]
        if _unweighted(first["spec"], last["spec"]) != _unweighted(last["spec"], last["spec"]):
            found.append(f"{name}: its spec is {last['spec']}, not {first['spec']}")
    return tuple(sorted(found))


def _unweighted(spec: Mapping[str, Any], last: Mapping[str, Any]) -> dict[str, Any]:
    """A spec without weights, and with the destinations that were released, as ``last`` has them."""
    entries = []
    for place, entry in enumerate(spec.get("http") or ()):
        route = [{key: value for key, value in one.items() if key != "weight"} for one in entry.get("route") or ()]
        known = [one.get("destination") for one in route]
        others = (last.get("http") or ())[place : place + 1]
        released = [
            {key: value for key, value in one.items() if key != "weight"}
            for other in others
            for one in other.get("route") or ()
            if one.get("destination") not in known and one.get("weight")
        ]
        entries.append({**entry, "route": route + released})
    return {**spec, "http": entries}


def _always(script: Script, facts: Facts) -> Iterator[Line]:
    """What is promised of every run."""
    named = [event.name for event in script.scenario.timeline]
    if named:
        yield Line("events", "all happened", ", ".join(facts.missing) + " did not" if facts.missing else "all happened",
                   not facts.missing)  # fmt: skip
    start = facts.weights[0].percent if facts.weights else 0.0
    allowed = {0.0, 100.0, start, *(step.weight.share * 100 for step in script.plan.spec.steps)}
    if any(event.say and event.say.verb == "adopt" for event in script.scenario.timeline):
        allowed |= {one.percent for one in facts.weights if one.by != "canaryd"}
    written = {one.percent for one in facts.weights if one.by == "canaryd"}
    foreign = sorted(one for one in written if min(abs(one - each) for each in allowed) > 0.01)
    found = ", ".join(f"{one:g} %" for one in foreign)
    yield Line("weights written by canaryd", "only the plan's", found or "only the plan's", not foreign)
    if facts.ending in FINALLY and not any(event.act in ("edit", "gitops") for event in script.scenario.timeline):
        left = "; ".join(facts.changed)
        yield Line("VirtualServices at the end", "as before but for weights", left or "as before but for weights",
                   not left)  # fmt: skip
    if len(script.plan.spec.target.routes) > 1:
        found = "; ".join(" and ".join(f"{one:g} %" for one in each) for each in facts.apart)
        yield Line("entries of the plan", "move together", found or "move together", not facts.apart)
    risen = _risen(facts)
    yield from _brought_down(facts)
    yield from _closed(facts)
    yield Line("after a failure", "never rises", f"rises to {risen:g} %" if risen else "never rises", risen is None)


def _brought_down(facts: Facts) -> Iterator[Line]:
    """Weights above what canaryd had written, by somebody else: toward the canary they do not stand for long."""
    ours = facts.weights[0].percent if facts.weights else 0.0
    for place, one in enumerate(facts.weights):
        if one.by == "canaryd":
            ours = one.percent
        elif place and one.percent > ours:
            after = next((each.at for each in facts.weights[place + 1 :] if each.percent <= ours), None)
            found = "it stays" if after is None else f"after {after - one.at:.1f} s"
            good = after is not None and after - one.at <= AT_ONCE
            yield Line(f"a foreign {one.percent:g} %", f"brought down within {AT_ONCE:g} s", found, good)


def _closed(facts: Facts) -> Iterator[Line]:
    """While nothing may rise canaryd raises nothing; a time that came only after the run's end says nothing of that."""
    for one in facts.closed:
        risen = next(
            (
                later
                for former, later in pairwise(facts.weights)
                if later.by == "canaryd"
                and later.percent > former.percent
                and one.began + UNDER_WAY < later.at < one.ended
            ),
            None,
        )
        came = one.began < facts.began + facts.seconds
        found = "nothing rises" if came else "it did not come"
        found = f"rises to {risen.percent:g} % after {risen.at - one.began:.1f} s" if risen else found
        yield Line(one.what, "nothing rises", found, came and risen is None)


def _risen(facts: Facts) -> float | None:
    """A weight to which canaryd raised the canary after it had begun to roll back."""
    back = next((one.at for one in facts.told if one.name == "run.rolling_back"), None)
    if back is None:
        return None
    return next(
        (
            one.percent
            for former, one in pairwise(facts.weights)
            if one.at > back and one.by == "canaryd" and one.percent > former.percent
        ),
        None,
    )
