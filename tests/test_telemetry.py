"""canaryd's own metrics: what they say of a run, how many there are, and that the server that shows them stays up."""

from __future__ import annotations

import gzip
import http.client
import re
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families

from canaryd import telemetry
from canaryd.errors import CanarydError, Rejected, Unavailable
from canaryd.kube import CANARY_RUNS, LEASES, NAMESPACES, PODS, VIRTUAL_SERVICES, connect
from canaryd.lab import prometheus as lab
from canaryd.lab.kubernetes import ApiServer, Cluster, kubeconfig
from canaryd.lab.processes import free_port
from canaryd.model.run import Hold, Latch, Phase, Run
from canaryd.model.traffic import NOTHING
from tests.stage import START, Stage, evidence, new_run, percent
from tests.stage import plan as short_plan
from tests.world import World

ROOT = Path(__file__).parents[1]
PLACE = {"namespace": "default", "plan": "reviews"}


@pytest.fixture(autouse=True)
def _of_no_other_test() -> None:
    """Every run of these tests has one name, and what was told of the last is not told of the next."""
    telemetry.RUNS.show(True)


def named(name: str) -> Any:
    found = short_plan()
    return found.model_copy(update={"metadata": found.metadata.model_copy(update={"name": name})})


class Seen:
    """Runs with a registry and a clock of their own, read as a scrape reads them."""

    def __init__(self) -> None:
        self.at = START
        self.runs = telemetry.Runs(lambda: self.at)
        self.registry = CollectorRegistry()
        self.registry.register(self.runs)

    def observe(self, run: Run) -> None:
        self.runs.observed(run, self.at)

    def value(self, name: str, **labels: str) -> float | None:
        return self.registry.get_sample_value(f"canaryd_run_{name}", PLACE | labels)

    def one_of(self, name: str, label: str) -> set[str]:
        """The values of ``label`` for which the metric is 1."""
        samples = [sample for family in self.registry.collect() for sample in family.samples]
        return {each.labels[label] for each in samples if each.name == f"canaryd_run_{name}" and each.value == 1}

    @property
    def series(self) -> int:
        return sum(len(family.samples) for family in self.registry.collect())


def exported(name: str, **labels: str) -> float:
    return telemetry.REGISTRY.get_sample_value(name, labels) or 0.0


# -- what is said of a run


def test_a_run_is_shown_as_its_last_tick_left_it() -> None:
    """Phase, step, weight, and that it is in flight."""
    seen, stage = Seen(), Stage()
    stage.baking(1)
    seen.at = stage.now
    seen.observe(stage.run)
    assert seen.one_of("phase", "phase") == {"baking"}
    assert (seen.value("step"), seen.value("steps"), seen.value("weight_ratio")) == (2, 3, 0.25)
    assert (seen.value("active"), seen.one_of("held", "kind")) == (1, set())
    assert seen.value("last_tick_timestamp_seconds") == stage.now
    assert seen.value("rollback_pending_seconds") == 0


def test_evidence_is_told_as_a_share_of_its_bound() -> None:
    """One line in a graph, at 1, whatever the plan's alpha and number of checks."""
    seen = Seen()
    reading = replace(evidence(segment=1).readings[0], harm=10.0, harm_bound=40.0, proof=5.0, proof_bound=20.0)
    stated = evidence(segment=1, harm=25.0, harm_bound=100.0, readings=(reading,))
    seen.observe(replace(new_run(short_plan()), evidence=stated))
    assert seen.value("harm_ratio") == 0.25
    assert seen.value("evidence_ratio", check="errors", of="harm") == 0.25
    assert seen.value("evidence_ratio", check="errors", of="proof") == 0.25


def test_a_check_that_proves_nothing_has_no_proof() -> None:
    """Nothing over nothing is no number."""
    seen = Seen()
    reading = replace(evidence(segment=1).readings[0], harm_bound=40.0, proof_bound=0.0)
    seen.observe(replace(new_run(short_plan()), evidence=evidence(segment=1, readings=(reading,))))
    assert seen.value("evidence_ratio", check="errors", of="proof") is None


def test_a_run_that_only_observes_gives_the_canary_nothing() -> None:
    """Nobody is to be woken for traffic that was never moved."""
    seen = Seen()
    seen.observe(replace(new_run(short_plan(mode="observe")), split=percent(25)))
    assert (seen.value("weight_ratio"), seen.value("active")) == (0, 1)


def test_a_hold_is_told_by_its_kind() -> None:
    """Never by its text."""
    seen = Seen()
    seen.observe(replace(new_run(short_plan()), hold=Hold("drift", "somebody changed the weights", START, None)))
    assert seen.one_of("held", "kind") == {"drift"}


def test_ages_grow_while_nothing_ticks() -> None:
    """A tick that hangs must not look as if nothing had changed since a moment ago."""
    seen = Seen()
    run = replace(new_run(short_plan()), split=percent(5), seq=1, latch=Latch("abort", "", START - 2))
    seen.observe(run)
    before = seen.value("since_change_seconds"), seen.value("rollback_pending_seconds")
    seen.at += 100
    after = seen.value("since_change_seconds"), seen.value("rollback_pending_seconds")
    assert (before, after) == ((0, 2), (100, 102))


def test_a_change_starts_its_age_anew_and_a_tick_does_not() -> None:
    """An alert on a run that does not move counts from the last move."""
    seen = Seen()
    run = replace(new_run(short_plan()), phase=Phase.BAKING, split=percent(5), at=START, arrived_at=START)
    for seconds in (0, 30, 60):
        seen.at = START + seconds
        seen.observe(run)
    assert seen.value("since_change_seconds") == 60
    seen.observe(replace(run, step=1))
    assert seen.value("since_change_seconds") == 0


def test_after_a_restart_the_age_is_what_the_run_says() -> None:
    """A leader that took over a minute ago does not make a run of yesterday look young."""
    seen = Seen()
    seen.at = START + 500
    seen.observe(replace(new_run(short_plan()), at=START + 100, arrived_at=START + 110))
    assert seen.value("since_change_seconds") == 390


def test_a_rollback_is_pending_until_it_is_accepted() -> None:
    """What RollbackPending is about."""
    seen = Seen()
    run = replace(new_run(short_plan()), phase=Phase.ROLLING_BACK, seq=2, latch=Latch("fail", "", START - 5))
    seen.observe(run)
    assert seen.value("rollback_pending_seconds") == 5
    assert seen.runs.accepted(run)
    assert not seen.runs.accepted(run)
    seen.observe(run)
    assert seen.value("rollback_pending_seconds") == 0


def test_a_rollback_that_somebody_undid_is_pending_again() -> None:
    """The write that is to bring it down again has another number."""
    seen = Seen()
    run = replace(new_run(short_plan()), phase=Phase.ROLLING_BACK, seq=2, latch=Latch("fail", "", START - 5))
    seen.runs.accepted(run)
    seen.observe(replace(run, seq=3))
    assert seen.value("rollback_pending_seconds") == 5


def test_a_rollback_that_a_former_process_got_through_is_not_pending() -> None:
    """This process saw it only in the mesh."""
    seen = Seen()
    run = replace(new_run(short_plan()), phase=Phase.ROLLING_BACK, seq=2, latch=Latch("fail", "", START - 5))
    seen.observe(replace(run, split=NOTHING, arrived_at=START - 1))
    assert seen.value("rollback_pending_seconds") == 0


# -- how many series there are


def test_a_thousand_runs_of_a_plan_have_the_series_of_one() -> None:
    """A Prometheus dies of labels that are new with each release."""
    seen, plan = Seen(), short_plan()
    stated = evidence(segment=1)
    seen.observe(replace(new_run(plan), evidence=stated))
    before = seen.series
    for number in range(1000):
        latch = Latch("fail", f"errors: canary {number} %", START)
        seen.observe(replace(new_run(plan), uid=f"run-{number}", evidence=stated, latch=latch))
    assert (before, seen.series) == (before, before)
    assert before < 30


def test_a_thousand_plans_have_a_thousand_times_as_many_as_one() -> None:
    """And no more: a scrape times out after ten seconds by default, and holds the interpreter meanwhile."""
    seen = Seen()
    for number in range(1000):
        seen.observe(new_run(named(f"plan-{number}")))
    assert seen.series <= 26_000


def test_the_series_of_a_run_go_some_time_after_its_end() -> None:
    """Not at once: what no scrape has seen, the alerts' memory holds for unfinished."""
    seen = Seen()
    run = replace(new_run(short_plan()), phase=Phase.PROMOTED, released=True)
    seen.observe(run)
    seen.at += telemetry.RETAINED - 1
    assert seen.value("active") == 0
    seen.at += 2
    assert seen.series == 0


def test_the_series_of_a_run_that_has_not_ended_stay_while_nothing_ticks() -> None:
    """It is then that they matter."""
    seen = Seen()
    seen.observe(replace(new_run(short_plan()), phase=Phase.PROMOTED, released=False))
    seen.at += 100 * telemetry.RETAINED
    assert seen.value("active") == 1


def test_a_plan_that_is_gone_is_first_shown_as_ended() -> None:
    """Else a plan that is deleted would be missed for a week by CanaryUnwatched."""
    seen = Seen()
    seen.observe(replace(new_run(short_plan()), split=percent(5), latch=Latch("abort", "", START - 2)))
    seen.runs.gone("default", "reviews")
    seen.runs.gone("default", "never-seen")
    assert (seen.value("active"), seen.value("rollback_pending_seconds")) == (0, 0)
    seen.at += telemetry.RETAINED + 1
    assert seen.series == 0


def test_a_process_that_leads_no_longer_shows_no_run() -> None:
    """The next leader's words would stand beside its stale ones."""
    telemetry.leading(True)
    telemetry.observed(new_run(short_plan()), (), START)
    assert (exported("canaryd_leader"), exported("canaryd_run_step", **PLACE)) == (1, 1)
    telemetry.leading(False)
    telemetry.observed(new_run(short_plan()), (), START)
    assert (exported("canaryd_leader"), exported("canaryd_run_step", **PLACE)) == (0, 0)
    telemetry.leading(True)
    telemetry.observed(new_run(short_plan()), (), START)
    assert (exported("canaryd_leader"), exported("canaryd_run_step", **PLACE)) == (1, 1)


# -- where it is told from


def test_a_run_that_fails_is_counted_once_each_with_the_metric_that_failed_it() -> None:
    """Through the real reconciler: the verdict, the retreat's time, the end, the saves."""
    verdict = {"verdict": "fail", "reason": "error-rate"}
    before = (
        exported("canaryd_verdicts_total", **verdict),
        exported("canaryd_runs_ended_total", outcome="failed"),
        exported("canaryd_rollback_seconds_count"),
        exported("canaryd_store_saves_total", outcome="saved"),
    )
    World(canary_errors=0.3).live()
    after = (
        exported("canaryd_verdicts_total", **verdict),
        exported("canaryd_runs_ended_total", outcome="failed"),
        exported("canaryd_rollback_seconds_count"),
    )
    assert after == tuple(count + 1 for count in before[:3])
    assert exported("canaryd_store_saves_total", outcome="saved") > before[3] + 3
    assert exported("canaryd_run_active", **PLACE) == 0
    assert exported("canaryd_run_phase", **PLACE, phase="rolled-back") == 1


def test_a_run_that_is_promoted_is_counted_step_by_step() -> None:
    """One step passed, one promotion proven, one end."""
    names = [("canaryd_verdicts_total", {"verdict": "pass", "reason": reason}) for reason in ("step", "proven")]
    names.append(("canaryd_runs_ended_total", {"outcome": "promoted"}))
    before = [exported(name, **labels) for name, labels in names]
    World().live()
    assert [exported(name, **labels) for name, labels in names] == [count + 1 for count in before]


def test_an_abort_that_the_api_refuses_is_pending_until_it_is_accepted() -> None:
    """Counted from the abort, not from the try that worked."""
    world = World()
    while world.split == NOTHING:
        world.tick()
        world.clock.at += 1
    before = exported("canaryd_rollback_seconds_sum")
    world.mesh.fail_before(Unavailable("no answer"), "retreat")
    world.ask("abort")
    world.reconciler.tick("run-1")
    assert exported("canaryd_run_rollback_pending_seconds", **PLACE) > 0
    world.clock.at += 3
    world.reconciler.tick("run-1")
    assert exported("canaryd_run_rollback_pending_seconds", **PLACE) == 0
    assert exported("canaryd_rollback_seconds_sum") - before == pytest.approx(3)


@pytest.mark.parametrize(
    ("latch", "changes", "reason"),
    [
        (Latch("abort", "aborted by ada", START), {}, "person"),
        (Latch("inconclusive", "the limit ran out", START), {}, "limit-of-hold"),
        (Latch("fail", "the canary has no ready endpoint", START), {}, "canary-not-ready"),
        (Latch("fail", "errors", START), {"failure": "errors", "harm": 3.0}, "hard-limit"),
        (Latch("fail", "errors", START), {"failure": "errors", "harm": 200.0}, "unattributed"),
    ],
)
def test_the_reason_of_a_verdict_is_one_of_few(latch: Latch, changes: dict[str, Any], reason: str) -> None:
    """Its text is in the journal; a label has to stay countable."""
    stated = evidence(segment=1, **changes) if changes else None
    assert telemetry._reason(replace(new_run(short_plan()), latch=latch, evidence=stated)) == reason


def test_a_fault_in_telemetry_is_nobody_else_s() -> None:
    """A rollback that failed over a metric is worse than a metric that is missing."""
    telemetry.observed(None, (), START)  # type: ignore[arg-type]
    telemetry.retreated(None, START)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("method", "path", "verb", "kind"),
    [
        ("GET", VIRTUAL_SERVICES.path("shop", "reviews"), "get", "virtualservices"),
        ("GET", PODS.path("shop"), "list", "pods"),
        ("GET", NAMESPACES.path(name="shop"), "get", "namespaces"),
        ("GET", NAMESPACES.path(), "list", "namespaces"),
        ("WATCH", CANARY_RUNS.path(), "watch", "canaryruns"),
        ("POST", CANARY_RUNS.path("shop"), "create", "canaryruns"),
        ("PUT", LEASES.path("canaryd", "canaryd"), "update", "leases"),
        ("PATCH", CANARY_RUNS.path("shop", "run-1", "status"), "patch", "canaryruns/status"),
        ("DELETE", CANARY_RUNS.path("shop", "run-1"), "delete", "canaryruns"),
    ],
)
def test_a_request_is_told_by_verb_and_kind_and_no_name(method: str, path: str, verb: str, kind: str) -> None:
    """A label with the object's name in it would grow with the cluster."""
    assert telemetry._verb_and_kind(method, path) == (verb, kind)


def test_requests_are_counted_with_what_came_of_them(tmp_path: Path) -> None:
    """An API server that is not there, and one that hangs."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        hangs, nobody = silent.getsockname()[1], free_port()
        for port, code in ((hangs, "timeout"), (nobody, "unreachable")):
            before = exported("canaryd_kube_requests_total", verb="list", kind="pods", code=code)
            kube = connect(_kubeconfig(tmp_path, port), timeout=0.3)
            with pytest.raises(Unavailable):
                kube.list(PODS, "shop")
            assert exported("canaryd_kube_requests_total", verb="list", kind="pods", code=code) == before + 1


def test_answers_and_watches_are_counted_by_their_status(tmp_path: Path) -> None:
    """Against the lab's API server: 200, 201, 404, and a watch that begins."""
    with ApiServer(Cluster()) as server:
        kube = connect(kubeconfig(server.address, tmp_path / "kubeconfig"), timeout=5)
        labels = [
            {"verb": verb, "kind": "leases", "code": code}
            for verb, code in (("list", "200"), ("create", "201"), ("get", "404"), ("watch", "200"))
        ]
        before = [exported("canaryd_kube_requests_total", **each) for each in labels]
        _, version = kube.listed(LEASES)
        kube.create(LEASES, "default", {"metadata": {"name": "one", "namespace": "default"}})
        with pytest.raises(Rejected):
            kube.get(LEASES, "default", "another")
        began = time.time()
        for _ in kube.watch(LEASES, "default", since=version, seconds=1):
            break
    assert exported("canaryd_watch_last_contact_timestamp_seconds", kind="leases", scope="default") >= began
    after = [exported("canaryd_kube_requests_total", **each) for each in labels]
    assert after == [count + 1 for count in before]


def _kubeconfig(tmp_path: Path, port: int) -> Path:
    file = tmp_path / f"kubeconfig-{port}"
    one = {"name": "one"}
    content = {
        "clusters": [one | {"cluster": {"server": f"http://127.0.0.1:{port}"}}],
        "users": [one | {"user": {}}],
        "contexts": [one | {"context": {"cluster": "one", "user": "one"}}],
        "current-context": "one",
    }
    file.write_text(yaml.safe_dump(content))
    return file


@pytest.mark.parametrize(
    ("error", "outcome"), [(None, "answered"), (Unavailable(""), "unavailable"), (Rejected(""), "rejected")]
)
def test_queries_are_counted_with_what_came_of_them(error: CanarydError | None, outcome: str) -> None:
    """What is raised is raised on."""

    @telemetry.prometheus_query
    def ask() -> str:
        if error:
            raise error
        return "answer"

    before = exported("canaryd_prometheus_queries_total", outcome=outcome)
    if error:
        with pytest.raises(type(error)):
            ask()
    else:
        assert ask() == "answer"
    assert exported("canaryd_prometheus_queries_total", outcome=outcome) == before + 1


def test_a_tick_s_fault_is_counted_and_raised_on() -> None:
    """The scheduler has to log it."""
    before = exported("canaryd_ticks_failed_total"), exported("canaryd_tick_duration_seconds_count")
    with pytest.raises(ZeroDivisionError), telemetry.tick(-0.1):
        _ = 1 / 0
    assert (exported("canaryd_ticks_failed_total"), exported("canaryd_tick_duration_seconds_count")) == (
        before[0] + 1,
        before[1] + 1,
    )


# -- the server


class Probes:
    def __init__(self) -> None:
        self.healthy = self.ready = ""


@pytest.fixture
def probes() -> Probes:
    return Probes()


@pytest.fixture
def server(probes: Probes) -> Iterator[telemetry.Server]:
    server = telemetry.serve(0, healthy=lambda: probes.healthy, ready=lambda: probes.ready, host="127.0.0.1")
    yield server
    server.close()


def asked(
    server: telemetry.Server, path: str, method: str = "GET", **headers: str
) -> tuple[int, bytes, http.client.HTTPMessage]:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=5)
    try:
        connection.request(method, path, headers={name.replace("_", "-"): value for name, value in headers.items()})
        answer = connection.getresponse()
        return answer.status, answer.read(), answer.headers
    finally:
        connection.close()


def test_metrics_are_served_in_prometheus_text_format(server: telemetry.Server) -> None:
    """Read with the library's own parser."""
    status, body, headers = asked(server, "/metrics")
    families = {family.name: family for family in text_string_to_metric_families(body.decode())}
    assert status == 200
    assert headers["Content-Type"].startswith("text/plain; version=")
    assert families["canaryd_build_info"].samples[0].value == 1
    assert "process_cpu_seconds" in families


def test_what_is_exported_is_what_is_said_to_be(server: telemetry.Server) -> None:
    """The list that docs, rules and dashboard are held against is the truth."""
    telemetry.observed(replace(new_run(short_plan()), evidence=evidence(segment=1, harm=1.0)), (), START)
    telemetry.heard("canaryruns")
    telemetry.plans(accepted=1, refused=0, invalid=0)
    lines = asked(server, "/metrics")[1].decode().splitlines()
    types = dict(re.findall(r"^# TYPE (canaryd_\w+) (\w+)$", "\n".join(lines), re.MULTILINE))
    assert types == {one.name: one.type for one in telemetry.exported()}
    for one in telemetry.exported():
        for labels in re.findall(rf"^{one.name}(?:_bucket)?{{(.*)}} ", "\n".join(lines), re.MULTILINE):
            assert set(re.findall(r'(\w+)="', labels)) - {"le"} == set(one.labels), one.name


def test_metrics_are_compressed_for_who_asks(server: telemetry.Server) -> None:
    """Prometheus asks for gzip; thousands of series are a tenth of their size then."""
    _, body, headers = asked(server, "/metrics", Accept_Encoding="gzip")
    assert headers["Content-Encoding"] == "gzip"
    assert b"canaryd_build_info" in gzip.decompress(body)


def test_names_are_as_prometheus_s_linter_wants_them(server: telemetry.Server, promtool: Path) -> None:
    """Base units, _total on counters and only there, a help text for each."""
    body = asked(server, "/metrics")[1]
    ours = b"\n".join(line for line in body.splitlines() if b"canaryd_" in line) + b"\n"
    done = subprocess.run([promtool, "check", "metrics"], input=ours, capture_output=True, check=False)
    assert (done.returncode, done.stdout + done.stderr) == (0, b"")


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
def test_a_probe_says_why_not(server: telemetry.Server, probes: Probes, path: str) -> None:
    """The kubelet's events show the body."""
    assert asked(server, path)[:2] == (200, b"ok\n")
    setattr(probes, path.strip("/").replace("healthz", "healthy").replace("readyz", "ready"), "a tick hangs")
    assert asked(server, path)[:2] == (503, b"a tick hangs\n")


def test_a_probe_that_cannot_be_answered_is_not_passed(server: telemetry.Server, probes: Probes) -> None:
    """And the server goes on."""
    del probes.healthy
    status, body, _ = asked(server, "/healthz")
    assert (status, b"AttributeError" in body) == (503, True)
    assert asked(server, "/readyz")[0] == 200


def test_head_has_no_body_and_other_paths_are_not_found(server: telemetry.Server) -> None:
    """As HTTP has it."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=5) as connection:
        connection.sendall(b"HEAD /healthz HTTP/1.0\r\n\r\n")
        with connection.makefile("rb") as answer:
            head, _, body = answer.read().partition(b"\r\n\r\n")
    assert (b" 200 OK" in head, b"Content-Length: 3" in head, body) == (True, True, b"")
    assert asked(server, "/")[0] == 404
    assert asked(server, "/healthz?verbose")[0] == 200
    assert asked(server, "/metrics", "POST")[0] == 501


def test_slow_clients_block_nobody_and_are_cut(server: telemetry.Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither who says nothing nor who drips: a probe that waits for them restarts canaryd."""
    monkeypatch.setattr(telemetry, "PATIENCE", 1.0)
    idle = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(telemetry.AT_ONCE + 20)]
    dripping = socket.create_connection(("127.0.0.1", server.port))
    began = time.monotonic()
    assert asked(server, "/healthz")[0] == 200
    assert time.monotonic() - began < 1
    with pytest.raises(OSError):  # noqa: PT012  # the cut shows at one of the drops
        while time.monotonic() - began < 8:
            dripping.sendall(b"G")
            time.sleep(0.1)
    assert time.monotonic() - began < 4
    for connection in (*idle, dripping):
        connection.settimeout(5)
        assert _ended(connection)
        connection.close()


def _ended(connection: socket.socket) -> bool:
    try:
        return connection.recv(1) == b""
    except ConnectionError:
        return True


def test_it_closes_at_once_though_a_client_is_there(probes: Probes) -> None:
    """A graceful stop has better things to wait for."""
    server = telemetry.serve(0, healthy=lambda: "", ready=lambda: "", host="127.0.0.1")
    with socket.create_connection(("127.0.0.1", server.port)) as idle:
        asked(server, "/healthz")
        began = time.monotonic()
        server.close()
        assert time.monotonic() - began < 1
        idle.settimeout(2)
        assert _ended(idle)
    with pytest.raises(ConnectionError):
        socket.create_connection(("127.0.0.1", server.port))


def test_a_port_that_is_taken_is_told_as_such(server: telemetry.Server) -> None:
    """A sentence, not a traceback."""
    with pytest.raises(Rejected, match=f"http port {server.port} cannot be listened on: Address already in use"):
        telemetry.serve(server.port, healthy=lambda: "", ready=lambda: "", host="127.0.0.1")


def test_by_default_both_families_are_served() -> None:
    """A cluster may be IPv4, IPv6, or both."""
    server = telemetry.serve(0, healthy=lambda: "", ready=lambda: "")
    try:
        for address in ("127.0.0.1", *(["::1"] if socket.has_dualstack_ipv6() else [])):
            socket.create_connection((address, server.port), timeout=2).close()
    finally:
        server.close()


@pytest.mark.lab
def test_a_real_prometheus_scrapes_it(server: telemetry.Server, tmp_path: Path) -> None:
    """Text that only our own parser reads would be no metrics; and with honor_labels the namespace is the plan's."""
    try:
        lab.find_or_fetch()
    except CanarydError as error:
        pytest.skip(str(error))
    telemetry.observed(replace(new_run(short_plan()), split=percent(25)), (), START)
    prometheus = lab.Prometheus(tmp_path / "prometheus", ("127.0.0.1", server.port))
    config = {
        "global": {"scrape_interval": "1s", "scrape_timeout": "900ms"},
        "scrape_configs": [
            {
                "job_name": "canaryd",
                "honor_labels": True,
                "static_configs": [
                    {"targets": [f"127.0.0.1:{server.port}"], "labels": {"namespace": "canaryd", "pod": "canaryd-0"}}
                ],
            }
        ],
    }
    (tmp_path / "prometheus/prometheus.yml").write_text(yaml.safe_dump(config))
    prometheus.start()
    try:
        end = time.monotonic() + 20
        while not (rows := prometheus.query("canaryd_run_weight_ratio")):
            assert time.monotonic() < end, (tmp_path / "prometheus/prometheus.log").read_text()
            time.sleep(0.5)
        assert [(labels["namespace"], labels["pod"], value) for labels, value in rows] == [
            ("default", "canaryd-0", 0.25)
        ]
        assert prometheus.query("canaryd_build_info")[0][0]["namespace"] == "canaryd"
        assert prometheus.query("up")[0][1] == 1
    finally:
        prometheus.stop()


# -- the docs


def test_the_docs_list_every_metric_as_it_is() -> None:
    """People write queries from that table."""
    section = (ROOT / "docs/operations.md").read_text().partition("\n## Metrics of canaryd\n")[2].partition("\n## ")[0]
    rows = [[cell.strip() for cell in row.strip("|").split("|")] for row in section.splitlines() if row[:3] == "| `"]
    assert rows == [
        [f"`{one.name}`", one.type, ", ".join(f"`{label}`" for label in one.labels), one.meaning]
        for one in telemetry.exported()
    ]


def test_the_docs_name_every_phase_and_every_kind_of_hold() -> None:
    """The values of labels are what queries are made of."""
    section = (ROOT / "docs/operations.md").read_text().partition("\n## Metrics of canaryd\n")[2].partition("\n## ")[0]
    assert all(f"`{value.value.replace(' ', '-')}`" in section for value in Phase)
    assert all(f"`{kind}`" in section for kind in telemetry.HOLDS)
