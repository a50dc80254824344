"""Why a run is where it is."""

from __future__ import annotations

from dataclasses import replace

import pytest

from canaryd.model.cells import Past
from canaryd.model.finding import Finding
from canaryd.model.run import Hold, Phase
from canaryd.model.traffic import NOTHING
from canaryd.report.explain import explain
from tests.report import stories


@pytest.mark.parametrize("story", stories.EVERY)
def test_it_holds_the_reason_as_it_is(story):
    run, _ = story()
    text = explain(run)
    assert (run.reason if run.final else run.waiting) in text
    assert "What happens next:" in text
    assert "What you can do:" in text
    assert ".." not in text.replace("'...'", "")


def test_what_was_found_before_it_began_is_told():
    """With its code, by which docs/preflight.md is read."""
    run, _ = stories.baking()
    odd = Finding("PortSniffed", "warning", "Service default/reviews", "names no protocol")
    assert "  - warning PortSniffed: Service default/reviews: names no protocol" in explain(
        replace(run, findings=(odd,))
    )
    assert "Found before it began" not in explain(run)


@pytest.mark.parametrize(
    ("story", "offered", "void"),
    [
        (stories.pending, {"abort", "hold", "skip-step"}, {"approve", "resume", "promote", "advance"}),
        (stories.baking, {"abort", "hold", "advance", "promote"}, {"approve", "resume", "skip-step"}),
        (stories.blind, {"abort", "hold", "advance", "promote"}, {"approve", "resume", "skip-step"}),
        (stories.gated, {"approve", "abort", "hold"}, {"promote", "resume", "advance", "skip-step"}),
        (stories.rolling_back, set(), {"approve", "resume", "promote", "abort"}),
        (stories.rolled_back, set(), {"approve", "resume", "promote", "abort"}),
        (stories.promoted, set(), {"approve", "resume", "promote", "abort"}),
    ],
)
def test_only_commands_that_would_do_something_are_offered(story, offered, void):
    """A command that the machine would declare void is bad advice."""
    advice = explain(story()[0]).partition("What you can do:")[2]
    assert all(f"canaryd {verb} reviews" in advice for verb in offered)
    assert not any(f"canaryd {verb}" in advice for verb in void)


def test_callers_that_do_not_meet_the_weight_are_told_with_what_is_seen_of_them():
    """The share with its interval, what callers and pods count differently, and that waiting does not mend it."""
    run, _ = stories.baking()
    said = replace(run.evidence, share="the canary got 5 % of 900 requests", notes="1 of 2 pods", astray=True)
    text = explain(replace(run, evidence=said, hold=Hold("inconclusive", "share: web.shop", run.at, None)))
    assert "  - the canary got 5 % of 900 requests\n  - 1 of 2 pods\n" in text
    assert "Let callers meet the weight" in text
    assert "Wait: more requests" not in text


def test_drift_is_ended_by_a_person():
    run, _ = stories.baking()
    drifted = replace(run, hold=Hold("drift", "somebody set the canary to 60 %", run.at, None, sticky=True))
    assert "canaryd resume reviews" in explain(drifted)
    soft = replace(run, hold=Hold("drift", "somebody set the canary to 1 %", run.at, None))
    assert "Put the weights back by hand, or have them set to 25 % again: canaryd resume reviews" in explain(soft)


def test_no_way_back_offers_force_with_its_price():
    run, _ = stories.rolling_back()
    stuck = replace(run, hold=Hold("no-way-back", "stable v1 has no ready endpoint", run.at, None))
    assert "canaryd abort reviews --force" in explain(stuck)
    assert "may not answer" in explain(stuck)


def waiting_for_stable():
    run, _ = stories.promoted()
    waits = "waiting for stable reviews-v1 to run what the canary runs: containers.reviews.image is a, not b"
    return replace(
        run, phase=Phase.RETURNING, outcome=None, ended=None, released=False, waiting=waits, returning_since=run.at
    )


def test_who_waits_for_stable_says_for_what_and_until_when():
    """And what a person can do: roll it out there, or give their word."""
    text = explain(waiting_for_stable())
    assert "At present: waiting for stable reviews-v1 to run what the canary runs: containers" in text
    assert "Once v1 runs what v3 runs, with as many ready pods, it gets all the traffic back" in text
    assert "the run is held" in text
    assert "Roll out in v1's Deployment what v3's runs" in text
    assert "canaryd approve reviews" in text
    assert "canaryd abort reviews" in text
    held = replace(waiting_for_stable(), hold=Hold("not-returned", "so it is", 0.0, None))
    assert "it fails for none of this" in explain(held)


def test_what_has_gone_back_is_told_as_such():
    """Promoted, and yet stable has everything: nobody is to put other weights into Git."""
    back = replace(waiting_for_stable(), split=NOTHING)
    assert "canaryd approve" not in explain(back)
    over = replace(stories.promoted()[0], split=NOTHING)
    text = explain(over)
    assert "was promoted, back on stable at" in text
    assert "v1 runs what v3 runs, and has all the traffic" in text
    assert "in Git" not in text


def test_distances_are_told_when_the_time_is_known():
    run, _ = stories.blind()
    assert run.hold is not None
    assert "in 10m," not in explain(run)
    assert "in 10m," in explain(run, run.hold.limit - 600)


def test_the_last_step_says_that_proof_is_wanted():
    run, _ = stories.play(stories.HEALTHY, lambda run: run.step == 2 and len(run.baked) == 2)
    assert "has reached 20, v3 gets 100 %" in explain(run)


def test_a_step_that_is_measured_anew_is_not_told_as_its_beginning() -> None:
    """After a new image of stable, or a hand's edit, people ask why the bake began again."""
    run, _ = stories.baking()
    again = replace(run.segment, index=len(run.segments), origin=run.at + 20)
    anew = replace(run, segments=(*run.segments, again), at=again.origin)
    assert f"to measure {run.split} anew" in explain(anew)
    assert "anew" not in explain(run)


def test_it_says_what_was_known_of_stable_before() -> None:
    """Where nothing was, that is why latency waited, and why a clump was assumed."""
    run, _ = stories.baking()
    assert "from before" not in explain(run)
    past = Past(0, (), "Prometheus at http://p refuses the query with HTTP 422")
    assert f"  - {past.sentence}\n" in explain(replace(run, past=past))


def test_a_weight_is_not_said_to_follow_from_a_pass_that_nobody_saw() -> None:
    """A person may have ended the step, or left one out; the decision says which it was."""
    run, _ = stories.gated()
    assert "to go from 25 % to 50 %, after step 2." in explain(run)
    assert "to go from 5 % to 50 %, after step 1." in explain(replace(run, skipped=(1,)))
