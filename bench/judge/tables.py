"""The tables: each target beside what was measured, and each scenario beside each rule."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import isnan

import numpy as np

from bench.judge.figures import Figure, mean
from bench.judge.limit import least
from bench.judge.results import Estimate, Floats, Results, bootstrapped, column, ended, share
from bench.judge.rules import RULES
from bench.judge.scenarios import FAULTY, HEALTHY, Scenario
from bench.judge.walk import Outcome

OURS = "canaryd"


@dataclass(frozen=True, slots=True)
class Target:
    """A line of the table: what was wanted (``most`` is the bound), and what was measured, and where."""

    name: str
    seconds: int
    most: float
    found: Estimate
    unit: str = ""
    where: str = ""

    @property
    def met(self) -> bool:
        return self.found.value <= self.most * (1 + 1e-9)


def targets(results: Results, ticks: Sequence[int]) -> list[Target]:
    """Every target that the results can speak of."""
    lines = [line for seconds in ticks for line in _of_ticks(results, seconds)]
    if {15, 60} <= set(ticks) and (ratio := _harm_ratio(results, (OURS, 15), (OURS, 60))):
        lines.append(Target("harmed, 15 s cells / 60 s cells, median of the faulty", 15, 0.8, ratio))
    return [line for line in lines if not isnan(line.found.value)]


def _of_ticks(results: Results, seconds: int) -> Iterator[Target]:
    fine = seconds < 60
    plain = [one for one in HEALTHY if one.kind == "plain"]
    odd = [one for one in HEALTHY if one.kind == "odd"]
    yield from _false(results, plain, "plain", seconds, 0.01, 0.003 if fine else 0.0015)
    yield from _false(results, odd, "bursty or skewed", seconds, 0.02, 0.005)
    yield _worst(results, list(FAULTY), "faulty promoted, each", "promote", seconds, 0.0)
    for name, coarse, finer in (
        ("0.1 -> 0.3 % at 100 rps", 2.4, 2.3),
        ("0.1 -> 0.5 % at 100 rps", 2.5, 2.1),
        ("1 -> 2 % at 100 rps", 2.8, 2.2),
        ("p99 doubled", 6, 4.5),
        ("2 % a second slower", 9, 7),
        ("median +20 %", 8.5, 7),
    ):
        yield _over(results, name, seconds, finer if fine else coarse)
    for name, coarse, finer in (("0.1 -> 5 % at 100 rps", 9, 6), ("0.1 -> 100 % at 100 rps", 61, 17)):
        found = _median(column(results.of(name, OURS, seconds), "failed"))
        yield Target(f"failed until rollback, {name}", seconds, finer if fine else coarse, found, "requests")
    yield from _promotion(results, plain, seconds, 45 if fine else 44)
    slow = [one for one in HEALTHY if one.rps == 1]
    yield _worst(results, slow, "rolled back at 1 rps, each", "rollback", seconds, 0.01)
    if not fine:
        for rule, most in (("flagger", 0.40), ("argo", 0.52), ("kayenta", 0.21), ("oracle", 2.3)):
            if ratio := _harm_ratio(results, (OURS, seconds), (rule, seconds)):
                yield Target(f"harmed, canaryd / {rule}, median of the faulty", seconds, most, ratio)
    edge = [one for one in HEALTHY if one.kind == "edge"]
    yield _worst(results, edge, "narrow latency at a bound, rolled back", "rollback", seconds, 0.02)


def _false(
    results: Results, scenarios: list[Scenario], kind: str, seconds: int, each: float, together: float
) -> Iterator[Target]:
    yield _worst(results, scenarios, f"false rollback, each {kind}", "rollback", seconds, each)
    walks = [one for scenario in scenarios for one in results.of(scenario.name, OURS, seconds)]
    found = share(ended(walks, "rollback"), len(walks))
    yield Target(f"false rollback, {kind} together", seconds, together, found, "%")


def _worst(results: Results, scenarios: list[Scenario], name: str, end: str, seconds: int, most: float) -> Target:
    found = []
    for scenario in scenarios:
        walks = results.of(scenario.name, OURS, seconds)
        if walks:
            found.append((share(ended(walks, end), len(walks)), scenario.name))
    if not found:
        return Target(name, seconds, most, Estimate(float("nan"), 0, 1))
    worst = max(found, key=lambda one: one[0].value)
    return Target(name, seconds, most, worst[0], "%", worst[1] if worst[0].value else "")


def _over(results: Results, name: str, seconds: int, most: float) -> Target:
    """Mean information until the end over the least that any test needs; also of walks that found nothing."""
    nats = column(results.of(name, OURS, seconds), "nats")
    found = mean(nats / least()) if len(nats) else Estimate(float("nan"), 0, 0)
    return Target(f"samples over the bound, {name}", seconds, most, found, "times")


def _promotion(results: Results, plain: list[Scenario], seconds: int, most: float) -> Iterator[Target]:
    """Proof takes three minutes at 50 %, after 40 minutes of ramp and the settle time: 43.5 is the least at 15 s."""
    quiet = [one for one in plain if one.rps >= 100 and "incident" not in one.name]
    walks = [one for scenario in quiet for one in results.of(scenario.name, OURS, seconds)]
    promoted = [one for one in walks if one.end == "promote"]
    yield Target(
        "minute of promotion, plain at >= 100 rps, median", seconds, most, _median(column(promoted, "minutes"))
    )
    late = np.quantile(column(promoted, "minutes"), 0.95) if promoted else float("nan")
    yield Target(
        "the same, 95th percentile, within the ramp", seconds, 50, Estimate(float(late), float(late), float(late))
    )
    name = "inconclusive, plain at >= 100 rps, each"
    yield _worst(results, quiet, name, "inconclusive", seconds, 0.0)


def _harm_ratio(results: Results, ours: tuple[str, int], theirs: tuple[str, int]) -> Estimate | None:
    """Median over the faulty scenarios of the ratio of mean harm."""
    pairs = [(results.of(one.name, *ours), results.of(one.name, *theirs)) for one in FAULTY]
    samples = [column(walks, "harmed") for pair in pairs if all(pair) for walks in pair]
    if not samples:
        return None

    def statistic(drawn: Sequence[Floats]) -> float:
        means = [max(1e-9, float(sample.mean())) for sample in drawn]
        return float(np.median(np.array(means[0::2]) / np.array(means[1::2])))

    return bootstrapped(samples, statistic)


def _median(values: Floats) -> Estimate:
    if not len(values):
        return Estimate(float("nan"), 0, 0)
    return bootstrapped([values], lambda drawn: float(np.median(drawn[0])))


# ---------------------------------------------------------------------------------------------------------------------
# As Markdown


def as_markdown(results: Results, ticks: Sequence[int]) -> str:
    """All tables."""
    parts = [_targets_table(targets(results, ticks))]
    for seconds in ticks:
        parts += [_ours_table(results, seconds), _scenarios_table(results, seconds), _summary_table(results, seconds)]
    walks = [one for key, each in results.outcomes.items() if key[1] == OURS for one in each]
    cells = sum(one.cells for one in walks)
    if cells:
        parts.append(f"{1000 * sum(one.cpu for one in walks) / cells:.2f} ms of processor time a cell.")
    parts.append("Origins: " + "; ".join(results.origins))
    return "\n\n".join(parts) + "\n"


def _targets_table(lines: list[Target]) -> str:
    rows = [
        (
            line.name,
            f"{line.seconds} s",
            _number(line.most, line.unit),
            _estimate(line.found, line.unit),
            "met" if line.met else f"**missed by {_number(line.found.value - line.most, line.unit)}**",
            line.where,
        )
        for line in lines
    ]
    met = sum(line.met for line in lines)
    return (
        _table(("target", "cells", "at most", "measured (95 %)", "", "where"), rows) + f"\n\n{met} of {len(lines)} met."
    )


def _ours_table(results: Results, seconds: int) -> str:
    """What the judge does in each scenario, with intervals."""
    rows = []
    for scenario in (*HEALTHY, *FAULTY):
        if walks := results.of(scenario.name, OURS, seconds):
            one = Figure.of(scenario.name, OURS, seconds, walks)
            ends = (_estimate(found, "%") for found in (one.rolled_back, one.promoted))
            harmed, samples = (_estimate(one.harmed, ""), one.samples) if scenario.faulty else ("", None)
            over = _estimate(samples, "times") if samples else ""
            rows.append((scenario.name, str(one.walks), *ends, _estimate(one.minutes, ""), harmed, over))
    head = ("scenario", "walks", "rolled back", "promoted", "minute of the end, median", "harmed, mean", "samples")
    return f"Cells of {seconds} s: canaryd (95 %); samples are over the bound\n\n" + _table(head, rows)


def _scenarios_table(results: Results, seconds: int) -> str:
    """Per scenario and rule: rolled back / promoted of all, minute of the end (median), harmed (mean)."""
    rules = [name for name in RULES if any(key[1:] == (name, seconds) for key in results.outcomes)]
    rows = []
    for scenario in (*HEALTHY, *FAULTY):
        cells = [_walks(results.of(scenario.name, rule, seconds), scenario.faulty) for rule in rules]
        if any(cells):
            rows.append((scenario.name, *cells))
    title = (
        f"Cells of {seconds} s: rolled back / promoted in percent, minute of the end (median), harmed requests (mean)"
    )
    return f"{title}\n\n" + _table(("scenario", *rules), rows)


def _walks(walks: list[Outcome], faulty: bool) -> str:
    if not walks:
        return ""
    back, ahead = (100 * ended(walks, end) / len(walks) for end in ("rollback", "promote"))
    minute = np.median(column(walks, "minutes"))
    harmed = f", {column(walks, 'harmed').mean():,.0f}" if faulty else ""
    return f"{back:.3g} / {ahead:.3g}, {minute:g}{harmed}"


def _summary_table(results: Results, seconds: int) -> str:
    rows = []
    for rule in RULES:
        healthy = [one for scenario in HEALTHY for one in results.of(scenario.name, rule, seconds)]
        faulty = [one for scenario in FAULTY for one in results.of(scenario.name, rule, seconds)]
        if healthy and faulty:
            ratio = _harm_ratio(results, (rule, seconds), (OURS, seconds)) if rule != OURS else None
            rows.append(
                (
                    rule,
                    _estimate(share(ended(healthy, "rollback"), len(healthy)), "%"),
                    _estimate(share(ended(faulty, "promote"), len(faulty)), "%"),
                    _estimate(ratio, "times") if ratio else "1 times",
                )
            )
    head = ("rule", "healthy rolled back", "faulty promoted", "harmed, as a multiple of canaryd's (median scenario)")
    return f"Cells of {seconds} s, all scenarios together\n\n" + _table(head, rows)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _number(value: float, unit: str) -> str:
    return f"{100 * value:.3g} %" if unit == "%" else f"{value:.3g}"


def _estimate(found: Estimate, unit: str) -> str:
    scale = 100 if unit == "%" else 1
    tail = f" {unit}" if unit else ""
    return f"{scale * found.value:.3g}{tail} ({scale * found.low:.3g} to {scale * found.high:.3g})"
