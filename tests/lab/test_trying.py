"""A plan tried on one's own service: the stories, and what is made of their endings."""

from __future__ import annotations

from pathlib import Path

import pytest

from canaryd.errors import Rejected
from canaryd.lab.own import set_scene_of
from canaryd.lab.own.figures import Figures
from canaryd.lab.own.trying import STORIES, Outcome, Trial, outcome, told, trial
from canaryd.lab.scenarios.player import play_on_its_own
from canaryd.model.duration import parse_duration
from canaryd.model.problem import Refused

from .test_own import PLAN, ROUTES, written

FIGURES = Figures(rps=40, errors=0.002, p50=20, p99=150)


def trying(folder: Path, *names: str, figures: Figures = FIGURES, plan: str = PLAN) -> Trial:
    written(folder, routes_yaml=ROUTES, plan_yaml=plan)
    scene, chosen, _, _ = set_scene_of(folder / "plan.yaml")
    return trial(scene, chosen, figures, names or tuple(STORIES))


def test_a_plan_is_played_at_the_pace_of_its_scrapes(tmp_path: Path) -> None:
    """Fifteen times as fast with fifteen times the requests: every cell holds what it would hold in production."""
    found = trying(tmp_path)
    assert (found.times, found.rps) == (15.0, 600.0)
    assert [script.scenario.load.rps for script in found.scripts] == [600.0] * len(STORIES)
    assert found.scripts[0].plan.spec.steps[0].bake == parse_duration("20s")


def test_more_traffic_than_the_lab_can_send_is_said(tmp_path: Path) -> None:
    found = trying(tmp_path, figures=Figures(rps=5000))
    assert (found.times, found.rps) == (1.0, 600.0)
    assert any("600 requests a second where yours would be 5,000" in note for note in found.notes)


def test_stable_is_the_same_in_every_story_and_the_canary_differs_in_one_thing(tmp_path: Path) -> None:
    by_name = {script.name: script.scenario for script in trying(tmp_path).scripts}
    healthy = by_name["healthy"].versions["blue"]
    assert {scenario.versions["blue"].model_dump_json() for scenario in by_name.values()} == {healthy.model_dump_json()}
    canaries = {name: scenario.versions["green"] for name, scenario in by_name.items()}
    assert canaries["healthy"] == healthy
    assert canaries["errors"].errors == pytest.approx(0.022)
    assert canaries["errors"].latency == healthy.latency
    assert canaries["slow"].latency == parse_duration("30ms")
    assert canaries["slow"].errors == healthy.errors
    assert (canaries["tail"].latency, canaries["tail"].tail) == (healthy.latency, parse_duration("280ms"))
    assert canaries["late"] == canaries["drained"] == healthy


def test_events_are_at_the_plans_own_steps(tmp_path: Path) -> None:
    by_name = {script.name: script.scenario for script in trying(tmp_path).scripts}
    [late], [drained] = by_name["late"].timeline, by_name["drained"].timeline
    assert (late.at.step, late.act) == (50.0, "fault")
    assert (drained.at.step, drained.act) == (5.0, "drain")
    assert [by_name[name].expect.ending for name in ("healthy", "errors")] == [("promoted",), ("rolled back",)]


def test_an_unknown_story_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Rejected, match="meteor: no such story; there are healthy, errors"):
        trying(tmp_path, "meteor")


def test_a_plan_without_its_objects_is_refused_with_the_way_to_get_them(tmp_path: Path) -> None:
    written(tmp_path, plan_yaml=PLAN)
    with pytest.raises(Refused, match="kubectl get virtualservices"):
        set_scene_of(tmp_path / "plan.yaml")


def test_a_plan_for_reviews_needs_no_objects() -> None:
    plans = Path(__file__).parents[2] / "canaryd" / "lab" / "reviews.yaml"
    scene, plan, notes, workloads = set_scene_of(plans)
    assert (list(scene.versions), notes, workloads) == (["v1", "v2", "v3"], (), ("reviews-v1",))
    found = trial(scene, plan, FIGURES, ("healthy",))
    assert (found.scripts[0].stable, found.scripts[0].canary) == ("v1", "v3")


def ended(name: str, ending: str) -> Outcome:
    story = STORIES[name]
    return Outcome(story, ending, ending == story.ending, "3m", 5.0, 7, "why", Path("report.html"))


def test_what_did_not_end_as_one_would_wish_is_told_with_a_remedy() -> None:
    said = told([ended("healthy", "inconclusive"), ended("errors", "rolled back"), ended("slow", "promoted")])
    assert set(said) == {"healthy", "slow"}
    assert "bake longer at the last step" in said["healthy"]
    assert "the plan does not see it with this traffic, or tolerates it" in said["slow"]
    assert "statsHistogramBuckets" in said["slow"]


QUICK = PLAN.replace("steps: [{weight: 5, bake: 5m}, {weight: 50, bake: 10m}]", "steps: [{weight: 50, bake: 30s}]")


@pytest.mark.lab
@pytest.mark.slow
@pytest.mark.xdist_group("lab-routes")
@pytest.mark.timeout(240)
def test_a_broken_release_of_ones_own_service_is_rolled_back(tmp_path: Path) -> None:
    """Real Envoy, real Prometheus, the real command; the service and its versions are nobody's but the user's."""
    written(tmp_path / "objects", routes_yaml=ROUTES, plan_yaml=QUICK)
    scene, plan, _, _ = set_scene_of(tmp_path / "objects" / "plan.yaml")
    found = trial(scene, plan, FIGURES, ("errors",))
    played = play_on_its_own(found.scripts[0], tmp_path / "out", seed=1, scene=scene)
    ending = outcome(played, found.times)
    assert (ending.ending, ending.good, ending.largest) == ("rolled back", True, 50.0), ending.reason
    assert "errors: canary" in ending.reason
    assert ending.harmed >= 1
