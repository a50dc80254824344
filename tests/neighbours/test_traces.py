"""Example traces: what a backend is asked, how its answer is read, and that a fault of it is a reason and no more."""

from __future__ import annotations

import base64
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol, TypeVar

import pytest

from canaryd.model.links import Traces
from canaryd.model.run import Run
from canaryd.neighbours import example_traces, neighbourhood
from canaryd.neighbours.examples import slow_from
from canaryd.neighbours.spans import of_jaeger, of_otlp, of_tempo
from tests.metrics.worlds import closed_url
from tests.neighbours.standing_in import (
    FAULTS,
    Fault,
    Grafana,
    Jaeger,
    StandIn,
    Tempo,
    Told,
    by_proxy,
    mesh,
    standing_in,
)
from tests.neighbours.stories import given, rolled_back
from tests.report.stories import BEGAN

NOW = BEGAN + 50.0
S = TypeVar("S", bound=StandIn)


class Serve(Protocol):
    def __call__(self, one: S) -> S: ...


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Lets stand-ins answer until the test ends."""
    with ExitStack() as stack:

        def serving(one: S) -> S:
            stack.enter_context(standing_in(one))
            return one

        yield serving


def look(url: str, run: Run | None = None, seconds: float = 5.0, **more: Any) -> Traces:
    settings = given(tracing={"url": url, **more})
    return neighbourhood(run or rolled_back(), settings, NOW, seconds)[1]


def numbers(traces: Traces, kind: str) -> list[int]:
    """Which requests of :func:`mesh` these are."""
    return [int(one.id, 16) - 1 for one in traces.found if one.kind == kind]


def backend(kind: str, **more: Any) -> StandIn:
    """One of each kind over the same mesh, below a base path."""
    spans = more.pop("spans", mesh(NOW))
    if kind == "tempo":
        return Tempo(spans=spans, base="/tempo", **more)
    return Jaeger(spans=spans, base="/jaeger", first=kind == "jaeger", **more)


KINDS = ("jaeger", "jaeger-v3", "tempo")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("told", [True, False])
def test_the_canary_s_last_failures_and_its_slowest_requests(serve: Serve, kind: str, told: bool) -> None:
    """0, 12 and 24 are its failures; of the others 27 and 21 took longest. Whether the API is told or found out."""
    traces = look(serve(backend(kind)).url, api=kind if told else "auto")
    assert traces.why == ""
    assert numbers(traces, "failing") == [24, 12, 0]
    assert numbers(traces, "slow") == [27, 21, 18]
    last = traces.found[0]
    assert last.at == pytest.approx(NOW - 50 + 24, abs=1e-3)
    assert last.took == pytest.approx(0.001 + 24 / 25, abs=1e-5)
    assert last.status == "503"
    assert "reviews.default: reviews.default.svc.cluster.local:9080/* (503)" in last.failed
    if kind != "tempo":  # which tells only of the spans that were asked for
        assert last.failed[0] == "productpage.default: reviews.default.svc.cluster.local:9080/* (503)"
        assert last.url.endswith(f"/jaeger/trace/{24 + 1:032x}")


@pytest.mark.parametrize("kind", KINDS)
def test_a_backend_is_asked_for_the_run_s_time_only(serve: Serve, kind: str) -> None:
    """What failed a day before is somebody else's."""
    old = [replace(span, at=span.at - 86_400) for span in mesh(NOW)]
    traces = look(serve(backend(kind, spans=old)).url)
    assert traces.found == ()
    assert "has none in which v3 failed or was slow" in traces.why


@pytest.mark.parametrize("kind", KINDS)
def test_stable_s_failures_are_no_examples_of_the_canary(serve: Serve, kind: str) -> None:
    """Though its subset's name is the revision of stable's pods: the pod's name decides where there is one."""
    spans = [
        Told("a" * 32, "1" * 16, "reviews.default", NOW - 9, 2.0, by_proxy("reviews-v1-h1-aaaaa", "503", "v3")),
        Told("b" * 32, "2" * 16, "reviews.default", NOW - 8, 2.0, by_proxy("reviews-v3-h9-aaaaa", "503", "v3")),
        Told("c" * 32, "3" * 16, "reviews.default", NOW - 7, 2.0, by_proxy("reviews-v3-h3-aaaaa", "503", "v3", "prod")),
        Told("d" * 32, "4" * 16, "reviews.default", NOW - 6, 2.0, by_proxy("reviews-v3-h3-aaaaa", "503", "v3")),
    ]
    traces = look(serve(backend(kind, spans=spans)).url)
    assert [one.id for one in traces.found] == ["d" * 32], "not another template's pod, nor another namespace's"


@pytest.mark.parametrize("kind", KINDS)
def test_pods_are_found_where_the_subset_is_not_named_after_their_version(serve: Serve, kind: str) -> None:
    """The search by the tag finds nothing, and the one by the service does."""
    spans = [replace(span, tags={**span.tags, "istio.canonical_revision": "2026-11"}) for span in mesh(NOW)]
    assert numbers(look(serve(backend(kind, spans=spans)).url), "failing") == [24, 12, 0]


def test_without_a_pod_s_name_the_revision_decides(serve: Serve) -> None:
    """Other tracers than Envoy's have no node_id."""
    spans = [replace(span, tags={**span.tags, "node_id": ""}) for span in mesh(NOW)]
    assert numbers(look(serve(backend("jaeger", spans=spans)).url), "failing") == [24, 12, 0]


def test_a_jaeger_that_wants_errors_as_booleans_is_asked_by_status(serve: Serve) -> None:
    """As Jaeger 2.13 with its memory storage was seen to: the tag's text "true" finds nothing there."""
    server = serve(Jaeger(spans=mesh(NOW), boolean_errors=True))
    settings = given(tracing=server.url)
    links, traces = neighbourhood(rolled_back(), settings, NOW)
    assert numbers(traces, "failing") == [24, 12, 0]
    [link] = [one for one in links if "failing" in one.title]
    assert "http.status_code" in link.url, "the link finds what was found"


def test_the_third_api_of_before_its_tags_is_filtered_here(serve: Serve) -> None:
    """Until 2.18 it takes no attributes and gives everything."""
    server = serve(Jaeger(spans=mesh(NOW), first=False, filters=False))
    assert numbers(look(server.url), "failing") == [24, 12, 0]


def test_the_third_api_may_stream_its_result(serve: Serve) -> None:
    """One object for each part of the answer, one after the other."""
    server = serve(Jaeger(spans=mesh(NOW), first=False, streams=True))
    assert numbers(look(server.url), "failing") == [24, 12, 0]


def test_the_third_api_s_parameters_are_spelt_in_both_ways(serve: Serve) -> None:
    """Snake case until 2.18, camel case since; the times are required."""
    server = serve(Jaeger(spans=mesh(NOW), first=False))
    look(server.url)
    asked = next(one for one in server.asked if one.path == "/api/v3/traces")
    assert asked.one("query.serviceName") == asked.one("query.service_name") == "reviews.default"
    assert asked.one("query.startTimeMin") == asked.one("query.start_time_min") == "2026-09-21T14:13:20.000000Z"
    assert asked.one("query.searchDepth") == asked.one("query.num_traces")


def test_a_tempo_s_traces_lead_to_grafana(serve: Serve) -> None:
    tempo = serve(backend("tempo"))
    settings = given(
        grafana={"url": closed_url(), "public": "https://grafana.example"},
        tracing={"url": tempo.url, "datasource": "t1"},
    )
    links, traces = neighbourhood(rolled_back(), settings, NOW)
    assert traces.found[0].url.startswith("https://grafana.example/explore?")
    assert [one.title for one in links] == ["Tempo: failing requests to v3", "Tempo: requests to v3"]


def test_few_traces_are_shown_and_few_are_asked_for(serve: Serve) -> None:
    """However many there are."""
    tags = by_proxy("reviews-v3-h3-abcde", "500", "v3")
    many = [Told(f"{n:032x}", f"{n:016x}", "reviews.default", BEGAN + 40 - n / 10, 0.01, tags) for n in range(1, 400)]
    server = serve(Jaeger(spans=many))
    assert numbers(look(server.url), "failing") == [0, 1, 2]
    assert {one.one("limit") for one in server.asked if one.path == "/api/traces"} <= {"20", "50"}
    assert len(server.asked) <= 12


def test_a_trace_of_many_failed_spans_names_few_of_them(serve: Serve) -> None:
    spans = [
        Told("a" * 32, f"{n:016x}", "reviews.default", NOW - 9 + n / 100, 1.0, by_proxy("reviews-v3-h3-a", "503", "v3"),
             name=f"call\x1b[31m {n} " + "x" * 500)
        for n in range(40)
    ]  # fmt: skip
    [trace] = look(serve(Jaeger(spans=spans)).url).found
    assert len(trace.failed) == 5
    assert all(len(one) <= 100 and one.isprintable() for one in trace.failed)


# -- what can go wrong


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("api", ["auto", *KINDS])
def test_a_fault_is_why_there_are_no_traces_and_nothing_else(serve: Serve, fault: Fault, api: str) -> None:
    """In the time that it may take, and in words that can be shown."""
    server = serve(backend("tempo" if api == "tempo" else "jaeger"))
    server.fault = fault
    begun = time.monotonic()
    traces = look(server.url, seconds=0.5, api=api)
    assert time.monotonic() - begun < 5.0
    assert traces.found == ()
    assert traces.why.startswith(f"no traces: {server.url}: "), traces.why
    assert traces.why.isprintable()
    words = {
        "slow": "no answer in time",
        "drips": "no answer in time",
        "500": "HTTP 500: upstream [31mconnect error",
        "401": "it wants a login",
        "redirect": "it wants a login",
        "page": "a page and no answer",
        "huge": "more than 8 MiB",
        "no json": "no JSON",
        "deep": "no JSON",
    }
    assert words.get(fault, "") in traces.why
    assert "/login" not in {one.path for one in server.asked}, "no redirect is followed"


@pytest.mark.parametrize("fault", FAULTS)
def test_a_backend_that_fails_after_it_was_met_is_no_more_than_that(serve: Serve, fault: Fault) -> None:
    server = serve(backend("jaeger"))
    former = server.answer

    def once(asked: Any) -> tuple[int, str, bytes]:
        server.fault = fault
        return former(asked)

    server.answer = once  # type: ignore[method-assign]  # for this one
    traces = look(server.url, seconds=0.5)
    assert traces.found == ()
    assert traces.why.startswith(f"no traces: {server.url}")


def test_nobody_answers(serve: Serve) -> None:
    url = closed_url()
    assert look(url) == Traces(why=f"no traces: {url}: nobody answers there")


def test_a_fault_of_ours_is_one_sentence(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("on purpose")

    monkeypatch.setattr("canaryd.neighbours.traces.of_jaeger", broken)
    assert "a fault of canaryd's (ZeroDivisionError('on purpose'))" in look(serve(backend("jaeger")).url).why


def test_a_backend_that_does_not_know_the_service_is_told(serve: Serve) -> None:
    spans = [replace(span, service="web.shop") for span in mesh(NOW)]
    assert look(serve(backend("jaeger", spans=spans)).url).why.endswith("has none of reviews.default or reviews")
    assert look(serve(backend("jaeger", spans=[])).url).why.endswith("has none of reviews.default or reviews")


def test_nothing_is_set_and_nobody_is_asked() -> None:
    begun = time.monotonic()
    assert neighbourhood(rolled_back(), given(), NOW) == ((), Traces(why="no traces: no tracing in the settings"))
    assert time.monotonic() - begun < 1.0


def test_a_name_that_cannot_be_looked_up_makes_nobody_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    """The resolver has no deadline of ours: a message, or the end of a run, would wait for it."""
    over, looked = threading.Event(), threading.Event()

    def lookup(*_: object, **__: object) -> list[Any]:
        looked.set()
        over.wait(30.0)
        raise OSError("no such name")

    monkeypatch.setattr("urllib3.util.connection.socket.getaddrinfo", lookup)
    settings = given(kiali="http://kiali/kiali", grafana="http://grafana.away", tracing="http://tracing.away/jaeger")
    try:
        links, traces = neighbourhood(rolled_back(), settings, NOW, 0.3)
        assert looked.is_set()
        assert {one.title.partition(":")[0] for one in links} == {"Kiali"}
        assert traces == Traces(why="no traces: http://tracing.away/jaeger: no answer in time")
        assert example_traces(rolled_back(), settings, NOW, 0.3) == traces
        alive = [one for one in threading.enumerate() if one.name == "neighbour"]
        assert alive, "it was waited for"
        assert all(one.daemon for one in alive), "the end of the process would wait for it"
    finally:
        over.set()


def test_headers_of_the_settings_go_along_and_no_others(
    serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A tenant, and a token from a file; not what requests finds in ~/.netrc."""
    (tmp_path / "netrc").write_text("default login user password hunter2\n")
    (tmp_path / "token").write_text("t0ken\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    server = serve(backend("jaeger"))
    look(server.url, headers={"X-Scope-OrgID": "shop", "X-Token": {"from_file": str(tmp_path / "token")}})
    assert {one.headers["x-scope-orgid"] for one in server.asked} == {"shop"}
    assert {one.headers["x-token"] for one in server.asked} == {"t0ken"}
    assert not any("authorization" in one.headers for one in server.asked)
    server.asked.clear()
    lacking = look(server.url, headers={"X-Token": {"from_file": str(tmp_path / "none")}})
    assert "cannot be read: No such file or directory" in lacking.why
    assert server.asked == []


def test_grafana_s_dashboard_is_looked_up_by_its_title(serve: Serve, tmp_path: Path) -> None:
    """Istio's file gives it no uid; one of nearly that title is another, and a path that it says itself is not used."""
    (tmp_path / "token").write_text("t0ken")
    grafana = serve(Grafana(base="/g", token="t0ken"))
    settings = given(grafana={"url": grafana.url, "token": {"from_file": str(tmp_path / "token")}})
    links, _ = neighbourhood(rolled_back(), settings, NOW)
    assert [one.url.partition("?")[0] for one in links] == [f"{grafana.url}/d/ab-C_d1"] * 2
    grafana.dashboards = ({"uid": "//evil.example", "title": "Istio Workload Dashboard"},)
    assert neighbourhood(rolled_back(), settings, NOW)[0] == ()


@pytest.mark.parametrize("fault", FAULTS)
def test_a_grafana_that_fails_costs_its_links_only(serve: Serve, fault: Fault) -> None:
    grafana, jaeger = serve(Grafana()), serve(backend("jaeger"))
    grafana.fault = fault
    settings = given(kiali="http://kiali/kiali", grafana=grafana.url, tracing=jaeger.url)
    links, traces = neighbourhood(rolled_back(), settings, NOW, 2.0)
    assert {one.title.partition(":")[0] for one in links} == {"Kiali", "Jaeger"}
    assert len(traces.found) == 6


# -- the answers, place by place


@pytest.mark.parametrize("read", [of_jaeger, of_otlp, of_tempo])
@pytest.mark.parametrize(
    "answer", [None, 7, "x", [], {}, {"data": 1}, {"result": 1}, {"traces": 1}, [1], [{"result": {}}, 1]]
)
def test_another_answer_is_told_from_an_empty_one(read: Callable[[Any], object], answer: Any) -> None:
    with pytest.raises(ValueError, match=r"no (data|result|traces) in it"):
        read(answer)


ODD: list[Any] = [None, 7, "x", [], {}, [None], [7], [[]], {"a": None}, True, 1e400, -5, "NaN", "1" * 400]


@pytest.mark.parametrize("odd", ODD, ids=repr)
def test_a_place_that_is_otherwise_than_written_is_left_out(odd: Any) -> None:
    """Wherever it is; what is beside it is read."""
    good_v1 = {"traceID": "ab", "spanID": "1", "startTime": 1, "duration": 1, "tags": [], "processID": "p1"}
    good_v3 = {"traceId": "ab", "spanId": "1", "startTimeUnixNano": "1", "endTimeUnixNano": "2", "attributes": []}
    good_tempo = {"spanID": "1", "startTimeUnixNano": "1", "durationNanos": "1", "attributes": []}
    for key in good_v1:
        spans = of_jaeger({"data": [{"spans": [{**good_v1, key: odd}, good_v1, odd], "processes": odd}, odd]})
        assert len(spans) >= 1
    for key in (*good_v3, "status", "kind"):
        scope = {"scopeSpans": [{"spans": [{**good_v3, key: odd}, good_v3, odd]}, odd], "resource": odd}
        assert len(of_otlp({"result": {"resourceSpans": [scope, odd]}})) >= 1
    for key in good_tempo:
        trace = {"traceID": "ab", "spanSets": [{"spans": [{**good_tempo, key: odd}, good_tempo, odd]}]}
        assert len(of_tempo({"traces": [trace, odd]})) >= 1


def test_ids_in_base64_are_the_same_ids() -> None:
    """As Jaeger's third API wrote them before it wrote hex."""
    raw = bytes(range(16))
    span = {"traceId": base64.b64encode(raw).decode(), "spanId": base64.b64encode(raw[:8]).decode()}
    [found] = of_otlp({"result": {"resourceSpans": [{"scopeSpans": [{"spans": [span]}]}]}})
    assert (found.trace, found.id) == (raw.hex(), raw[:8].hex())


def test_an_id_that_is_none_is_not_linked_to() -> None:
    span = {"traceId": "../../logout", "spanId": "1"}
    assert of_otlp({"result": {"resourceSpans": [{"scopeSpans": [{"spans": [span]}]}]}}) == ()


def test_slow_is_slower_than_nearly_all_of_stable_s_requests() -> None:
    """The bound of the histogram below which 99 % of the last weight's are; nothing where none was measured."""
    run = rolled_back()
    assert slow_from(run) == 0.5
    assert slow_from(replace(run, cells=())) == float("inf")
