"""
Trials: what canaryd promises, tried again and again on the lab, on observed requests.

A trial is a scenario of the library, told so many times with as many seeds. ``python -m canaryd.lab.trials`` runs them
all, some labs side by side, and prints the table that the documentation shows.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.progress import Progress

from canaryd.lab.scenarios.format import load_scenario
from canaryd.lab.scenarios.suite import Result, tell_all


@dataclass(frozen=True)
class Trial:
    """``runs`` times the scenario of that name; at least ``least`` of them must end as it expects."""

    scenario: str
    runs: int
    least: int


TRIALS = (
    Trial("errors", 10, 9),
    Trial("small", 5, 5),
    Trial("tail", 10, 9),
    Trial("healthy", 20, 19),
    Trial("incident", 5, 5),
    Trial("drained", 5, 5),
    Trial("grpc", 3, 3),
    Trial("away-healthy", 2, 2),
    Trial("away-faulty", 2, 2),
)


def table(results: Sequence[Result]) -> str:
    """The results as a Markdown table, a line a trial."""
    rows = [
        "| trial | expected | as expected | needed | seconds, median | largest weight | requests harmed, median |",
        "|---|---|---|---|---|---|---|",
    ]
    for trial in TRIALS:
        its = [result for result in results if result["scenario"] == trial.scenario]
        if not its:
            continue
        good = sum(result["as_expected"] for result in its)
        largest = max(result["largest"] for result in its)
        about = load_scenario(trial.scenario).scenario.about
        rows.append(
            f"| {trial.scenario}: {about} | {its[0]['expected']} | {good} of {len(its)} "
            f"| {trial.least} of {trial.runs} | {_median(its, 'seconds'):.0f} | {largest:g} % "
            f"| {_median(its, 'harmed'):.0f} |"
        )
    return "\n".join(rows)


def _median(results: Sequence[Result], key: str) -> float:
    values = sorted(result[key] for result in results)
    return float(values[len(values) // 2])


def failed(results: Sequence[Result]) -> list[str]:
    """The trials whose share of expected endings is below what is needed."""
    names = []
    for trial in TRIALS:
        its = [result for result in results if result["scenario"] == trial.scenario]
        if its and sum(result["as_expected"] for result in its) * trial.runs < trial.least * len(its):
            names.append(trial.scenario)
    return names


def _tellings(only: Sequence[str], runs: int | None, seed: int) -> Iterator[tuple[str, int]]:
    for trial in TRIALS:
        if not only or trial.scenario in only:
            for number in range(runs or trial.runs):
                yield trial.scenario, seed + number


def main() -> int:
    """Run the trials that the command line names; 0 when every one is as promised."""
    parser = argparse.ArgumentParser(prog="python -m canaryd.lab.trials", description=__doc__)
    parser.add_argument("--only", nargs="*", default=[], help="trials by name; by default all")
    parser.add_argument("--runs", type=int, help="runs of each, instead of its own number")
    parser.add_argument("--labs", type=int, default=2, help="labs side by side")
    parser.add_argument("--seed", type=int, default=1, help="the first seed")
    parser.add_argument("--folder", type=Path, default=Path("canaryd-trials"), help="where logs and reports go")
    said = parser.parse_args()
    tellings = list(_tellings(said.only, said.runs, said.seed))
    with Progress() as progress:
        task = progress.add_task("trials", total=len(tellings))

        def heard(result: Result) -> None:
            sign = "as expected" if result["as_expected"] else "NOT AS EXPECTED"
            told = f"{result['scenario']} {result['seed']}: {sign}, {result['seconds']} s: {result['reason']}"
            progress.console.print(told, markup=False, highlight=False)
            progress.advance(task)

        results = tell_all(tellings, said.folder, labs=said.labs, heard=heard)
    print(table(results))
    for name in (wrong := failed(results)):
        print(f"{name}: below what is promised", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
