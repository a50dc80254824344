"""The pages on a state folder and on the lab's API server: what is seen, and what is said by their forms."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from canaryd.desk import ClusterDesk
from canaryd.errors import CanarydError, Rejected, Unavailable
from canaryd.kube import CANARY_PLANS, CANARY_RUNS, connect
from canaryd.lab.kubernetes import ApiServer, Cluster, kubeconfig
from canaryd.model.run import Hold, Outcome, Phase, Run
from canaryd.report.document import Document, document
from canaryd.web.people import OwnDoor
from canaryd.web.reporting import Reports
from tests.desk.places import Place, in_cluster, in_folder, standing
from tests.report import stories
from tests.stage import plan
from tests.web.stage import KEY, STANDING, Page, entered

RUN = "/runs/default/run-1"
ENDED: dict[str, Any] = {"phase": Phase.ROLLED_BACK, "outcome": Outcome.FAILED, "ended": 1_000_060.0, "waiting": ""}


in_cluster_alone = pytest.mark.parametrize("place", ["cluster"], indirect=True)
"""A folder has no plans but those of its runs, and takes no release."""


@pytest.fixture(params=["folder", "cluster"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    if request.param == "folder":
        yield in_folder(tmp_path)
        return
    with ApiServer(Cluster()) as server:
        yield in_cluster(kubeconfig(server.address, tmp_path / "kubeconfig"))


@pytest.fixture
def page(place: Place) -> Page:
    return entered(place)


def test_the_list_has_a_line_for_each_plan(place: Place, page: Page) -> None:
    place.put_plan(place.put(standing(), STANDING))
    text = page.get("/").text
    for words in (
        "reviews",
        "3.0.1",
        "baking",
        "5 %",
        "1/3",
        "baking at 5 %: 1 of 6 cells",
        'href="/runs/default/run-1"',
    ):
        assert words in text


def test_nothing_there_is_said_kindly(page: Page) -> None:
    assert "There are no plans in" in page.get("/").text
    assert "There are no runs in" in page.get("/runs").text


def test_the_list_is_narrowed(place: Place, page: Page) -> None:
    """By words, by phase and by what is going on; what does not fit is not shown, and that is said."""
    place.put(standing("going", created=2.0), STANDING)
    place.put(standing("over", created=1.0, reason="errors: 8 % of 88", **ENDED))
    for query, shown in {
        "q=ERRORS+of": {"over"},
        "q=reviews": {"going", "over"},
        "phase=baking": {"going"},
        "live=yes": {"going"},
        "namespace=default": {"going", "over"},
        "q=errors&phase=baking": set(),
    }.items():
        text = page.piece(f"/runs?{query}").text
        assert {name for name in ("going", "over") if f"/runs/default/{name}" in text} == shown, query
    assert "None of the 2 runs here is like that" in page.piece("/runs?q=nobody").text


def test_a_runs_page_has_the_report_and_what_it_waits_for(place: Place, page: Page) -> None:
    place.put(standing(), STANDING)
    text = page.get(RUN).text
    for words in ("reviews 3.0.1: baking", "baking at 5 %: 1 of 6 cells", 'id="traffic"', 'class="plot wide"',
                  "from 0 % to 5 %", "The plan as the run holds it"):  # fmt: skip
        assert words in text
    assert "<main" not in page.piece(RUN).text


def test_parts_are_sent_when_they_have_changed(place: Place, page: Page) -> None:
    """They are the most of a page that renews itself every other second."""
    saved = place.put(standing(), STANDING)
    have = re.search(r'name="have" value="(\w+)"', page.get(RUN).text)
    assert have
    same = page.piece(f"{RUN}?renewing&have={have[1]}")
    assert (same.status_code, same.text) == (204, "")
    place.move(saved, [*STANDING, STANDING[0] | {"at": 1_000_040.0, "events": [["run.held", "ana said so"]]}])
    other = page.piece(f"{RUN}?renewing&have={have[1]}")
    assert (other.status_code, 'id="traffic"' in other.text, "say-abort" in other.text) == (200, True, False)
    assert "ana said so" in other.text
    assert "say-abort" in page.piece(f"{RUN}?renewing").text


def test_a_report_is_made_when_the_run_has_changed_and_not_for_each_look() -> None:
    made = []

    def make(*what: Any) -> Document:
        made.append(what[0].uid)
        return document(*what)

    reports, run = Reports(make=make), standing()
    first = reports.of(run, STANDING)
    assert reports.of(replace(standing()), list(STANDING)) is first
    assert reports.of(run, [*STANDING, STANDING[0] | {"at": 1_000_040.0}]).mark != first.mark
    assert reports.of(replace(run, seq=2), STANDING) is not first
    assert len(made) == 3


def test_a_word_is_said_by_a_form(place: Place, page: Page) -> None:
    """It reaches who carries the run out, signed and with its reason; then the page says whether it was heard."""
    saved = place.put(standing(), STANDING)
    answer = page.say(f"{RUN}/ask/abort", reason="the shop  calls")
    assert (answer.status_code, answer.headers["location"]) == (303, RUN)
    [command] = place.commands("run-1")
    assert (command.verb, command.reason, command.by) == ("abort", "the shop calls", place.desk.me())
    unheard = "no canaryd carries the run out, so nobody hears it yet" if place.kube is None else "has not heard it yet"
    assert unheard in page.get(RUN).text
    place.move(replace(saved, obeyed=(command.id,)))
    assert "abort: the run has heard it" in page.get(RUN).text


def test_what_would_do_nothing_is_not_offered_and_says_why(place: Place, page: Page) -> None:
    place.put(standing(), STANDING)
    text = page.get(RUN).text
    assert 'disabled id="say-resume"' in text
    assert "resume is for a person&#39;s hold" in text
    asked = page.get(f"{RUN}/ask/resume")
    assert "resume is for a person&#39;s hold" in asked.text
    refused = page.say(f"{RUN}/ask/resume")
    assert refused.status_code == 409
    assert place.commands("run-1") == ()


@pytest.mark.parametrize("fault", [Rejected("the record is damaged"), Unavailable("no answer within 10 s")])
def test_no_record_that_cannot_be_read_stands_in_the_way_of_an_abort(
    place: Place, page: Page, monkeypatch: pytest.MonkeyPatch, fault: CanarydError
) -> None:
    place.put(standing(), STANDING)
    csrf = page.csrf()

    def unread(*_: object) -> Run:
        raise fault

    monkeypatch.setattr(type(place.desk), "run", unread)
    form = {"csrf": csrf, "reason": "the shop is down"}
    assert page.post(f"{RUN}/ask/abort", form).status_code == 303
    assert [command.verb for command in place.commands("run-1")] == ["abort"]
    if isinstance(fault, Rejected):
        assert "the record is damaged" in page.get(RUN).text


def test_a_promotion_without_proof_is_asked_for_twice(place: Place, page: Page) -> None:
    """It takes a reason, and a word that it is meant without proof; from an early step it leaves out the others."""
    place.put(standing(approved=(0,)), STANDING)
    path = f"{RUN}/ask/promote"
    assert "nothing is measured there yet" in page.get(path).text
    assert page.say(path, force="yes", sure="yes").status_code == 422
    assert page.say(path, force="yes", reason="Friday").status_code == 422
    assert place.commands("run-1") == ()
    assert page.say(path, force="yes", sure="yes", reason="Friday").status_code == 303
    [command] = place.commands("run-1")
    assert (command.verb, command.force, command.reason) == ("promote", True, "Friday")


def test_a_step_is_left_out_by_its_number(place: Place, page: Page) -> None:
    place.put(standing(), STANDING)
    path = f"{RUN}/ask/skip"
    assert '<option value="2">2 (25 %)</option>' in page.get(path).text
    assert page.say(path, step="one").status_code == 422
    assert page.say(path).status_code == 422
    assert page.say(path, step="2").status_code == 303
    assert [one.skips for one in place.commands("run-1")] == [1]


def test_a_hold_by_drift_offers_both_ways_on(place: Place, page: Page) -> None:
    held = Hold("drift", "others moved the weights", 1_000_040.0, None)
    place.put(standing(hold=held, waiting="others moved the weights"), STANDING)
    text = page.get(RUN).text
    assert "Set the weights again" in text
    assert 'id="say-adopt" href' in text


def test_a_run_that_has_ended_offers_what_can_follow(place: Place, page: Page) -> None:
    """In a folder that is for the terminal, and the page says what to type there."""
    place.put(standing(reason="errors: 8 % of 88", **ENDED))
    text = page.get(RUN).text
    assert 'id="say-abort"' not in text
    if place.kube is None:
        assert "canaryd run reviews.yaml --again" in text
    else:
        assert 'id="say-retry" href' in text
        assert page.say(f"{RUN}/ask/retry", reason="the node is back").status_code == 303
        assert [one.verb for one in place.commands("run-1")] == ["retry"]
    assert page.get(f"{RUN}/ask/abort").status_code == 409


def test_what_is_not_there_is_a_page_of_its_own(place: Place, page: Page) -> None:
    for path in (RUN, f"{RUN}/report", f"{RUN}/ask/abort", "/nothing", "/runs/default/..%2f..%2fetc"):
        answer = page.get(path)
        assert answer.status_code == 404, path
        assert "To the plans" in answer.text
    place.put(standing())
    assert page.get(f"{RUN}/ask/explode").status_code == 404


def test_the_report_is_the_file_that_the_command_writes(place: Place, page: Page) -> None:
    """Its own style sheet is the only thing that its policy lets in."""
    place.put(standing(), STANDING)
    answer = page.get(f"{RUN}/report")
    assert "<title>reviews 3.0.1: baking – canaryd</title>" in answer.text
    assert "style-src 'sha256-" in answer.headers["content-security-policy"]


def test_colours_are_kept_by_the_browser(page: Page) -> None:
    assert page.post("/theme", {"theme": "dark", "next": "/runs"}).headers["location"] == "/runs"
    assert 'data-theme="dark"' in page.get("/").text
    assert page.post("/theme", {"theme": "url(evil)"}).status_code == 422


def test_health_is_answered_under_any_name(page: Page) -> None:
    assert page.get("/healthz", Host="10.0.0.3:8095").text == "ok\n"


def test_who_may_not_read_the_record_sees_what_the_status_says(tmp_path: Path) -> None:
    """And is told so; the buttons are there, for to act is another right."""
    cluster = Cluster()
    with ApiServer(cluster) as whole, ApiServer(cluster, denied=(("get", "canaryrecords"),)) as strict:
        in_cluster(kubeconfig(whole.address, tmp_path / "whole")).put(standing(), STANDING)
        desk = ClusterDesk(connect(kubeconfig(strict.address, tmp_path / "strict"), timeout=10), ("default",))
        page = Page(OwnDoor(desk, KEY))
        page.get(f"/enter?key={KEY}")
        text = page.get(RUN).text
        assert "Only what its status says can be shown" in text
        assert "canaryrecords.canaryd.io in namespace default" in text
        assert "step.shifting: from 0 % to 5 %" in text
        assert 'id="say-abort" href' in text
        assert page.get(f"{RUN}/report").status_code == 403
        assert page.say(f"{RUN}/ask/promote", force="yes", reason="Friday").status_code == 422  # its proof is not known
        assert page.say(f"{RUN}/ask/abort", reason="enough").status_code == 303


def test_a_run_that_another_program_wrote_is_shown_with_why_it_cannot_be_read(tmp_path: Path) -> None:
    with ApiServer(Cluster()) as server:
        place = in_cluster(kubeconfig(server.address, tmp_path / "kubeconfig"))
        assert place.kube is not None
        route = {"virtualService": "reviews", "entries": [], "stable": {"host": "a"}, "canary": {"host": "b"}}
        spec = {"plan": {}, "route": route, "created": "2026-01-01T00:00:00Z", "split": 0}
        body = {"apiVersion": "canaryd.io/v1alpha1", "kind": "CanaryRun", "metadata": {"name": "run-1"}, "spec": spec}
        place.kube.create(CANARY_RUNS, "default", body)
        page = entered(place)
        assert "is not a run that this canaryd wrote" in page.get("/runs").text
        answer = page.get(RUN)
        assert (answer.status_code, "is not a run that this canaryd wrote" in answer.text) == (200, True)


@in_cluster_alone
def test_plans_without_a_run_are_shown(place: Place, page: Page) -> None:
    body = plan(release="1").model_dump(mode="json", by_alias=True, exclude_none=True)
    place.kube.create(CANARY_PLANS, "default", body)
    assert "no run yet" in page.get("/").text


# -- a release


RELEASE = "/plans/default/reviews/release"


def ended(place: Place, **meta: Any) -> None:
    """A run that was rolled back, and its plan."""
    run, journal = stories.rolled_back()
    place.put_plan(place.put(replace(run, uid="run-1"), journal), **meta)


def test_a_new_release_is_given_by_a_form(place: Place, page: Page) -> None:
    """From the list, and from the page of a run that has ended; in a folder it is the file's owner's."""
    ended(place)
    offered = [RELEASE in page.get(path).text for path in ("/", RUN, "/runs")]
    assert offered == ([False] * 3 if place.kube is None else [True, True, False])
    asked = page.get(RELEASE)
    if place.kube is None:
        assert "a release is a line of the plan&#39;s file" in asked.text
        assert page.say(RELEASE, version="v4").status_code == 422
        return
    assert "asks for release v3" in asked.text
    answer = page.say(RELEASE, version=" v3.1 ", reason="the  fix")
    assert (answer.status_code, answer.headers["location"]) == (303, "/?q=reviews&namespace=default")
    found = place.kube.get(CANARY_PLANS, "default", "reviews")
    assert found["spec"]["release"] == "v3.1"
    assert found["metadata"]["annotations"]["canaryd.io/release-reason"] == "the fix"


@in_cluster_alone
@pytest.mark.parametrize(
    ("version", "status", "why"),
    [
        ("v3", 409, "asks for release &#39;v3&#39; already"),
        ("  ", 422, "what is to be released is not said"),
        ("v3\n.1", 422, "a name in one line"),
        ("v" * 254, 422, "at most 253 characters"),
    ],
)
def test_what_is_no_release_is_not_asked_for(place: Place, page: Page, version: str, status: int, why: str) -> None:
    """The form comes again, with what was filled in and why."""
    ended(place)
    answer = page.say(RELEASE, version=version, reason="kept")
    assert (answer.status_code, why in answer.text, "kept</textarea>" in answer.text) == (status, True, True)
    assert place.kube.get(CANARY_PLANS, "default", "reviews")["spec"]["release"] == "v3"


@in_cluster_alone
def test_what_a_release_does_beside_is_said_before(place: Place, page: Page) -> None:
    """That Git keeps the plan, and that another release is under way."""
    flux = {"labels": {"kustomize.toolkit.fluxcd.io/name": "shop"}}
    place.put_plan(place.put(standing(), STANDING), **flux)
    text = page.get(RELEASE).text
    assert "Kustomization shop of Flux keeps the plan" in text
    assert "Release 3.0.1 is baking at 5 %: what becomes of it the plan says" in text
    assert RELEASE not in page.get(RUN).text, "it is not offered beside the words to a run that goes on"


def test_a_plan_that_is_none_is_not_there(place: Place, page: Page) -> None:
    ended(place)
    assert page.get("/plans/default/nobody/release").status_code == 404
    assert page.get("/plans/elsewhere/reviews/release").status_code == 404
