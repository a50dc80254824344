"""
The benchmark: `make bench-judge`, or `python -m bench.judge --reps 60 40 --seed 7`.

Results go to a file for each seed and are added up by --merge; only what is drawn anew costs time.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path
from time import monotonic

from bench.judge import pictures
from bench.judge.figures import save_figures
from bench.judge.results import Results, load, save
from bench.judge.rules import RULES
from bench.judge.scenarios import SCENARIOS
from bench.judge.tables import as_markdown
from bench.judge.walk import all_carried_out, tasks

KEPT = Path("bench/judge/results")
PAGE = """# The judge, measured

After this page you know how often the judge is wrong, how soon it finds a bad canary, and where a target is missed.

Written by `python -m bench.judge --merge ... --page`; what the scenarios are is said in
[`bench/judge/scenarios.py`](../bench/judge/scenarios.py), what the rules are in
[`bench/judge/rules.py`](../bench/judge/rules.py), and what follows from it in [judge.md](judge.md).
Intervals are of 95 %: Wilson's for shares, by resampling for the rest.

"""


def main() -> None:
    asked = _asked()
    if asked.merge:
        results = load(asked.merge)
    else:
        results = _carried_out(asked)
        path = asked.out or KEPT / f"seed-{asked.seed}.json"
        save(results, path)
        print(f"kept in {path}", file=sys.stderr)
    if asked.pictures:
        for path in pictures.draw_all(results, asked.pictures):
            print(f"drew {path}", file=sys.stderr)
    if asked.figures:
        save_figures(results, asked.figures)
        print(f"wrote {asked.figures}", file=sys.stderr)
    ticks = sorted({key[2] for key in results.outcomes}, reverse=True)
    tables = as_markdown(results, ticks)
    if asked.page:
        asked.page.write_text(PAGE + tables, encoding="utf-8")
        print(f"wrote {asked.page}", file=sys.stderr)
    print(tables, end="")


def _asked() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.judge", description=__doc__)
    parser.add_argument("--reps", type=int, nargs=2, default=(60, 40), metavar=("HEALTHY", "FAULTY"))
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--ticks", type=int, nargs="+", choices=(15, 30, 60), default=(60, 15), help="seconds of a cell"
    )
    parser.add_argument("--only", nargs="+", default=(), help="parts of scenarios' names")
    parser.add_argument("--rules", nargs="+", choices=tuple(RULES), default=tuple(RULES), metavar="RULE")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--out", type=Path, help="where the results are kept")
    parser.add_argument("--merge", type=Path, nargs="+", help="draw nothing; add up these results")
    parser.add_argument("--figures", type=Path, help="a CSV file for every figure with its interval")
    parser.add_argument("--page", type=Path, help="a Markdown page for the tables")
    parser.add_argument("--pictures", type=Path, help="a folder for the pictures of docs/judge.md")
    return parser.parse_args()


def _carried_out(asked: argparse.Namespace) -> Results:
    names = [name for name in SCENARIOS if not asked.only or any(part in name for part in asked.only)]
    every = list(tasks(names, asked.ticks, asked.seed, tuple(asked.reps), asked.rules))
    reps, ticks = "/".join(map(str, asked.reps)), " and ".join(f"{tick} s" for tick in asked.ticks)
    results = Results(origins=[f"seed {asked.seed}, {reps} repetitions, cells of {ticks}, code {_code()}"])
    begun, told = monotonic(), 0.0
    for done, (task, found) in enumerate(all_carried_out(every, asked.processes), start=1):
        for walks in found:
            for rule, outcome in walks.items():
                results.outcomes.setdefault((task.scenario, rule, task.seconds), []).append(outcome)
        if monotonic() - told > 20:
            told = monotonic()
            print(f"{done} of {len(every)} tasks after {told - begun:.0f} s", file=sys.stderr)
    print(f"{len(every)} tasks in {monotonic() - begun:.0f} s", file=sys.stderr)
    return results


def _code() -> str:
    """The commit that was measured, and whether files differ from it."""
    described = subprocess.run(["git", "describe", "--always", "--dirty"], capture_output=True, text=True, check=False)
    return described.stdout.strip() or "unknown"


if __name__ == "__main__":
    main()
