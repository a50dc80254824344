"""
Many scenarios, each on a lab of its own, some labs side by side; and the table of what came of them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from canaryd.errors import CanarydError
from canaryd.lab.processes import die_with_parent
from canaryd.lab.scenarios.format import Script, load_scenario
from canaryd.lab.scenarios.outcome import wanted
from canaryd.lab.scenarios.player import play_on_its_own, result_of

Result = dict[str, Any]
RESULTS = "results.jsonl"
"""In the folder of a suite: a line for each telling."""


def tell(which: str, seed: int, folder: Path) -> Result:
    """One telling of the scenario ``which`` (a name of the library, or a file) on a lab of its own."""
    script = load_scenario(which)
    try:
        return result_of(play_on_its_own(script, folder, seed=seed))
    except CanarydError as error:
        return not_played(script, seed, error)


def not_played(script: Script, seed: int, error: CanarydError) -> Result:
    """The result of a scenario that could not be played, which is never as expected."""
    nothing = {"ending": "not played", "exit": None, "seconds": 0.0, "largest": 0.0, "harmed": 0, "failed": 0}
    expected = wanted(script.scenario.expect)
    told = {"scenario": script.name, "seed": seed, "as_expected": False, "expected": expected}
    return {**told, **nothing, "reason": str(error), "wrong": [f"not played: {error}"]}


def tell_all(
    tellings: Sequence[tuple[str, int]], folder: Path, *, labs: int, heard: Callable[[Result], None]
) -> list[Result]:
    """
    Every (scenario, seed), ``labs`` at a time; ``heard`` is called with each result as it comes.

    Results come back in the order of ``tellings``, and are appended to ``results.jsonl`` in ``folder``.
    """
    folder.mkdir(parents=True, exist_ok=True)
    # A process for each telling: Envoy and Prometheus die with the main thread that started them.
    with (
        ProcessPoolExecutor(
            labs, mp_context=get_context("spawn"), max_tasks_per_child=1, initializer=die_with_parent
        ) as pool,
    ):
        futures = [pool.submit(tell, which, seed, folder) for which, seed in tellings]
        for done in as_completed(futures):
            result = done.result()
            keep(result, folder)
            heard(result)
        return [future.result() for future in futures]


def keep(result: Result, folder: Path) -> None:
    """Append a result to ``results.jsonl`` in ``folder``."""
    with (folder / RESULTS).open("a", encoding="utf-8") as log:
        log.write(json.dumps(result) + "\n")


def table(results: Iterable[Result]) -> str:
    """The results as a Markdown table, a line a telling."""
    rows = [
        "| scenario | expected | happened | seconds | largest weight | requests failed | harmed at the canary |",
        "|---|---|---|---|---|---|---|",
    ]
    for one in results:
        mark = one["ending"] if one["as_expected"] else f"**{one['ending']}**: {'; '.join(one['wrong'])}"
        rows.append(
            f"| {one['scenario']} | {one['expected']} | {mark} | {one['seconds']:.0f} | {one['largest']:g} % "
            f"| {one['failed']} | {one['harmed']} |"
        )
    return "\n".join(rows)
