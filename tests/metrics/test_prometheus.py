"""The adapter's manners: which answer becomes which error, deadlines, and what the probe finds."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import replace

import pytest

from canaryd.errors import Rejected, Unavailable
from canaryd.metrics.prometheus import Prometheus
from canaryd.model.cells import Apart, Cell, Sought
from canaryd.model.failures import Failures
from canaryd.settings import Kept, Source
from tests.metrics.book import Book
from tests.metrics.load import Load
from tests.metrics.recorded import Recorded
from tests.metrics.worlds import RecordedWorld, closed_url, send, sought, window

REVIEWS = Sought(
    ("reviews.default.svc.cluster.local",), "default", ("reviews-v1",), ("reviews-v3",), (2, 4, 12, 13, 14, 15), 15.0
)
NOW = 1_700_000_000.0
PAY = (("path", ("/pay",)),)
AT = window(NOW - 30, NOW - 15)


@pytest.fixture
def recorded() -> Iterator[Recorded]:
    load = Load(since=NOW - 3600)
    load.turn(NOW - 600, share=0.1)
    with Recorded(load.book(15.0), clock=lambda: NOW) as server:
        yield server


@pytest.mark.parametrize(
    ("status", "body", "error"),
    [
        (503, b"upstream connect error", Unavailable),
        (500, b"{}", Unavailable),
        (502, b"<html>Bad Gateway</html>", Unavailable),
        (429, b"slow down", Unavailable),
        (400, b'{"status":"error","errorType":"bad_data","error":"parse error"}', Rejected),
        (401, b"", Rejected),
        (403, b"forbidden", Rejected),
        (404, b"404 page not found", Rejected),
        (422, b'{"status":"error","errorType":"execution","error":"too many samples"}', Rejected),
    ],
)
def test_a_status_says_what_to_do_next(recorded: Recorded, status: int, body: bytes, error: type[Exception]) -> None:
    """Unavailable is asked again; Rejected needs a person, and says for what."""
    recorded.status, recorded.body = status, body
    with pytest.raises(error, match=f"HTTP {status}"):
        Prometheus(recorded.url).count(REVIEWS, AT)


def test_a_part_that_is_refused_costs_its_check_only(recorded: Recorded) -> None:
    """A label with too many series must not blind the run; what was refused is the check's own word."""
    recorded.refused = 'path="/pay"'
    found = Prometheus(recorded.url).count(replace(REVIEWS, apart=(Apart("pay", PAY, Failures()),)), AT)
    assert isinstance(found, Cell)
    assert found.canary.requests > 0
    [portion] = found.portions
    assert "too many samples" in portion.why


def test_what_the_plan_restricts_is_needed(recorded: Recorded) -> None:
    """Without the counts that the plan asks for there is no cell; it is asked for again."""
    recorded.refused = 'path="/pay"'
    with pytest.raises(Rejected, match="too many samples"):
        Prometheus(recorded.url).count(replace(REVIEWS, where=PAY), AT)


@pytest.mark.parametrize(
    "body", [b"<html>log in</html>", b"[]", b'{"status":"success","data":{}}', b'{"status":"success"}']
)
def test_an_answer_that_is_not_prometheus_s_is_unavailable(recorded: Recorded, body: bytes) -> None:
    """A login page or a maintenance page comes with status 200."""
    recorded.status, recorded.body = 299, body  # any 2xx goes the same way
    with pytest.raises(Unavailable, match="not Prometheus's"):
        Prometheus(recorded.url).count(REVIEWS, AT)


def test_no_retry_of_its_own(recorded: Recorded) -> None:
    """The library retries a 503 for six seconds; the cell's deadline is ours."""
    recorded.status, recorded.body = 503, b"no"
    start = time.monotonic()
    with pytest.raises(Unavailable):
        Prometheus(recorded.url).count(REVIEWS, AT)
    assert len(recorded.asked) == 1
    assert time.monotonic() - start < 2


def test_a_cell_is_four_queries_at_one_moment(recorded: Recorded) -> None:
    """Counts and durations of different moments would not be of the same requests."""
    assert isinstance(Prometheus(recorded.url).count(REVIEWS, AT), Cell)
    assert [form["time"] for form in recorded.asked] == [f"{AT.end:.3f}"] * 4


@pytest.mark.parametrize(("told", "known"), [(None, None), (3.25, 3.25), (float("nan"), None), (float("inf"), None)])
def test_istiod_s_pace_is_known_where_prometheus_scrapes_it(told: float | None, known: float | None) -> None:
    """A quiet istiod has no rate: its quantile is NaN, and that is no pace."""
    world = RecordedWorld()
    with world.recorded as server:
        server.converges = told
        assert world.metrics.pace(sought()).convergence == known
        server.warnings, server.warned = ["a store is missing"], "pilot_proxy"
        assert world.metrics.pace(sought()).convergence is None


@pytest.mark.parametrize(("samples", "scrape"), [(151, 1.0), (11, 15.0), (4, 50.0), (3, None), (0, None)])
def test_how_often_callers_are_scraped_is_learned(
    recorded: Recorded, monkeypatch: pytest.MonkeyPatch, samples: float, scrape: float | None
) -> None:
    """From the samples that there are, whatever a plan says: n in 150 s are at most the (n-1)th part of it apart."""
    metrics = Prometheus(recorded.url)
    monkeypatch.setattr(metrics, "_samples", lambda *_: samples)
    assert metrics.pace(REVIEWS).scrape == scrape


def test_pods_that_cannot_be_had_do_not_cost_the_cell(recorded: Recorded) -> None:
    """They say how much pods differ, and nothing else: refused, partial or silent, the counts are still evidence."""
    whole = Prometheus(recorded.url).count(REVIEWS, AT)
    assert isinstance(whole, Cell)
    recorded.refused = 'reporter="destination"'
    assert Prometheus(recorded.url).count(REVIEWS, AT) == whole
    recorded.refused, recorded.slow = "", ('reporter="destination"', 1.0)
    start = time.monotonic()
    assert Prometheus(recorded.url, timeout=0.9).count(REVIEWS, AT) == whole
    assert time.monotonic() - start < 0.9


def test_a_session_for_each_thread(recorded: Recorded) -> None:
    """requests' sessions are not safe to share."""
    prometheus, found = Prometheus(recorded.url), []
    threads = [threading.Thread(target=lambda: found.append(prometheus.count(REVIEWS, AT))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert len(found) == 4
    assert len(set(found)) == 1


@pytest.mark.parametrize("drip", [b"", b"H", b"HTTP/1.1 200 OK\r\n\r\n{"], ids=["silent", "hung", "dripping"])
def test_a_deadline_holds_against_a_server_that_hangs(drip: bytes) -> None:
    """A collector that never comes back would be blind for ever."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        stop = threading.Event()

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                try:
                    connection.sendall(drip)
                    while not stop.wait(0.05):
                        connection.sendall(b" " if drip.startswith(b"HTTP") else b"")
                except OSError:
                    pass

        thread = threading.Thread(target=serve)
        thread.start()
        start = time.monotonic()
        with pytest.raises(Unavailable, match="no answer within"):
            Prometheus(f"http://127.0.0.1:{listener.getsockname()[1]}", timeout=0.5).count(REVIEWS, AT)
        took = time.monotonic() - start
        stop.set()
        thread.join(10)
    assert took < 2


def test_a_password_in_the_url_is_not_repeated() -> None:
    """Errors end in logs, statuses and pages."""
    prometheus = Prometheus(closed_url().replace("//", "//me:secret@"))
    with pytest.raises(Unavailable) as caught:
        prometheus.count(REVIEWS, AT)
    assert "secret" not in str(caught.value)
    assert "efused" in str(caught.value)


@pytest.mark.parametrize("url", ["prometheus:9090", "ftp://prometheus", "http://", ""])
def test_a_url_that_is_none_is_refused_at_once(url: str) -> None:
    """Better at the start than at the first cell."""
    with pytest.raises(Rejected, match="--prometheus"):
        Prometheus(url)


def test_sides_of_one_workload_are_refused() -> None:
    """Argo's Rollout has both versions under one workload: no label tells them apart."""
    same = Sought(REVIEWS.hosts, "default", ("reviews",), ("reviews",), (), 15.0)
    with pytest.raises(Rejected, match="cannot tell"):
        Prometheus(closed_url()).count(same, AT)


def test_headers_go_with_every_query(monkeypatch: pytest.MonkeyPatch) -> None:
    """A token is how a shared Prometheus is asked."""
    monkeypatch.setenv("SHOWN", "Bearer x")
    seen: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                seen.append(connection.recv(65536))
                connection.sendall(b"HTTP/1.1 503 no\r\nContent-Length: 0\r\n\r\n")

        thread = threading.Thread(target=serve)
        thread.start()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        with pytest.raises(Unavailable):
            Prometheus(Source(url=url, headers={"Authorization": Kept(from_env="SHOWN")})).count(REVIEWS, AT)
        thread.join(10)
    assert b"Authorization: Bearer x" in seen[0]


def test_a_usable_prometheus_has_no_problem(recorded: Recorded) -> None:
    """Admission goes on."""
    assert Prometheus(recorded.url, clock=lambda: NOW).probe(REVIEWS) == ()


def test_the_probe_finds_each_obstacle(recorded: Recorded) -> None:
    """Each is one sentence with its remedy, before a run starts rather than after."""
    prometheus = Prometheus(recorded.url, clock=lambda: NOW + 60)
    nobody = Sought(("nobody.default.svc.cluster.local",), "default", ("a",), ("b",), (), 15.0)
    skew, blind = prometheus.probe(nobody)
    assert (skew.path, skew.value) == ("--prometheus", "60 s apart")
    assert "nobody" in blind.expected
    assert "sidecar" in blind.remedy
    [seldom] = Prometheus(recorded.url, clock=lambda: NOW).probe(
        Sought(REVIEWS.hosts, "default", REVIEWS.stable, REVIEWS.canary, (), 5.0)
    )
    assert (seldom.value, "every 5 s" in seldom.expected) == ("about 15 s", True)


def test_a_prometheus_that_was_away_a_minute_ago_may_be_used() -> None:
    """An outage makes fewer samples too; a release must not be refused for it, and told to change its plan."""
    book = Load(since=NOW - 3600).book(15.0)
    book.outages.append((NOW - 100, NOW - 20))
    with Recorded(book, clock=lambda: NOW) as server:
        assert Prometheus(server.url, clock=lambda: NOW).probe(REVIEWS) == ()
        book.scrape = 30.0
        assert len(Prometheus(server.url, clock=lambda: NOW).probe(REVIEWS)) == 1, "that is no outage"


def test_the_probe_says_that_nobody_is_there() -> None:
    """And how to check."""
    [problem] = Prometheus(closed_url()).probe(REVIEWS)
    assert "cannot be asked" in problem.value
    assert "curl" in problem.remedy


def test_the_probe_says_that_somebody_else_is_there(recorded: Recorded) -> None:
    """A dashboard's URL instead of Prometheus's is the usual mistake."""
    recorded.status, recorded.body = 404, b"404 page not found"
    [problem] = Prometheus(recorded.url).probe(REVIEWS)
    assert "path prefix" in problem.value


def test_a_recorded_prometheus_refuses_other_queries(recorded: Recorded) -> None:
    """So that a changed query is noticed."""
    status, body = recorded.answer({"query": "sum(up)", "time": str(NOW)})
    assert (status, json.loads(body)["errorType"]) == (400, "bad_data")


def test_the_load_follows_its_dial(recorded: Recorded) -> None:
    """What kill tests rely on: a faulty canary looks faulty, and the past never changes."""
    load = Load(since=NOW - 3600)
    load.turn(NOW - 600, share=0.1)
    with Recorded(lambda: load.book(15.0), clock=lambda: NOW) as server:
        prometheus = Prometheus(server.url)
        healthy = prometheus.count(REVIEWS, window(NOW - 325, NOW - 310))
        load.turn(NOW - 300, canary_errors=0.5, unhealthy=1.0)
        assert prometheus.count(REVIEWS, window(NOW - 325, NOW - 310)) == healthy
        faulty = prometheus.count(REVIEWS, window(NOW - 285, NOW - 270))
    assert isinstance(healthy, Cell)
    assert isinstance(faulty, Cell)
    assert (healthy.stable.requests, healthy.canary.requests) == pytest.approx((1350, 150), abs=2)
    assert (faulty.canary.errors, faulty.unattributed) == pytest.approx((75, 15), abs=1)
    assert sum(faulty.canary.buckets) == pytest.approx(75, abs=2)


def test_an_empty_book_is_a_blind_prometheus() -> None:
    """Nothing scraped yet."""
    with Recorded(Book(), clock=lambda: NOW) as server:
        [problem] = Prometheus(server.url, clock=lambda: NOW).probe(REVIEWS)
    assert problem.value == "none"


MINUTES = tuple(window(NOW - 660 + 60 * number, NOW - 600 + 60 * number) for number in range(10))


def test_history_is_four_questions_whatever_its_length(recorded: Recorded) -> None:
    """Cell by cell, half an hour would be a hundred and twenty."""
    prometheus = Prometheus(recorded.url)
    found = prometheus.history(REVIEWS, MINUTES)
    assert len(recorded.asked) == 4
    assert {(form["start"], form["end"], form["step"]) for form in recorded.asked} == {
        (f"{NOW - 600:.3f}", f"{NOW - 60:.3f}", "60.000")
    }
    assert found == tuple(prometheus.count(REVIEWS, one) for one in MINUTES)
    assert any(isinstance(one, Cell) for one in found)
    assert prometheus.history(REVIEWS, ()) == ()


@pytest.mark.parametrize(
    ("status", "body", "error"),
    [
        (503, b"upstream connect error", Unavailable),
        (299, b"<html>log in</html>", Unavailable),
        (299, b'{"status":"success","data":{"result":[{"metric":{},"values":[[5,"1"]]}]}}', Unavailable),
        (299, b'{"status":"success","data":{"result":{"metric":{}}}}', Unavailable),
        (404, b"404 page not found", Rejected),
        (422, b'{"status":"error","error":"too many samples"}', Rejected),
    ],
)
def test_a_bad_answer_for_history_says_what_to_do_next(
    recorded: Recorded, status: int, body: bytes, error: type[Exception]
) -> None:
    """The run goes on without, and says why; nothing else may come out."""
    recorded.status, recorded.body = status, body
    with pytest.raises(error):
        Prometheus(recorded.url).history(REVIEWS, MINUTES)


def test_history_has_a_deadline_of_its_own(recorded: Recorded) -> None:
    """Twice that of a cell: its questions are larger, and nobody waits for them but the first cells."""
    prometheus = Prometheus(recorded.url, timeout=0.3)
    recorded.slow = ("istio_requests_total", 5.0)
    start = time.monotonic()
    with pytest.raises(Unavailable, match="no answer within"):
        prometheus.history(REVIEWS, MINUTES)
    assert time.monotonic() - start < 2


def test_pods_that_cannot_be_had_do_not_cost_history(recorded: Recorded) -> None:
    """They are only wanted there too."""
    whole = Prometheus(recorded.url).history(REVIEWS, MINUTES)
    recorded.refused = 'reporter="destination"'
    assert Prometheus(recorded.url).history(REVIEWS, MINUTES) == whole
    assert any(isinstance(one, Cell) for one in whole)


def test_pods_of_which_some_are_missing_are_unknown() -> None:
    """The missing ones may be those that differ; the callers' counts are whole."""
    world = RecordedWorld()
    with world.recorded as server:
        to = sought()
        send(world, to, "app-v1", 100)
        start = world.edge()
        send(world, to, "app-v1", 10)
        send(world, to, "app-v1", 5, reporter="destination", pod="pod-b")
        at = window(start, world.edge(), percent=0)
        whole = world.metrics.count(to, at)
        assert isinstance(whole, Cell)
        assert whole.stable.pods == ((5, 0),)
        server.warnings, server.warned = ["a store is missing"], 'reporter="destination"'
        without = replace(whole, stable=replace(whole.stable, pods=()))
        assert world.metrics.count(to, at) == without
        assert world.metrics.history(to, (at,)) == (without,)
