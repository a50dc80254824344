"""Every figure with its interval, as a table for machines: one row for each scenario, rule and length of cells."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bench.judge.limit import least
from bench.judge.results import Estimate, Floats, Results, bootstrapped, column, ended, share
from bench.judge.scenarios import SCENARIOS
from bench.judge.walk import Outcome


@dataclass(frozen=True, slots=True)
class Figure:
    """
    What became of the walks of one rule through one scenario in cells of ``seconds``, with 95 % intervals.

    Shares of all ``walks``; ``minutes`` until the end (median); ``harmed`` canary requests and ``failed`` ones among
    them (means); ``samples`` until the end as a multiple of what any test needs (mean; faulty scenarios only).
    """

    scenario: str
    rule: str
    seconds: int
    walks: int
    rolled_back: Estimate
    promoted: Estimate
    minutes: Estimate
    harmed: Estimate
    failed: Estimate
    samples: Estimate | None

    @classmethod
    def of(cls, scenario: str, rule: str, seconds: int, walks: list[Outcome]) -> Figure:
        known = len(walks)
        return cls(
            scenario,
            rule,
            seconds,
            known,
            share(ended(walks, "rollback"), known),
            share(ended(walks, "promote"), known),
            bootstrapped([column(walks, "minutes")], lambda drawn: float(np.median(drawn[0]))),
            mean(column(walks, "harmed")),
            mean(column(walks, "failed")),
            mean(column(walks, "nats") / least()) if SCENARIOS[scenario].faulty else None,
        )


def mean(values: Floats) -> Estimate:
    """The mean, resampled for its interval."""
    return bootstrapped([values], lambda drawn: float(np.mean(drawn[0])))


def figures(results: Results) -> Iterator[Figure]:
    """One figure for each scenario, rule and length of cells that there are walks of."""
    for (scenario, rule, seconds), walks in results.outcomes.items():
        if walks:
            yield Figure.of(scenario, rule, seconds, walks)


def save_figures(results: Results, path: Path) -> None:
    """All figures as CSV, each with the two ends of its interval beside it."""
    estimates = ("rolled_back", "promoted", "minutes", "harmed", "failed", "samples")
    head = ["scenario", "kind", "rule", "cell_s", "walks"]
    head += [f"{name}{end}" for name in estimates for end in ("", "_low", "_high")]
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(head)
        for one in figures(results):
            row: list[object] = [one.scenario, SCENARIOS[one.scenario].kind, one.rule, one.seconds, one.walks]
            for name in estimates:
                found: Estimate | None = getattr(one, name)
                row += ["", "", ""] if found is None else [f"{x:.4g}" for x in (found.value, found.low, found.high)]
            writer.writerow(row)
