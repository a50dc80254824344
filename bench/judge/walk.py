"""One rule up the ramp of one repetition, and what became of it; many of them, over processes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from itertools import islice
from time import process_time

import numpy as np

from bench.judge.limit import information
from bench.judge.rules import RULES, Floats, Rule, Seen
from bench.judge.scenarios import LIMIT, SCENARIOS, STEP, WEIGHTS, Draw, draw, entropy

AT_ONCE = 10
"""Repetitions of a task: small enough to share out, large enough to be worth a message."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """
    How a walk ended: rollback, promote or inconclusive; after how many ``minutes`` and cells; how many canary requests
    ``failed`` and how many were ``harmed`` (failed or slowed down) until then; and the ``nats`` that they held.
    """

    end: str
    minutes: float
    harmed: float
    failed: float
    nats: float
    cells: int
    cpu: float


@dataclass(frozen=True, slots=True)
class Task:
    """Repetitions ``first`` to ``first + count`` of a scenario in cells of ``seconds``."""

    scenario: str
    seconds: int
    seed: int
    first: int
    count: int
    rules: tuple[str, ...]


def walk(drawn: Draw, rule: Rule, nats: Floats) -> Outcome:
    """The rule's path through the draw; ``nats`` [cell, level] is the information in each cell."""
    level = baked = place = 0
    harmed = failed = known = 0.0
    end, last = "inconclusive", len(WEIGHTS) - 1
    begun = process_time()
    for place in range(LIMIT // drawn.seconds):
        at = (place, level)
        seen = _seen(drawn, place, level)
        failed += seen.canary_errors
        harmed += seen.canary_errors + float(drawn.slowed[at])
        known += float(nats[at])
        answer = rule.judge(seen, baked + drawn.seconds, last=level == last)
        if answer in ("rollback", "inconclusive") or (answer == "promote" and level == last):
            end = answer
            break
        if answer != "hold":
            baked += drawn.seconds
        if baked >= STEP and level < last:
            level, baked = level + 1, 0
    took = process_time() - begun
    return Outcome(end, (place + 1) * drawn.seconds / 60, harmed, failed, known, place + 1, took)


def _seen(drawn: Draw, place: int, level: int) -> Seen:
    canary, stable = drawn.canary, drawn.stable
    return Seen(
        place,
        level,
        float(canary.requests[place, level]),
        float(canary.errors[place, level]),
        canary.buckets[place, level],
        float(stable.requests[place, level]),
        float(stable.errors[place, level]),
        stable.buckets[place, level],
    )


def nats_of(drawn: Draw) -> Floats:
    """Information in each cell, at each weight."""
    shares = np.array(WEIGHTS) / 100
    total = drawn.canary.requests + drawn.stable.requests
    return total * information(drawn.truth[0], drawn.truth[1], np.broadcast_to(shares, total.shape))


def carry_out(task: Task) -> list[dict[str, Outcome]]:
    """What became of each rule in each repetition of the task."""
    scenario = SCENARIOS[task.scenario]
    found = []
    for place in range(task.first, task.first + task.count):
        chance = np.random.default_rng([task.seed, entropy(task.scenario), task.seconds, place])
        drawn = draw(scenario, task.seconds, chance)
        nats = nats_of(drawn)
        found.append({name: walk(drawn, RULES[name](drawn), nats) for name in task.rules})
    return found


def tasks(
    names: Sequence[str], ticks: Sequence[int], seed: int, reps: tuple[int, int], rules: Sequence[str]
) -> Iterator[Task]:
    """Every task; ``reps`` are the repetitions of (healthy, faulty) scenarios."""
    for seconds in ticks:
        for name in names:
            wanted = reps[SCENARIOS[name].faulty]
            for first in range(0, wanted, AT_ONCE):
                yield Task(name, seconds, seed, first, min(AT_ONCE, wanted - first), tuple(rules))


def all_carried_out(every: list[Task], processes: int) -> Iterator[tuple[Task, list[dict[str, Outcome]]]]:
    """Each task with its outcomes, as they come; the draws do not depend on who makes them."""
    if processes == 1:
        yield from ((task, carry_out(task)) for task in every)
        return
    with ProcessPoolExecutor(processes) as pool:
        rest = iter(every)
        while batch := list(islice(rest, 4 * processes)):
            yield from zip(batch, pool.map(carry_out, batch), strict=True)
