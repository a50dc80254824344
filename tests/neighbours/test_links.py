"""Where a person is led to: the formats of each neighbour, the run's time, and names that want to be somewhere else."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any
from urllib.parse import SplitResult, parse_qs, unquote, urlsplit

import pytest

from canaryd.model.links import Link
from canaryd.model.run import Run
from canaryd.model.traffic import Version
from canaryd.neighbours.links import Known, Range, exposure_of, links, time_of, trace_url
from canaryd.settings import Tracing
from tests.neighbours.stories import NOW, given, in_flight, renamed, rolled_back
from tests.report import stories
from tests.report.stories import BEGAN

KIALI, GRAFANA, JAEGER = "https://kiali.example/kiali", "https://grafana.example/g", "https://tracing.example/jaeger"
ALL = given(
    kiali={"url": "http://kiali.istio-system:20001/kiali", "public": KIALI},
    grafana={"url": "http://grafana.istio-system:3000", "public": GRAFANA},
    tracing={"url": "http://tracing.istio-system:80/jaeger", "public": JAEGER},
)
KNOWN = Known("/d/uid1", "jaeger", frozenset({"reviews.default", "web.default"}))


def led(found: tuple[Link, ...], words: str) -> tuple[SplitResult, dict[str, list[str]]]:
    """The URL of the one link with these words in its title, and its parameters."""
    [link] = [one for one in found if words in one.title]
    parts = urlsplit(link.url)
    return parts, parse_qs(parts.query, strict_parsing=bool(parts.query))


def test_nothing_is_set_and_nothing_is_linked() -> None:
    assert links(rolled_back(), given(), NOW, KNOWN) == ()


def test_links_begin_where_people_reach_the_neighbours() -> None:
    """A name inside of the cluster is nothing for a browser."""
    found = links(rolled_back(), ALL, NOW, KNOWN)
    assert len(found) == 7
    assert {one.url.partition("/kiali/")[0].partition("/g/")[0].partition("/jaeger/")[0] for one in found} == {
        "https://kiali.example", "https://grafana.example", "https://tracing.example",
    }  # fmt: skip
    assert len({one.title for one in found}) == 7
    assert all(one.shows.endswith(".") and one.shows[0].isupper() for one in found)


def test_without_another_url_links_begin_where_canaryd_reaches_them() -> None:
    [graph, _, _] = links(rolled_back(), given(kiali="http://kiali.istio-system:20001/kiali"), NOW)
    assert graph.url.startswith("http://kiali.istio-system:20001/kiali/console/graph/")


def test_a_run_is_shown_from_a_bit_before_it_began_to_a_bit_after_its_end() -> None:
    """And one in flight until now."""
    run = rolled_back()
    assert run.ended == BEGAN + 45.0
    assert (time_of(run, NOW).start, time_of(run, NOW).end) == (BEGAN - 300.0, BEGAN + 345.0)
    assert time_of(run, BEGAN + 60.0).end == BEGAN + 60.0, "what lies ahead shows nothing"
    assert time_of(in_flight(), BEGAN + 50.0).end == BEGAN + 50.0


def test_traces_are_looked_for_while_the_canary_had_requests() -> None:
    """Not before, nor after it was taken back; of a run in flight until now, and before the first weight as a whole."""
    run = rolled_back()
    assert exposure_of(run, NOW) == Range(BEGAN, BEGAN + 45.0)
    assert exposure_of(in_flight(), BEGAN + 50.0) == Range(BEGAN, BEGAN + 60.0)
    promoted, _ = stories.play(stories.HEALTHY)
    assert exposure_of(promoted, NOW) == Range(BEGAN, BEGAN + 195.0 + 10.0)
    assert exposure_of(replace(run, segments=()), NOW) == time_of(run, NOW)


def test_kiali_s_graph_has_both_versions_of_the_service_and_plays_the_run_again() -> None:
    """The service's node with versioned apps; Kiali replays 1, 5, 10 or 30 minutes, in milliseconds."""
    parts, asked = led(links(rolled_back(), ALL, BEGAN + 100, KNOWN), "traffic to both")
    assert parts.path == "/kiali/console/graph/node/namespaces/default/services/reviews"
    assert asked["graphType"] == ["versionedApp"]
    assert asked["replayActive"] == ["true"]
    assert asked["replayInterval"] == ["600000"], "400 seconds fit into ten minutes"
    assert int(asked["replayStart"][0]) + 600_000 == (BEGAN + 100) * 1000
    assert asked["duration"] == ["60"]


def test_of_a_long_run_kiali_plays_the_last_half_hour() -> None:
    _, asked = led(links(replace(rolled_back(), created=BEGAN - 90_000), ALL, NOW, KNOWN), "traffic to both")
    assert asked["replayInterval"] == ["1800000"]
    assert int(asked["replayStart"][0]) + 1_800_000 == (BEGAN + 345) * 1000


def test_kiali_shows_each_virtualservice_that_is_moved() -> None:
    run = rolled_back()
    also = replace(run.route, virtual_service="reviews-gateway", namespace="ingress")
    found = links(replace(run, route=replace(run.route, also=(also,))), ALL, NOW)
    paths = [urlsplit(one.url).path for one in found if "VirtualService" in one.title]
    where = "/kiali/console/namespaces/{}/istio/networking.istio.io/v1/VirtualService/{}"
    assert paths == [where.format("default", "reviews"), where.format("ingress", "reviews-gateway")]


def test_grafana_shows_the_workload_of_each_side_over_the_run_s_time() -> None:
    """With the variables of Istio's dashboard: the source's report and the destination's."""
    parts, asked = led(links(rolled_back(), ALL, NOW, KNOWN), "Grafana: canary's")
    assert parts.path == "/g/d/uid1"
    assert asked == {
        "from": [str(int((BEGAN - 300) * 1000))],
        "to": [str(int((BEGAN + 345) * 1000))],
        "var-namespace": ["default"],
        "var-workload": ["reviews-v3"],
        "var-qrep": ["source", "destination"],
        "var-srcns": ["$__all"],
        "var-srcwl": ["$__all"],
    }
    assert led(links(rolled_back(), ALL, NOW, KNOWN), "Grafana: stable's")[1]["var-workload"] == ["reviews-v1"]


def test_a_dashboard_that_is_named_goes_before_what_was_found() -> None:
    settings = given(grafana={"url": GRAFANA, "workload_dashboard": "mine"})
    for known in (KNOWN, Known()):
        assert led(links(rolled_back(), settings, NOW, known), "canary's")[0].path == "/g/d/mine"
    assert links(rolled_back(), given(grafana=GRAFANA), NOW) == (), "and without either there is nowhere to lead to"


def test_before_the_versions_are_known_there_is_nothing_of_their_workloads() -> None:
    run = replace(rolled_back(), canary_pin=None, stable_pin=None)
    assert [one.title for one in links(run, ALL, NOW, KNOWN) if "workload" in one.title] == []


def test_jaeger_s_search_has_the_canary_s_failures() -> None:
    """Microseconds, and the tags as JSON."""
    parts, asked = led(links(rolled_back(), ALL, NOW, KNOWN), "failing requests to v3")
    assert parts.path == "/jaeger/search"
    assert asked["service"] == ["reviews.default"]
    assert asked["start"] == [str(int(BEGAN * 1_000_000))], "from its first weight"
    assert asked["end"] == [str(int((BEGAN + 45) * 1_000_000))], "to ten seconds after its last, at 35"
    assert json.loads(asked["tags"][0]) == {"error": "true", "istio.canonical_revision": "v3"}
    _, every = led(links(rolled_back(), ALL, NOW, KNOWN), ": requests to v3")
    assert json.loads(every["tags"][0]) == {"istio.canonical_revision": "v3"}


def test_failures_are_linked_to_by_the_tag_that_found_some() -> None:
    known = replace(KNOWN, failures={"http.status_code": "503"})
    _, asked = led(links(rolled_back(), ALL, NOW, known), "failing")
    assert json.loads(asked["tags"][0]) == {"http.status_code": "503", "istio.canonical_revision": "v3"}


@pytest.mark.parametrize(
    ("services", "service"),
    [
        (None, "reviews.default"),
        (["reviews"], "reviews"),
        (["reviews-v3.default"], "reviews-v3.default"),
        (["x"], None),
    ],
)
def test_the_service_is_called_as_the_backend_calls_it(services: list[str] | None, service: str | None) -> None:
    """App and namespace, the app alone, or the workload; where it has none of these there is nothing to search for."""
    known = Known(speaks="jaeger", services=None if services is None else frozenset(services))
    found = [one for one in links(rolled_back(), ALL, NOW, known) if "Jaeger" in one.title]
    assert {parse_qs(urlsplit(one.url).query)["service"][0] for one in found} == ({service} if service else set())


def test_what_is_not_known_to_be_jaeger_is_not_linked_to_as_such() -> None:
    """Unless the settings say what it is: people may reach it where canaryd does not."""
    assert [one for one in links(rolled_back(), ALL, NOW) if "Jaeger" in one.title] == []
    told = given(tracing={"url": JAEGER, "api": "jaeger-v3"})
    assert len(links(rolled_back(), told, NOW)) == 2


def test_tempo_is_shown_by_grafana() -> None:
    """It has no pages of its own: Explore, with the data source's uid."""
    settings = given(grafana=GRAFANA, tracing={"url": "http://tempo:3200", "api": "tempo", "datasource": "t1"})
    parts, asked = led(links(rolled_back(), settings, NOW), "Tempo: failing")
    assert parts.path == "/g/explore"
    pane = json.loads(asked["panes"][0])["a"]
    assert pane["datasource"] == "t1"
    assert pane["range"] == {"from": str(int(BEGAN * 1000)), "to": str(int((BEGAN + 45) * 1000))}
    [query] = pane["queries"]
    assert query["datasource"] == {"uid": "t1", "type": "tempo"}
    assert query["query"].startswith(
        '{ resource.service.name = "reviews.default" && span."istio.canonical_revision" = "v3" && (status = error'
    )
    for lacking in ({"grafana": None}, {"tracing": {"url": "http://tempo:3200", "api": "tempo"}}):
        assert [
            x for x in links(rolled_back(), settings.model_copy(update=parsed(lacking)), NOW) if "Tempo" in x.title
        ] == []


def parsed(values: dict[str, Any]) -> dict[str, Any]:
    return {name: given(**{name: value}).__getattribute__(name) for name, value in values.items()}


def test_a_trace_is_shown_by_jaeger_or_through_grafana() -> None:
    settings = given(grafana=GRAFANA, tracing={"url": JAEGER, "datasource": "t1"})
    assert isinstance(settings.tracing, Tracing)
    assert trace_url("a/b?", settings.tracing, None, "jaeger") == f"{JAEGER}/trace/a%2Fb%3F"
    shown = parse_qs(urlsplit(trace_url("abc", settings.tracing, settings.grafana, "tempo")).query)
    assert json.loads(shown["panes"][0])["a"]["queries"][0]["query"] == "abc"
    assert trace_url("abc", settings.tracing, None, "tempo") == ""


HOSTILE = [
    "../../logout", "..", ".", "a/b", "a?b=c", "a#b", "a&var-workload=c", "a%2f", 'a"b', "a\\", "</a><script>", "a b\n",
    "javascript:alert(1)", "ä", "@evil.example", "//evil.example", "a}|{b", '" || true || "',
]  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("speaks", ["jaeger", "tempo"])
def test_no_name_leads_anywhere_else(name: str, speaks: Any) -> None:
    """Each stays in its place: the same host, as many parts of a path, and the same parameters."""

    def shapes(run: Run) -> list[tuple[str, str, int, list[str], str]]:
        known = Known("/d/uid1", speaks, None)
        settings = ALL.model_copy(update=parsed({"tracing": {"url": JAEGER, "datasource": "t1"}}))
        found = [urlsplit(one.url) for one in links(run, settings, NOW, known)]
        return [
            (one.scheme, one.netloc, one.path.count("/"), sorted(parse_qs(one.query, strict_parsing=bool(one.query))),
             one.fragment)
            for one in found
        ]  # fmt: skip

    run = rolled_back()
    assert len(shapes(run)) == 7
    assert shapes(renamed(run, name)) == shapes(renamed(run, "plain"))
    for link in links(renamed(run, name), ALL, NOW, KNOWN):
        assert all(one not in link.url for one in ' \n"<>\\^`{|}'), (
            "a URL can stand in a page, in Markdown and in a message"
        )
        assert not {".", ".."} & set(urlsplit(link.url).path.lower().replace("%2e", ".").split("/"))
    shown = [link for link in links(renamed(run, name), ALL, NOW, KNOWN) if "VirtualService" in link.title]
    named = [unquote(urlsplit(one.url).path.rpartition("/")[2]) for one in shown]
    assert named == [name if name.strip(".") else name.replace(".", "%2E")]


def test_a_query_of_tempo_s_cannot_be_ended_by_a_name() -> None:
    run = rolled_back()
    hostile = replace(run, route=replace(run.route, canary=Version("reviews", '" } || { true')))
    settings = given(grafana=GRAFANA, tracing={"url": "http://tempo", "api": "tempo", "datasource": "t1"})
    _, asked = led(links(hostile, settings, NOW), ": requests")
    query = json.loads(asked["panes"][0])["a"]["queries"][0]["query"]
    assert query.endswith('span."istio.canonical_revision" = "\\" } || { true" }')


def test_a_version_that_is_a_whole_host_is_found_by_the_service_alone() -> None:
    run = rolled_back()
    hosts = replace(run, route=replace(run.route, stable=Version("reviews"), canary=Version("reviews-v3")))
    known = Known(speaks="jaeger", services=frozenset({"reviews-v3.default"}))
    _, asked = led(links(hosts, ALL, NOW, known), "failing requests to reviews-v3.default")
    assert json.loads(asked["tags"][0]) == {"error": "true"}


def test_a_host_outside_of_the_cluster_has_no_graph_in_kiali() -> None:
    run = rolled_back()
    spec = run.plan.spec.model_copy(
        update={"target": run.plan.spec.target.model_copy(update={"host": "api.pay.example"})}
    )
    outside = replace(run, plan=run.plan.model_copy(update={"spec": spec}))
    titles = [one.title for one in links(outside, ALL, NOW)]
    assert "Kiali: traffic to both versions" not in titles
    assert "Kiali: VirtualService reviews" in titles
