"""Scenarios as people write them: what is read, and what is refused with path, value and expectation."""

from __future__ import annotations

from pathlib import Path

import pytest

from canaryd.lab.scenarios.format import library, load_scenario, read_scenario
from canaryd.lab.scenarios.shapes import Constant, Diurnal, Ramp, Spikes, Steps
from canaryd.model.problem import Problem, Refused
from canaryd.model.traffic import Split

HEAD = "name: one\nabout: A sentence.\n"
PROMOTED = "expect: {ending: promoted}\n"


def problems(text: str) -> dict[str, Problem]:
    """What is wrong with a scenario, by path."""
    with pytest.raises(Refused) as refused:
        read_scenario(text)
    return {problem.path: problem for problem in refused.value.problems}


@pytest.mark.parametrize("name", library())
def test_the_library_can_be_read(name: str) -> None:
    """Each file is named for its scenario, and says in one sentence what it is about."""
    script = load_scenario(name)
    assert script.name == name
    assert script.scenario.about.endswith(".")
    assert "\n" not in script.scenario.about


def test_the_library_is_large_enough_to_choose_from() -> None:
    assert len(library()) >= 30


def test_a_short_scenario_is_enough() -> None:
    """Three keys: the plan, the traffic and two healthy versions are the lab's usual ones."""
    script = read_scenario(HEAD + PROMOTED)
    assert [step.weight for step in script.plan.spec.steps] == [Split.percent(each) for each in (5, 25, 50)]
    assert (script.stable, script.canary) == ("v1", "v3")
    assert script.scenario.load.shape(1)(10) == 300
    assert script.scenario.versions["v3"].dials() == {"error_rate": 0.001}


def test_every_fault_is_told_at_once_with_its_path() -> None:
    """A person mends a file once, not once for each mistake."""
    found = problems(
        HEAD
        + """
load: {rps: 1, ramp: {from: 1, to: 2, over: 3s}}
versions: {v9: {errors: 1 %}, v3: {errors: 3}}
timeline:
  - {at: {step: 5, aftr: 3s}, drain: {version: v3}}
  - {at: 3, falt: {version: v3, errors: 1 %}}
  - {at: 3, say: {verb: abort}, load: {rps: 3}}
expect: {ending: promotd}
"""
    )
    assert found["load"].expected.startswith("exactly one shape: rps, diurnal, spikes, ramp, steps; got rps and ramp")
    assert found["versions.v3.errors"].value == "3"
    assert any(path.startswith("versions.v9") for path in found)
    assert found["timeline.0.at.aftr"].remedy == "did you mean after?"
    assert found["timeline.1.falt"].remedy == "did you mean fault?"
    assert found["timeline.2"].expected.endswith("got say and load")
    assert found["expect.ending.0"].remedy == "did you mean promoted?"


@pytest.mark.parametrize(
    ("timeline", "path", "words"),
    [
        ("[{at: 3}]", "timeline.0", "exactly one act"),
        ("[{at: -1, load: {rps: 3}}]", "timeline.0.at.seconds", "a duration with a unit"),
        ("[{at: {step: 5, phase: held}, load: {rps: 3}}]", "timeline.0.at", "got step and phase"),
        ("[{at: 3, fault: {version: v3}}]", "timeline.0.fault", "at least one of errors"),
        ("[{at: 3, api: {away: 3s, answers: 409}}]", "timeline.0.api", "exactly one trouble"),
        ("[{at: 3, api: {away: 3s}, for: 4s}]", "timeline.0.for", "api.away says how long"),
        ("[{at: 3, say: {verb: abort}, for: 4s}]", "timeline.0.for", "happens once"),
        ("[{at: 3, edit: {}}]", "timeline.0.edit", "exactly one edit"),
        ("[{at: 3, drain: {version: v3, pods: 0}}]", "timeline.0.drain.pods", "a number of at least 1"),
        ("[{at: 3, load: {steps: [{rps: 3}, {rps: 4}]}}]", "timeline.0.load.steps.0.for", "only the last step"),
        ("[{at: 3, load: {diurnal: {low: 3, high: 2}}}]", "timeline.0.load.diurnal.high", "at least low"),
        ("[{at: 3, load: {spikes: {base: 1, peak: 2, every: 3s, lasting: 3s}}}]", "timeline.0.load.spikes.lasting",
         "shorter than every"),
    ],
)  # fmt: skip
def test_an_event_that_makes_no_sense_is_refused(timeline: str, path: str, words: str) -> None:
    """What would do nothing, or two things, or for ever, is a mistake of the writer."""
    found = problems(f"{HEAD}{PROMOTED}timeline: {timeline}\n")
    assert list(found) == [path]
    assert words in found[path].expected


def test_an_expectation_of_an_event_that_is_not_there_is_refused() -> None:
    """It could never be met, and would only be found after the minutes that the run takes."""
    text = HEAD + "timeline: [{at: 3, name: crash, drain: {version: v3}}]\n"
    found = problems(text + "expect: {ending: promoted, within: {limit: 3s, of: crsh}}\n")
    assert found["expect.within.of"].expected == "the name of an event: crash"


def test_an_event_that_canaryd_never_tells_is_refused() -> None:
    """A misspelt name in neverTold would be true for ever."""
    found = problems(HEAD + "expect: {ending: promoted, neverTold: run.driftd}\n")
    assert found["expect.neverTold.0"].remedy == "did you mean run.drifted?"


def test_keys_of_the_plan_replace_those_of_the_usual_one() -> None:
    script = read_scenario(HEAD + PROMOTED + "plan: {steps: [{weight: 50, bake: 8s}]}\n")
    assert [step.weight for step in script.plan.spec.steps] == [Split.percent(50)]
    assert script.plan.spec.analysis.cell.total_seconds() == 2
    assert "bake: 8s" in script.plan_text


def test_a_wrong_plan_is_found_below_plan() -> None:
    """The path is where the person wrote it."""
    found = problems(HEAD + PROMOTED + "plan: {steps: [{weight: 5}], onDrft: hold}\n")
    assert found["plan.onDrft"].remedy == "did you mean onDrift?"


def test_a_plan_may_be_a_file_beside(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(Path("config/plans/reviews.yaml").read_text())
    script = read_scenario(HEAD + PROMOTED + "plan: mine.yaml\n", beside=tmp_path)
    assert script.plan_text == (tmp_path / "mine.yaml").read_text()
    found = problems(HEAD + PROMOTED + "plan: yours.yaml\n")
    assert "yours.yaml" in found["plan"].value


def test_an_unknown_name_gets_a_suggestion(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="did you mean late-latency"):
        load_scenario("late-latncy")
    with pytest.raises(Refused, match="a scenario's file that can be read"):
        load_scenario(str(tmp_path / "none.yaml"))


@pytest.mark.parametrize(
    ("load", "shape"),
    [
        ("{rps: 7}", Constant(7)),
        ("{diurnal: {low: 1, high: 2, period: 30s}}", Diurnal(1, 2, 30)),
        ("{spikes: {base: 1, peak: 2, every: 9s, lasting: 3s}}", Spikes(1, 2, 9, 3, seed=5)),
        ("{ramp: {from: 1, to: 2, over: 3s}}", Ramp(1, 2, 3)),
        ("{steps: [{rps: 1, for: 2s}, {rps: 3}]}", Steps([(1, 2), (3, 0)])),
    ],
)
def test_a_load_is_a_shape(load: str, shape: object) -> None:
    assert read_scenario(f"{HEAD}{PROMOTED}load: {load}\n").scenario.load.shape(5) == shape


def test_behaviour_is_in_plain_units() -> None:
    text = "versions: {v3: {errors: 0.5 %, status: 503, tail: 70ms, tailOf: 1.5%, latency: 1s}}\n"
    dials = read_scenario(HEAD + PROMOTED + text).scenario.versions["v3"].dials()
    assert dials == {"error_rate": 0.005, "http_status": 503, "tail_ms": 70, "tail_rate": 0.015, "base_ms": 1000}


@pytest.mark.parametrize(
    ("keys", "path", "words"),
    [
        ("start: {objects: [{kind: VirtualService}]}", "start.objects.0", "an object with apiVersion, kind"),
        ("streams: [{name: a, from: nowhere}]", "streams.0.from", "client"),
        ("streams: [{name: a, rps: 0}]", "streams.0.rps", "above 0"),
        ("timeline: [{at: 1, kill: {again: soon}}]", "timeline.0.kill.again", "duration"),
        ("calendar: {blackouts: [{from: 9s, to: 9s, reason: a}]}", "calendar.blackouts.0.to", "longer than from"),
        ("calendar: {window: {closes: 9s, opens: 8s}}", "calendar.window.opens", "longer than closes"),
    ],
)
def test_objects_streams_and_deaths_are_checked(keys: str, path: str, words: str) -> None:
    found = problems(f"name: one\nabout: A.\n{keys}\nexpect: {{ending: promoted}}\n")
    assert words in str(found[path])


def test_requests_can_only_be_expected_of_a_stream_that_there_is() -> None:
    found = problems("name: one\nabout: A.\nexpect: {ending: promoted, reached: {internal: {v3: 1}}}\n")
    assert "the name of a stream" in str(found["expect.reached.internal"])
