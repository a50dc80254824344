"""
Kiali, Grafana, Jaeger and Tempo, each played by a small server with the replies that they document.

Sources: Kiali's /api/status; Grafana, "Health API" and "Dashboard search"; Jaeger's JSON API up to 2.20 and its API v3;
Tempo, "Query echo endpoint".
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import replace
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from canaryd.model.finding import Finding
from canaryd.preflight import neighbours
from canaryd.preflight.answers import DASHBOARDS, Answer
from canaryd.preflight.neighbourhood import Neighbourhood
from canaryd.preflight.survey import Survey
from canaryd.settings import Settings
from tests.mesh.objects import ROUTE
from tests.metrics.answering import Answering
from tests.metrics.worlds import closed_url
from tests.preflight.stage import Town, plan

Pages = Mapping[str, tuple[int, object]]
INDEX = (200, "<!doctype html><title>Jaeger UI</title>")
SHOWN = "/kiali/api/namespaces/default/istio/networking.istio.io/v1/VirtualService/reviews"
KIALI: Pages = {
    "/kiali/api/status": (200, {"status": {"Kiali state": "running"}, "externalServices": []}),
    SHOWN: (200, {"namespace": {"name": "default"}, "resource": {"kind": "VirtualService"}}),
}
WORKLOAD, SERVICE = (
    {"uid": f"uid-{number}", "title": title, "url": f"/d/uid-{number}/istio"} for number, title in enumerate(DASHBOARDS)
)
GRAFANA: Pages = {
    "/api/health": (200, {"database": "ok", "version": "12.0.1"}),
    "/api/search": (200, [WORKLOAD, SERVICE]),
}
JAEGER: Pages = {"/jaeger/api/services": (200, {"data": ["reviews.default"], "total": 1, "errors": None})}
JAEGER_V3: Pages = {"/jaeger/api/v3/services": (200, {"services": ["reviews.default"]}), "/jaeger/api/services": INDEX}
TEMPO: Pages = {
    "/api/echo": (200, "echo"),
    "/api/search/tag/service.name/values": (200, {"tagValues": ["reviews.default"]}),
}


@pytest.fixture
def serve() -> Iterator[Callable[[Pages], str]]:
    """Serves pages by their path, everything else with 404; the URL."""
    with ExitStack() as stack:

        def serving(pages: Pages) -> str:
            def answer(path: str, _: Mapping[str, str], __: bytes) -> tuple[int, bytes]:
                parts = urlsplit(path)
                status, body = pages.get(parts.path, (404, "404 page not found"))
                if parts.path == "/api/search" and isinstance(body, list):
                    [title] = parse_qs(parts.query)["query"]
                    body = [one for one in body if title.split()[1] in one["title"]]  # it searches by words
                return status, body.encode() if isinstance(body, str) else json.dumps(body).encode()

            return stack.enter_context(Answering(answer, name="neighbour")).url

        yield serving


def read(**urls: Any) -> Settings:
    return Settings(**urls)


def look(**urls: Any) -> Mapping[str, Answer]:
    return Neighbourhood(read(**urls), timeout=2.0).look(ROUTE)


def found(**urls: Any) -> list[Finding]:
    return list(neighbours.check(Survey(plan(), neighbours=look(**urls))))


def test_neighbours_that_answer_are_no_finding(serve: Callable[[Pages], str]) -> None:
    kiali, grafana, tracing = serve(KIALI), serve(GRAFANA), serve(JAEGER)
    assert found(kiali=f"{kiali}/kiali", grafana=grafana, tracing=f"{tracing}/jaeger") == []


def seen(town: Town, **urls: Any) -> list[str]:
    """The codes of what is found, where the versions' pods are known."""
    return [one.code for one in neighbours.check(replace(town.survey(), neighbours=look(**urls)))]


@pytest.mark.parametrize(("status", "codes"), [(200, []), (404, ["RouteNotInKiali"]), (401, []), (403, []), (500, [])])
def test_a_kiali_that_does_not_show_the_route_is_told(
    town: Town, serve: Callable[[Pages], str], status: int, codes: list[str]
) -> None:
    """The link would lead nowhere; what is shown only to who logs in is not known."""
    pages = {**KIALI, SHOWN: (status, {})}
    assert seen(town, kiali=f"{serve(pages)}/kiali") == codes


@pytest.mark.parametrize("backend", ["jaeger", "jaeger v3", "tempo"])
@pytest.mark.parametrize(
    ("known", "codes"), [(["reviews.default"], []), (["reviews"], []), (["web.shop"], ["NoTraces"])]
)
def test_a_backend_without_traces_of_the_service_is_told(
    town: Town, serve: Callable[[Pages], str], backend: str, known: list[str], codes: list[str]
) -> None:
    pages: dict[str, Pages] = {
        "jaeger": {"/api/services": (200, {"data": known})},
        "jaeger v3": {"/api/services": INDEX, "/api/v3/services": (200, {"services": known})},
        "tempo": {"/api/echo": (200, "echo"), "/api/search/tag/service.name/values": (200, {"tagValues": known})},
    }
    assert seen(town, tracing=serve(pages[backend])) == codes


def test_a_tempo_that_does_not_list_its_services_is_no_finding(town: Town, serve: Callable[[Pages], str]) -> None:
    assert seen(town, tracing=serve({"/api/echo": (200, "echo")})) == []


def test_neighbours_that_are_not_set_are_not_looked_for(town: Town) -> None:
    assert look() == {}
    assert town.found(neighbours) == []


def test_a_url_at_which_nobody_answers_is_told_of() -> None:
    findings = found(kiali=f"{closed_url()}/kiali", grafana=closed_url(), tracing=closed_url())
    assert [(one.code, one.level, one.where) for one in findings] == [
        ("NeighbourUnreachable", "info", name) for name in ("Kiali", "Grafana", "tracing")
    ]
    assert all("nobody answers there" in one.sentence for one in findings)


def test_a_wrong_path_is_told_from_nobody(serve: Callable[[Pages], str]) -> None:
    """Kiali's web_root is forgotten easily, and a UI answers to every path with its page."""
    [missing] = found(kiali=serve(KIALI))
    assert missing.sentence.endswith("HTTP 404, so that links to it may lead nowhere")
    [page] = found(kiali=serve({"/api/status": INDEX}))
    assert "is not Kiali; the URL ends with its web_root" in page.sentence
    assert [one.where for one in found(grafana=serve({"/api/health": INDEX}))] == ["Grafana"]
    assert "neither Jaeger nor Tempo" in found(tracing=serve({}))[0].sentence


@pytest.mark.parametrize("status", [401, 403, 302])
def test_one_that_wants_a_login_is_there(serve: Callable[[Pages], str], status: int) -> None:
    """People have one; what it has cannot be seen without, and nothing is said of it."""
    pages = dict.fromkeys(("/api/status", "/api/health", "/api/services", "/api/search"), (status, ""))
    url = serve(pages)
    assert found(kiali=url, grafana=url, tracing=url) == []
    assert look(grafana=url)["Grafana"].dashboards is None


def test_the_dashboards_links_are_looked_up_by_title(serve: Callable[[Pages], str]) -> None:
    """Istio's files give them no uid."""
    url = serve(GRAFANA)
    links = look(grafana=f"{url}/")["Grafana"].dashboards
    assert links == {title: f"{url}/d/uid-{number}/istio" for number, title in enumerate(DASHBOARDS)}


def test_a_dashboard_that_is_not_there_is_told_of(serve: Callable[[Pages], str]) -> None:
    """One of nearly that title is another."""
    other = {**SERVICE, "title": "Istio Service Dashboard (old)"}
    [finding] = found(grafana=serve({**GRAFANA, "/api/search": (200, [WORKLOAD, other])}))
    assert (finding.code, finding.level) == ("DashboardMissing", "info")
    assert "has no Istio Service Dashboard:" in finding.sentence


@pytest.mark.parametrize(
    ("pages", "base", "speaks"),
    [(JAEGER, "/jaeger", "jaeger"), (JAEGER_V3, "/jaeger", "jaeger v3"), (TEMPO, "", "tempo")],
)
def test_the_tracing_backend_is_known_by_what_it_answers(
    serve: Callable[[Pages], str], pages: Pages, base: str, speaks: str
) -> None:
    url = f"{serve(pages)}{base}"
    assert look(tracing=url)["tracing"] == Answer(url, speaks=speaks, services=frozenset({"reviews.default"}))


def test_one_that_never_ends_is_left() -> None:
    """A look costs its deadline at most."""

    def slow(_: str, __: Mapping[str, str], ___: bytes) -> tuple[int, bytes]:
        time.sleep(1.0)
        return 200, b"{}"

    with Answering(slow, name="slow") as server:
        begun = time.monotonic()
        [answer] = Neighbourhood(read(kiali=server.url), timeout=0.2).look(ROUTE).values()
        assert time.monotonic() - begun < 0.9
    assert answer.fault == "no answer in time"


def test_no_credentials_go_along_and_no_redirect_is_followed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Any, serve: Callable[[Pages], str]
) -> None:
    """Not even those that requests would find by itself."""
    seen: list[tuple[str, Mapping[str, str]]] = []

    def answer(path: str, headers: Mapping[str, str], _: bytes) -> tuple[int, bytes]:
        seen.append((path, headers))
        return 302, b""

    (tmp_path / "netrc").write_text("default login user password hunter2\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    with Answering(answer, name="watching") as server:
        look(kiali=server.url)
    assert len(seen) == 2  # the status and the VirtualService, and nothing where a redirect would have led
    assert not any("Authorization" in headers for _, headers in seen)


def test_the_token_and_the_headers_of_the_settings_go_along(tmp_path: Any) -> None:
    """As they do when links are looked up and traces are: what is seen here is what a report will see."""
    seen: dict[str, list[str]] = {"authorization": [], "x-scope-orgid": []}

    def answer(path: str, headers: Mapping[str, str], _: bytes) -> tuple[int, bytes]:
        for name, value in headers.items():
            if name.lower() in seen:
                seen[name.lower()].append(f"{urlsplit(path).path} {value}")
        return 200, json.dumps({"data": []} if "services" in path else [] if "search" in path else {}).encode()

    (tmp_path / "token").write_text("t0ken\n")
    token = {"from_file": str(tmp_path / "token")}
    with Answering(answer, name="neighbour") as server:
        look(
            kiali=server.url,
            grafana={"url": server.url, "token": token},
            tracing={"url": server.url, "headers": {"X-Scope-OrgID": "shop"}},
        )
    assert seen == {
        "authorization": ["/api/search Bearer t0ken"] * 2,
        "x-scope-orgid": ["/api/services shop"],
    }


@pytest.mark.parametrize("status", [401, 403])
def test_a_token_that_is_refused_is_told(serve: Callable[[Pages], str], tmp_path: Any, status: int) -> None:
    """Without one it is a login, and nothing is wrong; with one it is a wrong one, and links would be missing."""
    (tmp_path / "token").write_text("wr0ng\n")
    kept = {"from_file": str(tmp_path / "token")}
    url = serve(
        {"/api/health": GRAFANA["/api/health"], **dict.fromkeys(("/api/search", "/api/services"), (status, ""))}
    )
    refused = found(grafana={"url": url, "token": kept}, tracing={"url": url, "headers": {"X-Token": kept}})
    assert [(one.code, one.where) for one in refused] == [
        ("NeighbourUnreachable", "Grafana"),
        ("NeighbourUnreachable", "tracing"),
    ]
    assert all(f"HTTP {status}: it refuses the token or the headers" in one.sentence for one in refused)
    assert found(grafana=url, tracing=url) == []


def test_a_token_that_cannot_be_read_is_told(serve: Callable[[Pages], str], tmp_path: Any) -> None:
    missing = {"from_file": str(tmp_path / "none")}
    url = serve({**GRAFANA, "/api/services": (200, {"data": []})})
    unread = found(grafana={"url": url, "token": missing}, tracing={"url": url, "headers": {"X-Token": missing}})
    assert [one.where for one in unread] == ["Grafana", "tracing"]
    assert all("cannot be read: No such file or directory" in one.sentence for one in unread)
