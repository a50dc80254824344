"""
What one cell costs the judge: `python bench/judge_cell.py`. The budget is 1 ms.
"""

from __future__ import annotations

from time import perf_counter

from canaryd.judge import advance, begin, weigh
from canaryd.model.cells import Cell, Counts
from canaryd.model.plan import Analysis
from canaryd.model.traffic import Split

MILLISECONDS = "0.5 1 5 10 25 50 100 250 500 1000 2500 5000 10000 30000 60000 300000 600000 1800000 3600000"
BOUNDS = tuple(map(float, MILLISECONDS.split()))
SHAPE = (0, 0, 20, 300, 2000, 1500, 500, 120, 30, 8, 2, 1, 0, 0, 0, 0, 0, 0, 0, 0)
CELLS = 2000


def cell_at(index: int, percent: int) -> Cell:
    """Both sides alike, at ``percent``."""
    canary = tuple(float(count * percent // 100) for count in SHAPE)
    stable = tuple(count - ours for count, ours in zip(map(float, SHAPE), canary, strict=True))
    sides = (Counts(sum(buckets) + 5, 5.0 if sum(buckets) else 0.0, buckets) for buckets in (stable, canary))
    start = 15.0 * index
    return Cell(0 if percent == 0 else 1, start, start + 15, Split.percent(percent), True, BOUNDS, *sides)


def main() -> None:
    analysis = Analysis()
    state = begin(analysis)
    for index in range(20):
        state = advance(analysis, state, cell_at(index, 0))
    cells = [cell_at(index, 25) for index in range(20, 20 + CELLS)]
    start = perf_counter()
    for cell in cells:
        state = advance(analysis, state, cell)
    took = perf_counter() - start
    start = perf_counter()
    for _ in range(100):
        weigh(analysis, state)
    weighed = perf_counter() - start
    print(f"advance: {1000 * took / CELLS:.3f} ms per cell over {CELLS} cells; weigh: {10 * weighed:.3f} ms")


if __name__ == "__main__":
    main()
