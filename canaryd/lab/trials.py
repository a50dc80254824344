"""
Trials: what canaryd promises, tried again and again on the lab, on observed requests.

Each trial is a story with an expectation that a machine can check. ``python -m canaryd.lab.trials`` runs them all, some
labs side by side, and prints the table that the documentation shows.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from rich.progress import Progress

from canaryd.lab.lab import Lab
from canaryd.lab.load import GRPC, HTTP
from canaryd.lab.stories import CANARY, STABLE, Ending, Story, play
from canaryd.model.run import Phase, Run
from canaryd.model.traffic import Split

PLAN, SMALL_PLAN = (Path(__file__).with_name(name) for name in ("trials.yaml", "small.yaml"))
RPS = 300
TWO_CELLS = 4.0
"""Seconds: the trials' plan has cells of two."""
FIRST, HALF = Split.percent(5), Split.percent(50)

Expectation = Callable[[dict[str, Any]], bool]


@dataclass(frozen=True)
class Trial:
    """``runs`` times ``story``; at least ``least`` of them must end as ``expected`` says and ``holds`` checks."""

    story: Story
    expected: str
    holds: Expectation
    runs: int
    least: int
    protocol: str = HTTP
    rps: int = RPS
    plan: Path = PLAN


def reached(run: Run) -> Split:
    """The largest split that the run wrote."""
    return max(segment.split for segment in run.segments)


def _rolled_back(result: dict[str, Any]) -> bool:
    return bool(result["exit"] == 10)


def _rolled_back_before_half(result: dict[str, Any]) -> bool:
    return _rolled_back(result) and Split(result["reached"]) < HALF


def _rolled_back_at_first(result: dict[str, Any]) -> bool:
    return _rolled_back(result) and Split(result["reached"]) == FIRST


def _promoted(result: dict[str, Any]) -> bool:
    return bool(result["exit"] == 0)


def _not_rolled_back(result: dict[str, Any]) -> bool:
    return result["exit"] in (0, 12)


def _within_two_cells(result: dict[str, Any]) -> bool:
    return _rolled_back(result) and result["detected"] is not None and result["detected"] <= TWO_CELLS


class At:
    """An event: ``act`` once the run has baked at ``percent`` for ``after`` seconds, ``undo`` when it has lasted."""

    def __init__(
        self,
        percent: int,
        act: Callable[[Lab], object],
        undo: Callable[[Lab], object] | None = None,
        *,
        after: float = 4.0,
        lasting: float = 0.0,
    ) -> None:
        self._split = Split.percent(percent)
        self._act, self._undo = act, undo
        self._after, self._lasting = after, lasting
        self.happened: float | None = None

    def __call__(self, lab: Lab, run: Run) -> bool:
        now = time.time()
        if self.happened is None:
            if run.split != self._split or run.phase is not Phase.BAKING or now < run.at + self._after:
                return False
            self._act(lab)
            self.happened = time.time()
        if self._undo is None:
            return True
        if now < self.happened + self._lasting:
            return False
        self._undo(lab)
        return True


def _incident(lab: Lab) -> None:
    for version in (STABLE, CANARY):
        lab.faults.set(version, error_rate=0.10, base_ms=80)


def _incident_over(lab: Lab) -> None:
    for version in (STABLE, CANARY):
        lab.faults.set(version, error_rate=0.001, base_ms=12)


def _events(name: str) -> tuple[At, ...]:
    """The events of a story, made anew for each telling: they remember what they did."""
    if "incident" in name:
        return (At(25, _incident, _incident_over, lasting=20),)
    if "drained" in name:
        return (At(25, lambda lab: lab.drain(CANARY)),)
    if "away" in name:
        return (At(5, lambda lab: lab.prometheus.stop(), lambda lab: lab.prometheus.start(), lasting=60),)
    return ()


QUIET = {"error_rate": 0.001}
TAIL = {"tail_rate": 0.015, "tail_ms": 70}
TWICE_THE_TAIL = {"tail_rate": 0.015, "tail_ms": 158}
TRIALS = (
    Trial(
        Story("errors", "2 % errors against 0.1 %", {STABLE: QUIET, CANARY: {"error_rate": 0.02}}),
        "rolled back before 50 %", _rolled_back_before_half, 10, 9,
    ),
    Trial(
        Story("small", "0.6 % errors against 0.1 %", {STABLE: QUIET, CANARY: {"error_rate": 0.006}}),
        "rolled back at 5 %", _rolled_back_at_first, 5, 5, rps=800, plan=SMALL_PLAN,
    ),
    Trial(
        Story("tail", "p99 doubled, the median unchanged", {STABLE: TAIL, CANARY: TWICE_THE_TAIL}),
        "rolled back before 50 %", _rolled_back_before_half, 10, 9,
    ),
    Trial(
        Story("healthy", "0.5 % errors on both", {STABLE: {"error_rate": 0.005}, CANARY: {"error_rate": 0.005}}),
        "promoted", _promoted, 20, 19,
    ),
    Trial(
        Story("incident", "an incident of both versions at 25 %", {STABLE: QUIET, CANARY: QUIET}),
        "held or gone on, never rolled back by verdict", _not_rolled_back, 5, 5,
    ),
    Trial(
        Story("drained", "all canary pods drained at 25 %", {STABLE: QUIET, CANARY: QUIET}),
        "rolled back within two cells", _within_two_cells, 5, 5,
    ),
    Trial(
        Story("grpc", "a gRPC canary that fails 2 % on HTTP 200", {CANARY: {"grpc_error_rate": 0.02}}),
        "rolled back", _rolled_back, 3, 3, GRPC,
    ),
    Trial(
        Story("away-healthy", "healthy, Prometheus away for a minute", {STABLE: QUIET, CANARY: QUIET}),
        "promoted", _promoted, 2, 2,
    ),
    Trial(
        Story("away-faulty", "2 % errors, Prometheus away for a minute", {STABLE: QUIET, CANARY: {"error_rate": 0.02}}),
        "rolled back before 50 %", _rolled_back_before_half, 2, 2,
    ),
)  # fmt: skip


def tell(name: str, seed: int, folder: Path, plan: Path | None = None) -> dict[str, Any]:
    """One telling of the trial called ``name`` on a lab of its own, by its own plan or another; what came of it."""
    trial = next(trial for trial in TRIALS if trial.story.name == name)
    events = _events(name)
    story = replace(trial.story, name=f"{name}-{seed}", events=events)
    with (
        tempfile.TemporaryDirectory(prefix="canaryd-lab-") as directory,
        Lab.up(Path(directory), rps=trial.rps, seed=seed, protocol=trial.protocol) as lab,
    ):
        ending = play(lab, story, folder, plan=plan or trial.plan)
        return _result(trial, seed, ending, events[0].happened if events else None)


def _result(trial: Trial, seed: int, ending: Ending, event: float | None) -> dict[str, Any]:
    run = ending.run
    result = {
        "trial": trial.story.name,
        "seed": seed,
        "exit": ending.exit_code,
        "seconds": round(ending.seconds, 1),
        "reached": reached(run).canary if run else 0,
        "served": ending.served,
        "canary": ending.canary_served,
        "failed": ending.canary_failed,
        "harmed": ending.harmed,
        "detected": round(run.latch.at - event, 2) if run and run.latch and event else None,
        "reason": run.reason if run else "no run",
    }
    return result | {"as_expected": trial.holds(result)}


def table(results: list[dict[str, Any]]) -> str:
    """The results as a Markdown table, a line a trial."""
    rows = [
        "| trial | expected | as expected | needed | seconds, median | largest weight | requests harmed, median |",
        "|---|---|---|---|---|---|---|",
    ]
    for trial in TRIALS:
        its = [result for result in results if result["trial"] == trial.story.name]
        if not its:
            continue
        good = sum(result["as_expected"] for result in its)
        largest = Split(max(result["reached"] for result in its))
        rows.append(
            f"| {trial.story.headline} | {trial.expected} | {good} of {len(its)} | {trial.least} of {trial.runs} "
            f"| {_median(its, 'seconds'):.0f} | {largest} | {_median(its, 'harmed'):.0f} |"
        )
    return "\n".join(rows)


def _median(results: list[dict[str, Any]], key: str) -> float:
    values = sorted(result[key] for result in results)
    return float(values[len(values) // 2])


def failed(results: list[dict[str, Any]]) -> list[str]:
    """The trials whose share of expected endings is below what is needed."""
    names = []
    for trial in TRIALS:
        its = [result for result in results if result["trial"] == trial.story.name]
        if its and sum(result["as_expected"] for result in its) * trial.runs < trial.least * len(its):
            names.append(trial.story.name)
    return names


def _tellings(only: list[str], runs: int | None, seed: int) -> Iterator[tuple[str, int]]:
    for trial in TRIALS:
        if not only or trial.story.name in only:
            for number in range(runs or trial.runs):
                yield trial.story.name, seed + number


def main() -> int:
    """Run the trials that the command line names; 0 when every one is as promised."""
    parser = argparse.ArgumentParser(prog="python -m canaryd.lab.trials", description=__doc__)
    parser.add_argument("--only", nargs="*", default=[], help="trials by name; by default all")
    parser.add_argument("--runs", type=int, help="runs of each, instead of its own number")
    parser.add_argument("--labs", type=int, default=2, help="labs side by side")
    parser.add_argument("--seed", type=int, default=1, help="the first seed")
    parser.add_argument("--folder", type=Path, default=Path("canaryd-trials"), help="where logs and reports go")
    said = parser.parse_args()
    said.folder.mkdir(parents=True, exist_ok=True)
    results = []
    tellings = list(_tellings(said.only, said.runs, said.seed))
    # A process for each telling: Envoy and Prometheus die with the main thread that started them.
    with (
        ProcessPoolExecutor(said.labs, mp_context=get_context("spawn"), max_tasks_per_child=1) as pool,
        Progress() as progress,
        (said.folder / "results.jsonl").open("a") as log,
    ):
        task = progress.add_task("trials", total=len(tellings))
        for done in as_completed([pool.submit(tell, name, seed, said.folder) for name, seed in tellings]):
            result = done.result()
            results.append(result)
            log.write(json.dumps(result) + "\n")
            log.flush()
            sign = "as expected" if result["as_expected"] else "NOT AS EXPECTED"
            told = f"{result['trial']} {result['seed']}: {sign}, {result['seconds']} s: {result['reason']}"
            progress.console.print(told)
            progress.advance(task)
    print(table(results))
    for name in (wrong := failed(results)):
        print(f"{name}: below what is promised", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
