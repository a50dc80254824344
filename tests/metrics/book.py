"""
What a Prometheus would hold: counters as functions of time, seen through its scrapes.

Everything is a pure function of time, so the same window gives the same rows however often and from whichever process
it is asked. The arithmetic repeats the semantics of the queries in `canaryd.metrics.promql` sample by sample; the
contract suite holds it against a real Prometheus.
"""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from canaryd.metrics import parse, promql

Counter = Callable[[float], "float | None"]
"""The value of a counter at a moment in Unix seconds; None while its target does not expose it."""

HOUR = 3600.0
MATCHER = re.compile(r'(\w+)(=~|!~|!=|=)"((?:[^"\\]|\\.)*)"')


@dataclass(frozen=True, slots=True)
class Series:
    """A series of a target."""

    name: str
    labels: Mapping[str, str]
    value: Counter
    target: str = "client"


@dataclass(slots=True)
class Book:
    """Series, scraped at multiples of ``scrape`` seconds, except in ``outages`` (from, to) and before ``born``."""

    scrape: float = 15.0
    series: list[Series] = field(default_factory=list)
    outages: list[tuple[float, float]] = field(default_factory=list)
    born: float = -math.inf

    def requests(self, selectors: Iterable[str], start: float, end: float) -> list[parse.Row]:
        """The rows of `promql.requests`, given its selectors."""
        return self._sums(selectors, (*promql.OUTCOME, *promql.CALL), start, end)

    def counted(self, selector: str, start: float, end: float) -> list[parse.Row]:
        """The rows of `promql.counted`, given its selector."""
        return self._sums((selector,), promql.OUTCOME, start, end)

    def reporters(self, selector: str, start: float, end: float) -> list[parse.Row]:
        """The rows of `promql.reporters`, given its selector."""
        return self._sums((selector,), ("reporter",), start, end)

    def durations(self, selectors: Iterable[str], start: float, end: float) -> list[parse.Row]:
        """The rows of `promql.durations`, given its selector."""
        return self._sums(selectors, ("le", *promql.OUTCOME), start, end)

    def pods(self, all_: str, uninjected: str, start: float, end: float) -> list[parse.Row]:
        """The rows of `promql.pods`, given its two selectors."""
        without = [delta for one in self.select(uninjected) if (delta := self.delta(one, start, end)) is not None]
        told = [parse.Row({promql.KIND: promql.UNINJECTED}, sum(without))] if without else []
        return [*self._sums((all_,), (*promql.POD, *promql.OUTCOME), start, end), *told]

    def scrapes(self, hosts: str, durations: str, start: float, end: float) -> list[parse.Row]:
        """The rows of `promql.scrapes`, given its two selectors."""
        of_hosts = list(self.select(hosts))
        now = [series for series in of_hosts if self.instant(series, end)]
        at = {
            "end": [sample[0] for series in of_hosts if (sample := self.instant(series, end))],
            "start": [sample[0] for series in of_hosts if (sample := self.instant(series, start))],
        }
        facts = {kind: max(times) for kind, times in at.items() if times}
        if known := sum(self.last(series, start) is not None for series in of_hosts):
            facts["known"] = known
        caught_up = [
            delta
            for series in now
            if self.last(series, start) is not None
            and self.instant(series, start) is None
            and (delta := self.delta(series, start, end)) is not None
        ]
        if caught_up:
            facts["late"] = sum(caught_up)
        tick = self._tick(start)
        if now and tick >= self.born and not self._failed(tick):
            facts["target"] = tick
        per_bound: dict[str, int] = defaultdict(int)
        for series in self.select(durations):
            per_bound[series.labels["le"]] += self.instant(series, end) is not None
        if len({count for count in per_bound.values() if count}) > 1:
            facts["mixed"] = max(per_bound.values())
        return [parse.Row({promql.KIND: kind}, value) for kind, value in facts.items()]

    def values(self, query: str, at: float) -> list[parse.Row] | None:
        """The answer to `name{...}` or to `sum(name{...})`; None for any other query."""
        found = re.fullmatch(r"(sum\()?(\w+\{[^()]*\})(?(1)\))", query)
        if found is None:
            return None
        rows = [
            parse.Row({"__name__": series.name, **series.labels}, sample[1])
            for series in self.select(found[2])
            if (sample := self.instant(series, at)) is not None
        ]
        return [parse.Row({}, sum(row.value for row in rows))] if found[1] and rows else rows

    def scraped(self, start: float, end: float) -> list[float]:
        """The good scrapes after ``start``, up to ``end``."""
        ticks = [tick * self.scrape for tick in range(int(start // self.scrape) + 1, int(end // self.scrape) + 1)]
        return [tick for tick in ticks if tick >= self.born and not self._failed(tick)]

    def select(self, selector: str) -> Iterable[Series]:
        """The series that a selector such as `name{label="value"}` finds."""
        name, _, matchers = selector.partition("{")
        tests = MATCHER.findall(matchers)
        return (
            series
            for series in self.series
            if series.name == name and all(_matches(series.labels.get(label, ""), *test) for label, *test in tests)
        )

    def instant(self, series: Series, moment: float) -> tuple[float, float] | None:
        """Time and value of the sample at ``moment``; None where the latest scrape failed or found no such series."""
        return self._sample(series, self._tick(moment))

    def last(self, series: Series, moment: float) -> float | None:
        """`last_over_time(...[1h])` at ``moment``."""
        tick = self._tick(moment)
        while tick > moment - HOUR and tick >= self.born:
            sample = self._sample(series, tick)
            if sample is not None:
                return sample[1]
            tick = self._tick(tick - self.scrape / 2)
        return None

    def delta(self, series: Series, start: float, end: float) -> float | None:
        """`promql.delta` of one series; None where it has no row."""
        sample = self.instant(series, end)
        if sample is None:
            return None
        now, before = sample[1], self.last(series, start)
        if before is None:
            return now
        if now >= before:
            return now - before
        return now if now < 0.5 * before else None

    def _sums(self, selectors: Iterable[str], by: tuple[str, ...], start: float, end: float) -> list[parse.Row]:
        sums: dict[tuple[str, ...], float] = {}
        for series in {id(series): series for selector in selectors for series in self.select(selector)}.values():
            delta = self.delta(series, start, end)
            if delta is not None:
                key = tuple(series.labels.get(label, "") for label in by)
                sums[key] = sums.get(key, 0.0) + delta
        return [
            parse.Row({label: value for label, value in zip(by, key, strict=True) if value}, total)
            for key, total in sums.items()
        ]

    def _sample(self, series: Series, tick: float) -> tuple[float, float] | None:
        if tick < self.born or self._failed(tick):
            return None
        value = series.value(tick)
        return None if value is None else (tick, value)

    def _tick(self, moment: float) -> float:
        return math.floor(moment / self.scrape + 1e-9) * self.scrape

    def _failed(self, tick: float) -> bool:
        return any(start <= tick < end for start, end in self.outages)


def _matches(value: str, operator: str, wanted: str) -> bool:
    wanted = wanted.replace("\\\\", "\\").replace('\\"', '"')
    equal = re.fullmatch(wanted, value) is not None if "~" in operator else value == wanted
    return equal != operator.startswith("!")
