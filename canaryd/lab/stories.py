"""
Stories: canaryd carries out a plan on the lab, while something happens to the versions.

A story is told by the real command, ``canaryd run``, in a process of its own; what it did to the clients is counted at
the clients, not read from the metrics that canaryd itself reads.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from canaryd.lab.lab import Lab
from canaryd.lab.load import Tally
from canaryd.lab.processes import mortal
from canaryd.model.run import Run
from canaryd.store.folder import FolderStore

PLAN = Path(__file__).with_name("reviews.yaml")
STABLE, CANARY = "v1", "v3"
PATIENCE = 480.0
"""Seconds after which a story that has not ended is ended."""

Event = Callable[[Lab, Run], bool]
"""Called again and again with the lab and the run; true once it has done what it is for."""


@dataclass(frozen=True)
class Story:
    """``faults`` by version are in force from the start; ``events`` happen while the run goes on."""

    name: str
    headline: str
    faults: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    events: tuple[Event, ...] = ()


@dataclass(frozen=True)
class Ending:
    """
    How a story ended: canaryd's exit code and run, and what the clients saw of the canary meanwhile.

    ``harmed`` are requests that failed at the canary, or took more than twice as long as 999 of 1,000 did at stable.
    """

    story: Story
    exit_code: int
    run: Run | None
    seconds: float
    served: int
    canary_served: int
    canary_failed: int
    harmed: int
    report: Path


def play(lab: Lab, story: Story, folder: Path, *, plan: Path = PLAN, show: bool = False) -> Ending:
    """Tell ``story`` on ``lab`` from a clean start; ``show`` lets canaryd's live table through to the terminal."""
    folder.mkdir(parents=True, exist_ok=True)
    set_the_stage(lab, story)
    before, began = lab.counts(), time.monotonic()
    report, state = folder / f"{story.name}.html", folder / f"{story.name}.state"
    shutil.rmtree(state, ignore_errors=True)  # a story told again begins anew
    command = [sys.executable, "-m", "canaryd", "run", str(plan), "--on-exit", "rollback", "--report", str(report)]
    command += ["--kubeconfig", str(lab.kubeconfig), "--prometheus", lab.prometheus_url, "--state", str(state)]
    with (folder / f"{story.name}.log").open("wb") as log:
        output = {} if show else {"stdout": log, "stderr": subprocess.STDOUT}
        process = subprocess.Popen(mortal(command), stdin=subprocess.DEVNULL, **output)  # type: ignore[call-overload]
        exit_code = _attend(process, lab, story, state)
    run = newest_run(state)
    after = lab.counts()
    stable, canary = (_since(before.of(version), after.of(version)) for version in (STABLE, CANARY))
    return Ending(
        story,
        exit_code,
        run,
        time.monotonic() - began,
        after.answered - before.answered,
        canary.answered,
        canary.failed,
        canary.failed + _slow(canary, 2 * stable.quantile(0.999)),
        report,
    )


def set_the_stage(lab: Lab, story: Story) -> None:
    """Stable holds everything, every pod is ready, and the versions behave as the story says."""
    for version in (STABLE, CANARY):
        lab.restore(version)
    lab.set_weights({STABLE: 100})
    lab.faults.reset()
    for version, fault in story.faults.items():
        lab.faults.set(version, **fault)


def newest_run(state: Path) -> Run | None:
    """The run in a state folder, None before it has begun."""
    records = list(FolderStore(state).records())
    return records[-1].run if records else None


def _attend(process: subprocess.Popen[bytes], lab: Lab, story: Story, state: Path) -> int:
    """Let the story's events happen until canaryd has ended."""
    coming = list(story.events)
    end = time.monotonic() + PATIENCE
    try:
        while process.poll() is None and time.monotonic() < end:
            if coming and (run := newest_run(state)) is not None:
                coming = [event for event in coming if not event(lab, run)]
            time.sleep(0.1)
    finally:
        if process.poll() is None:
            process.terminate()
    return process.wait(60)


def _since(before: Tally, after: Tally) -> Tally:
    """What was answered between two counts."""
    return Tally(
        after.answered - before.answered,
        after.failed - before.failed,
        after.by_status - before.by_status,
        after.by_millisecond - before.by_millisecond,
    )


def _slow(tally: Tally, milliseconds: float) -> int:
    """The requests that took longer than that."""
    return sum(count for millisecond, count in tally.by_millisecond.items() if millisecond > milliseconds)
