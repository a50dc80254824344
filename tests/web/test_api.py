"""The JSON API: the same as the command line's JSON, errors as problem details, and what its own document allows."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest
import schemathesis
from schemathesis.specs.openapi.checks import positive_data_acceptance

from canaryd.desk import depth_data, plan_data, run_data
from canaryd.lab.kubernetes import ApiServer, Cluster, kubeconfig
from tests.desk.places import Place, in_cluster, in_folder, standing
from tests.web.stage import KEY, STANDING, Page, own_page

RUN = "/api/v1/runs/default/run-1"
SIGNED_IN = {"Authorization": f"Bearer {KEY}"}


@pytest.fixture
def place(tmp_path: Path) -> Place:
    found = in_folder(tmp_path)
    found.put(standing(approved=(0,)), STANDING)
    return found


@pytest.fixture
def page(place: Place) -> Page:
    return own_page(place)


def asked(page: Page, path: str) -> Any:
    answer = page.get(path, **SIGNED_IN)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json")
    return answer.json()


def test_it_says_what_the_command_line_says(place: Place, page: Page) -> None:
    """Key by key: who reads -o json reads this."""
    seen = place.desk.look("default", "run-1")
    depth = depth_data(seen)
    assert asked(page, "/api/v1/plans") == [plan_data(one) for one in place.desk.plans()]
    assert asked(page, "/api/v1/runs") == [run_data(one) for one in place.desk.runs()]
    assert asked(page, "/api/v1/runs?plan=nobody") == []
    assert asked(page, RUN) == depth
    assert asked(page, f"{RUN}/decisions") == depth["decisions"] != []
    assert asked(page, f"{RUN}/report")["run"] == "run-1"
    assert asked(page, "/api/v1/me") == {"name": place.desk.me(), "where": place.desk.where}


def test_the_report_comes_in_each_form(page: Page) -> None:
    assert page.get(f"{RUN}/report?form=md", **SIGNED_IN).text.startswith("# ")
    html = page.get(f"{RUN}/report?form=html", **SIGNED_IN)
    assert html.headers["content-disposition"] == 'attachment; filename="run-1.html"'
    assert page.get(f"{RUN}/report?form=pdf", **SIGNED_IN).status_code == 422


def test_what_there_is_to_say_is_listed_with_why_not(page: Page) -> None:
    said = {one["verb"]: one for one in asked(page, f"{RUN}/commands")}
    assert said["abort"] == {"verb": "abort", "possible": True, "whyNot": None}
    assert "resume is for a person's hold" in said["resume"]["whyNot"]
    assert "undo" not in said


@pytest.mark.parametrize(
    ("body", "status", "detail"),
    [
        ({"verb": "resume"}, 409, "resume is for a person's hold"),
        ({"verb": "undo"}, 409, "in a folder that is for the terminal"),
        ({"verb": "promote", "force": True}, 422, "needs a reason"),
        ({"verb": "promote", "force": True, "reason": "Friday"}, 422, "nothing is measured there yet"),
        ({"verb": "skip"}, 422, "which step"),
        ({"verb": "skip", "step": 3}, 409, "never the last"),
        ({"verb": "explode"}, 422, "body.verb"),
        ({"verb": "abort", "why": "typo"}, 422, "body.why"),
        ({"verb": "abort", "reason": "x" * 1025}, 422, "body.reason"),
    ],
)
def test_what_cannot_be_said_is_a_problem(page: Page, place: Place, body: Any, status: int, detail: str) -> None:
    """RFC 9457, with the sentence that the page and the command line have too; and nothing is written down."""
    answer = page.browser.post(f"{RUN}/commands", json=body, headers=SIGNED_IN)
    problem = answer.json()
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")
    assert problem["status"] == status
    assert detail in problem["detail"]
    assert place.commands("run-1") == ()


def test_a_word_is_written_down(page: Page, place: Place) -> None:
    body = {"verb": "promote", "force": True, "reason": "Friday", "sure": True}
    answer = page.browser.post(f"{RUN}/commands", json=body, headers=SIGNED_IN)
    [command] = place.commands("run-1")
    assert (answer.status_code, answer.json()) == (202, {"id": command.id, "verb": "promote", "by": place.desk.me()})
    assert (command.reason, command.force) == ("Friday", True)


def test_a_release_is_asked_for(tmp_path: Path) -> None:
    """What the page and the command line do, with their sentences."""
    with ApiServer(Cluster(), user="ana") as server:
        place = in_cluster(kubeconfig(server.address, tmp_path / "kubeconfig"))
        place.put_plan(place.put(standing(), STANDING))
        page = own_page(place)
        path = "/api/v1/plans/default/reviews/release"
        said = page.browser.post(path, json={"version": "v4", "reason": "the fix"}, headers=SIGNED_IN)
        expected = {"namespace": "default", "plan": "reviews", "former": "3.0.1", "release": "v4"}
        assert (said.status_code, said.json()) == (202, expected)
        again = page.browser.post(path, json={"version": "v4"}, headers=SIGNED_IN)
        assert (again.status_code, "asks for release 'v4' already" in again.json()["detail"]) == (409, True)


def test_in_a_folder_a_release_is_a_problem(page: Page) -> None:
    said = page.browser.post("/api/v1/plans/default/reviews/release", json={"version": "v4"}, headers=SIGNED_IN)
    assert (said.status_code, "write release: 'v4' into it" in said.json()["detail"]) == (422, True)


def test_what_is_not_there_is_a_problem(page: Page) -> None:
    for path in ("/api/v1/runs/default/nobody", "/api/v1/nothing", "/api/nothing"):
        answer = page.get(path, **SIGNED_IN)
        assert (answer.status_code, answer.headers["content-type"]) == (404, "application/problem+json")


def test_where_nobody_answers_that_is_said(tmp_path: Path) -> None:
    """The API server is away: a page that says so, a problem, and no traceback."""
    with ApiServer(Cluster()) as server:
        page = own_page(in_cluster(kubeconfig(server.address, tmp_path / "kubeconfig")))
        assert page.get("/api/v1/runs", **SIGNED_IN).json() == []
    answer = page.get("/api/v1/runs", **SIGNED_IN)
    assert (answer.status_code, answer.json()["title"]) == (503, "Nobody answers")
    page.get(f"/enter?key={KEY}")
    assert page.get("/").status_code == 503
    assert "is not reachable" in page.get("/").text


def test_the_document_is_openapi_3_1(page: Page) -> None:
    """It can be read by whoever comes, and lists no page."""
    document = page.get("/api/openapi.json").json()
    assert document["openapi"].startswith("3.1")
    assert all(path.startswith("/api/v1/") for path in document["paths"])


@pytest.fixture(params=["folder", "cluster"])
def described(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Any]:
    """The API as its own document describes it, on a folder and on an API server, with a run in it."""
    with contextlib.ExitStack() as stack:
        if request.param == "folder":
            place = in_folder(tmp_path)
        else:
            server = stack.enter_context(ApiServer(Cluster()))
            place = in_cluster(kubeconfig(server.address, tmp_path / "kubeconfig"))
        place.put_plan(place.put(standing(approved=(0,)), STANDING))
        app = own_page(place, url="http://testserver").app
        yield schemathesis.openapi.from_asgi("/api/openapi.json", app)


schema = schemathesis.pytest.from_fixture("described")


@schema.parametrize()
@hypothesis.settings(
    max_examples=20,
    deadline=None,
    derandomize=True,
    phases=[hypothesis.Phase.explicit, hypothesis.Phase.generate],  # to make a failure small takes minutes
    suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture, hypothesis.HealthCheck.too_slow],
)
def test_it_does_what_its_document_says(case: schemathesis.Case[Any]) -> None:
    """No 5xx, no answer and no status that the document does not have; half of the time of a run that is there."""
    allowed = case.meta is not None and case.meta.generation.mode is schemathesis.GenerationMode.POSITIVE
    if allowed and case.path_parameters and len(str(case.path_parameters["name"])) % 2:
        case.path_parameters = {"namespace": "default", "name": "reviews" if "/plans/" in case.path else "run-1"}
    # A promotion without a reason is well formed, and refused all the same.
    case.call_and_validate(headers=SIGNED_IN, excluded_checks=[positive_data_acceptance])
