"""
What the desk does not send is what the machine would call void, and the other way round.

Each verb, to runs at every place of their way. The two are worded apart: the machine's word is the one that counts.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from canaryd.desk import VERBS, ask_for, unproven, void
from canaryd.desk.seeing import seen_run
from canaryd.machine.asked import obeyed
from canaryd.model.decision import Event, Observation, Told, Unseen
from canaryd.model.run import Hold, Phase, Run, Word
from canaryd.model.traffic import EVERYTHING, Sighting, Split
from tests.desk.places import standing
from tests.report import stories
from tests.stage import plan

OF_THE_ENDED = ("undo", "retry")


def held() -> Run:
    return standing(held_by=Word("ana", 1_000_010.0), hold=Hold("person", "held by ana", 1_000_010.0, None))


def drifted() -> Run:
    return standing(hold=Hold("drift", "somebody set the canary to 3 %", 1_000_010.0, None))


def last_step() -> Run:
    return standing(step=2, split=Split.percent(50), segments=standing().segments)


RUNS: dict[str, Callable[[], Run]] = {
    "pending": lambda: stories.pending()[0],
    "shifting": lambda: standing(phase=Phase.SHIFTING),
    "baking": lambda: stories.baking()[0],
    "gated": lambda: stories.gated()[0],
    "blind": lambda: stories.blind()[0],
    "held": held,
    "drifted": drifted,
    "at the last step": last_step,
    "with an approver": lambda: standing(plan=plan(gate_at=0, gate={"limit": "1h", "by": ["eve"]})),
    "promoting": lambda: standing(phase=Phase.PROMOTING, step=2, split=EVERYTHING),
    "watching": lambda: standing(phase=Phase.WATCHING, step=2, split=EVERYTHING),
    "returning": lambda: standing(phase=Phase.RETURNING, step=2, split=EVERYTHING),
    "rolling back": lambda: stories.rolling_back()[0],
}


def machine_voids(verb: str, run: Run, *, force: bool = False, skips: int | None = None) -> bool:
    """Whether the machine tells that the command does nothing; one that it keeps for later does something."""
    told: list[Event] = []
    command = ask_for(verb, run, "ana", "why", force=force, skips=skips)
    seen = Observation(run.created, Sighting(run.split, None), Unseen("not looked"), commands=(command,))
    obeyed(replace(run, obeyed=()), seen, told)
    return any(event.told is Told.COMMAND_VOID for event in told)


@pytest.mark.parametrize("verb", [verb for verb in VERBS if verb != "skip"])
@pytest.mark.parametrize("name", RUNS)
def test_desk_and_machine_agree_on_what_does_nothing(name: str, verb: str) -> None:
    run = RUNS[name]()
    for force in (False, True):
        why = void(verb, run, "ana", force=force)
        assert bool(why) == machine_voids(verb, run, force=force), why


@pytest.mark.parametrize("name", RUNS)
def test_they_agree_on_the_steps_that_can_be_left_out(name: str) -> None:
    run = RUNS[name]()
    for step in range(-1, len(run.plan.spec.steps) + 1):
        assert bool(void("skip", run, "ana", skips=step)) == machine_voids("skip", run, skips=step), step


def asked_to_promote(proof: float | None, *, baked: bool = True, step: int = 2) -> str:
    """What is asked before a run in that step is promoted, as its proof stands, and its bake."""
    run, _ = stories.baking()
    assert run.evidence is not None
    run = replace(run, step=step, split=run.plan.spec.steps[step].weight)
    cells = tuple(replace(run.settled[0], start=float(at), end=at + 1.0) for at in range(run.needed if baked else 1))
    evidence = replace(run.evidence, proof=proof or 0.0, proven=bool(proof and proof >= 20), shared_from=0.0)
    run = replace(run, cells=cells, evidence=evidence if proof is not None else None)
    return unproven(seen_run(run, {"weight": str(run.split)}), run)


def test_what_a_promotion_lacks_is_what_it_lacks() -> None:
    """A proof, a bake, or the steps that are left out: none is said to be missing that is there."""
    assert asked_to_promote(25.0) == ""
    assert "it is not proven that the canary is no worse (proof 3 of 20)." in asked_to_promote(3.0)
    assert "(proof 3 of 20; its bake has 1 of 12 cells)" in asked_to_promote(3.0, baked=False)
    early = asked_to_promote(25.0, baked=False)
    assert "that the canary is no worse is proven, but its bake has 1 of 12 cells. The run is marked" in early
    ahead = asked_to_promote(25.0, step=1)
    assert "is proven for 25 % alone. The steps that are left are left out." in ahead
    assert "nothing is measured there yet" in asked_to_promote(None)


def test_a_word_names_the_step_that_was_seen() -> None:
    """But for those that mean the run."""
    run = standing(step=1)
    assert {verb: ask_for(verb, run, "ana").step for verb in VERBS} == {
        **dict.fromkeys(VERBS, 1), **dict.fromkeys(("abort", "hold", *OF_THE_ENDED))
    }  # fmt: skip
