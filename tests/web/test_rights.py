"""
Who may what, as a real API server says: its RBAC with the roles of deploy/, tokens of its own, and impersonation.

The lab's API server knows people by their tokens, but no roles.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from canaryd.errors import Conflict
from canaryd.kube import CANARY_PLANS, Kind, Kube, connect
from canaryd.web.people import ProxyDoor, TokenDoor, networks
from tests.conftest import XDIST_GROUP
from tests.deploy.manifests import DEPLOY
from tests.desk.places import Place, in_cluster, standing
from tests.report import stories
from tests.web.stage import STANDING, Page

pytestmark = [XDIST_GROUP]

ACCOUNTS = Kind("", "v1", "serviceaccounts")
ROLES = Kind("rbac.authorization.k8s.io", "v1", "clusterroles")
BINDINGS = Kind("rbac.authorization.k8s.io", "v1", "rolebindings")
RUN = "/runs/default/run-1"
PEOPLE = {"vera": "canaryd-viewer", "otto": "canaryd-operator", "paul": "canaryd-approver", "nina": ""}


@dataclass(frozen=True)
class Town:
    """A cluster with people in it: ``tokens`` are theirs."""

    place: Place
    kube: Kube
    config: Path
    tokens: dict[str, str]

    def page_of(self, name: str) -> Page:
        """The page, where that person has signed in."""
        page = Page(TokenDoor(connect(str(self.config), timeout=20)))
        assert page.post("/login", {"secret": self.tokens[name]}).status_code == 303
        return page


@pytest.fixture(scope="module")
def people(real_api: Path) -> dict[str, str]:
    """Everybody's token; each is a service account that is bound to one of the roles in deploy/."""
    kube = connect(str(real_api), timeout=20)
    for role in yaml.safe_load_all((DEPLOY / "base/people.yaml").read_text()):
        kube.apply(ROLES, "", role["metadata"]["name"], role, field_manager="tests", force=True)
    tokens = {}
    for name, role in PEOPLE.items():
        _created(kube, ACCOUNTS, {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name}})
        if role:
            _bind(kube, f"page-{name}", role, {"kind": "ServiceAccount", "name": name, "namespace": "default"})
        wanted = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"expirationSeconds": 3600}}
        path = ACCOUNTS.path("default", name, "token")
        tokens[name] = str(kube._request("POST", path, None, wanted, "application/json")["status"]["token"])
    _bind(kube, "page-ana", "canaryd-operator", {"kind": "User", "name": "ana", "apiGroup": ROLES.group})
    _bind(kube, "page-shop", "canaryd-viewer", {"kind": "Group", "name": "shop", "apiGroup": ROLES.group})
    return tokens


def _bind(kube: Kube, name: str, role: str, subject: dict[str, str]) -> None:
    body: dict[str, Any] = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "RoleBinding",
        "metadata": {"name": name},
        "roleRef": {"apiGroup": ROLES.group, "kind": "ClusterRole", "name": role},
        "subjects": [subject],
    }
    _created(kube, BINDINGS, body)


def _created(kube: Kube, kind: Kind, body: dict[str, Any]) -> None:
    with contextlib.suppress(Conflict):  # of a module before
        kube.create(kind, "default", body)


@pytest.fixture
def town(real_api: Path, people: dict[str, str]) -> Town:
    place = in_cluster(real_api)
    place.put(standing(), STANDING)
    assert place.kube is not None
    return Town(place, place.kube, real_api, people)


def test_who_may_operate_has_buttons_that_work(town: Town) -> None:
    page = town.page_of("otto")
    text = page.get(RUN).text
    assert 'id="say-abort" href' in text
    assert 'id="say-hold" href' in text
    assert page.say(f"{RUN}/ask/hold", reason="the fair begins").status_code == 303
    [command] = town.place.commands("run-1")
    assert (command.verb, command.by) == ("hold", "system:serviceaccount:default:otto")


def test_who_may_only_look_has_buttons_that_say_so(town: Town) -> None:
    """And who says a word all the same, without the button, gets the API server's answer."""
    page = town.page_of("vera")
    text = page.get(RUN).text
    assert 'id="say-abort" aria-disabled="true" aria-describedby="lacks"' in text
    assert "may not operate canaryruns.canaryd.io in namespace default" in text
    assert "kubectl create rolebinding canaryd-operator-vera --clusterrole=canaryd-operator" in text
    for verb in ("abort", "hold", "advance"):
        answer = page.say(f"{RUN}/ask/{verb}", reason="why not")
        assert (answer.status_code, "Not granted" in answer.text) == (403, True)
    assert town.place.commands("run-1") == ()


def test_who_may_only_look_releases_nothing(town: Town) -> None:
    """By the page as by the API server; who may operate does."""
    town.place.put_plan(town.place.put(standing(uid="run-2"), STANDING))
    path = "/plans/default/reviews/release"
    vera, otto = town.page_of("vera"), town.page_of("otto")
    town.place.put(replace(stories.rolled_back()[0], uid="run-3"))
    run = "/runs/default/run-3"
    assert 'id="say-release" aria-disabled="true" aria-describedby="lacks"' in vera.get(run).text
    assert "may not release canaryplans.canaryd.io in namespace default" in vera.get(run).text
    assert 'id="say-release" href' in otto.get(run).text
    text = vera.get(path).text
    assert '<button class="weighty" disabled>' in text
    assert "may not release canaryplans.canaryd.io in namespace default" in text
    answer = vera.say(path, version="v4")
    assert (answer.status_code, "Not granted" in answer.text) == (403, True)
    assert "disabled" not in otto.get(path).text.partition('class="ask"')[2]
    assert otto.say(path, version="v4", reason="the fix").status_code == 303
    found = town.place.kube.get(CANARY_PLANS, "default", "reviews")  # type: ignore[union-attr]
    said = found["metadata"]["annotations"]["canaryd.io/released-by"]
    assert (found["spec"]["release"], said) == ("v4", "system:serviceaccount:default:otto")


def test_who_may_approve_may_not_abort(town: Town) -> None:
    text = town.page_of("paul").get(RUN).text
    assert 'id="say-approve" href' in text
    assert 'id="say-abort" aria-disabled="true"' in text
    assert 'id="say-approve" aria-disabled="true"' in town.page_of("otto").get(RUN).text


def test_who_may_nothing_is_told_kindly(town: Town) -> None:
    """What is there is not shown, not even that it is."""
    page = town.page_of("nina")
    for path in ("/", "/runs", "/?namespace=default"):
        text = page.get(path).text
        assert "may not list canary" in text
        assert "reviews" not in text
    assert page.get(RUN).status_code == 403
    answer = page.get(f"/api/v1{RUN}")
    assert (answer.status_code, answer.headers["content-type"]) == (403, "application/problem+json")
    assert "kubectl create rolebinding" in answer.json()["remedy"]


def test_who_may_see_one_namespace_names_it(town: Town) -> None:
    page = town.page_of("vera")
    assert "write its name into the field above" in page.get("/runs").text
    assert RUN in page.get("/runs?namespace=default").text


def test_a_word_by_the_api_is_the_persons(town: Town) -> None:
    page = Page(TokenDoor(connect(str(town.config), timeout=20)))
    path = f"/api/v1{RUN}/commands"
    answers = {
        name: page.another().post(path, json={"verb": "abort"}, headers={"Authorization": f"Bearer {token}"})
        for name, token in town.tokens.items()
    }
    said = {name: answer.status_code for name, answer in answers.items()}
    # Without the policies of deploy/ the API server asks for the right to patch alone.
    assert said == {"vera": 403, "otto": 202, "paul": 202, "nina": 403}


def test_a_token_of_no_one_is_not_let_in(town: Town) -> None:
    page = Page(TokenDoor(connect(str(town.config), timeout=20)))
    broken = town.tokens["otto"][:-4] + "AAAA"
    assert page.post("/login", {"secret": broken}).status_code == 401
    assert page.get("/api/v1/plans", Authorization=f"Bearer {broken}").status_code == 401


def test_a_proxied_person_has_their_own_rights_and_not_the_page_s(town: Town) -> None:
    """The page's account may impersonate and is an administrator here; the people are not."""
    page = Page(ProxyDoor(connect(str(town.config), timeout=20), networks(["10.0.3.7"])), peer="10.0.3.7")
    ana, eve = {"X-Forwarded-User": "ana"}, {"X-Forwarded-User": "eve"}
    shop = eve | {"X-Forwarded-Groups": "shop"}
    assert 'id="say-abort" href' in page.get(RUN, **ana).text
    assert page.get(RUN, **eve).status_code == 403
    page = Page(page.door, peer="10.0.3.7")
    assert 'id="say-abort" aria-disabled="true"' in page.get(RUN, **shop).text
