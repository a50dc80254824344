"""Results of walks, kept as JSON so that seeds and machines can be added up, and the intervals of what they say."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field
from math import sqrt
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bench.judge.walk import Outcome

Floats = NDArray[np.float64]
Key = tuple[str, str, int]
"""(scenario, rule, seconds of a cell)"""

RESAMPLES, LEVEL = 400, 0.95


@dataclass(frozen=True, slots=True)
class Results:
    """Outcomes by scenario, rule and cell; ``origins`` say which seeds and which code they come from."""

    outcomes: dict[Key, list[Outcome]] = field(default_factory=dict)
    origins: list[str] = field(default_factory=list)

    def of(self, scenario: str, rule: str, seconds: int) -> list[Outcome]:
        return self.outcomes.get((scenario, rule, seconds), [])


def save(results: Results, path: Path) -> None:
    """Columns rather than objects: a full run has some hundred thousand walks."""
    path.parent.mkdir(parents=True, exist_ok=True)
    columns = [
        {
            "scenario": scenario,
            "rule": rule,
            "seconds": seconds,
            **{name: [_short(asdict(one)[name]) for one in walks] for name in Outcome.__slots__},
        }
        for (scenario, rule, seconds), walks in results.outcomes.items()
    ]
    path.write_text(json.dumps({"origins": results.origins, "walks": columns}), encoding="utf-8")


def _short(value: object) -> object:
    return float(f"{value:.6g}") if isinstance(value, float) else value


def load(paths: Iterable[Path]) -> Results:
    """Several results as one. Raises ValueError where the same seed is in two of them: it would count twice."""
    whole = Results()
    for path in paths:
        read = json.loads(path.read_text(encoding="utf-8"))
        for origin in read["origins"]:
            if origin in whole.origins:
                raise ValueError(f"{path}: {origin} is there already")
            whole.origins.append(origin)
        for column in read["walks"]:
            key = (column["scenario"], column["rule"], column["seconds"])
            rows = zip(*(column[name] for name in Outcome.__slots__), strict=True)
            whole.outcomes.setdefault(key, []).extend(Outcome(*row) for row in rows)
    return whole


@dataclass(frozen=True, slots=True)
class Estimate:
    """A number with its 95 % interval."""

    value: float
    low: float
    high: float


def share(count: int, of: int) -> Estimate:
    """A share with Wilson's interval."""
    if not of:
        return Estimate(float("nan"), 0.0, 1.0)
    z, p = 1.959964, count / of
    middle = (p + z * z / (2 * of)) / (1 + z * z / of)
    half = z / (1 + z * z / of) * sqrt(p * (1 - p) / of + z * z / (4 * of * of))
    return Estimate(p, middle - half if count else 0.0, middle + half if count < of else 1.0)


def bootstrapped(samples: Sequence[Floats], statistic: Callable[[Sequence[Floats]], float]) -> Estimate:
    """``statistic`` of several samples, each resampled by itself (percentile bootstrap, seeded)."""
    chance = np.random.default_rng(1)
    again = [
        statistic([sample[chance.integers(0, len(sample), len(sample))] for sample in samples])
        for _ in range(RESAMPLES)
    ]
    tail = (1 - LEVEL) / 2
    return Estimate(statistic(samples), float(np.quantile(again, tail)), float(np.quantile(again, 1 - tail)))


def column(walks: Sequence[Outcome], name: str) -> Floats:
    """One number of each walk."""
    return np.array([getattr(one, name) for one in walks], dtype=float)


def ended(walks: Sequence[Outcome], end: str) -> int:
    """How many walks ended so."""
    return sum(one.end == end for one in walks)
