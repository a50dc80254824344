"""
What arrives: signed CloudEvents, mail, and what Slack, Teams and PagerDuty are sent; and what never shows.

The services are stood in for by servers on this machine; the requests are those that Apprise makes of them.
"""

from __future__ import annotations

import base64
import email
import email.policy
import hashlib
import hmac
import json
import logging
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import requests
from apprise.plugins import pagerduty
from apprise.plugins.slack import NotifySlack

from canaryd import app
from canaryd.engine.posting import posted
from canaryd.errors import CanarydError, Unavailable
from canaryd.model.asking import Reply
from canaryd.model.decision import Event, Told
from canaryd.model.gate import Otherwise
from canaryd.model.harm import Harmed
from canaryd.model.message import GATE
from canaryd.model.run import Hold, Run
from canaryd.notify import Channels, services
from canaryd.settings import Channel, Kept
from tests.gates.receiver import KEY, Receiver, receiving
from tests.metrics.worlds import closed_url
from tests.neighbours.standing_in import Jaeger, mesh, standing_in
from tests.neighbours.stories import given, rolled_back
from tests.notify.smtp import mail
from tests.report.stories import BEGAN
from tests.stage import START, new_run, plan

LINKS = [("Kiali", "http://kiali.example/kiali/?a=1&b=2"), ("Grafana", "http://grafana.example/d/1")]
THEN: Otherwise = "rollback"
GATED = new_run(plan(5, 50, gate_at=0, messages=[{"channel": "team"}], release="v3"))


def told(told: Told = Told.HELD, reason: str = "no data: nobody answers", run: Run = GATED) -> Run:
    """A run with one message in its outbox."""
    return posted(replace(run, hold=Hold("no-data", reason, START, START + 3600, THEN)), (Event(told, reason),), START)


def sent(channels: Channels, run: Run) -> Reply:
    return channels.send(run, run.outbox.waiting[0], "team", 3)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as found:
        yield found


def events_to(receiver: Receiver, folder: Path, **more: Any) -> Channels:
    (folder / "key").write_text(KEY)
    key = Kept(from_file=folder / "key")
    channel = Channel(cloudevents=receiver.url, namespaces=("*",), key=key, **more)
    return Channels({"team": channel}, lambda run: LINKS, lambda: START + 60)


def service(url: str, folder: Path) -> Channels:
    (folder / "url").write_text(url + "\n")
    return Channels({"team": Channel(url=Kept(from_file=folder / "url"), namespaces=("*",))}, lambda run: LINKS)


# -- CloudEvents


def test_an_event_says_everything_about_one_decision(receiver: Receiver, tmp_path: Path) -> None:
    """CloudEvents 1.0 in structured mode, of a type that can be routed by."""
    sent(events_to(receiver, tmp_path), told())
    (asked,) = receiver.asked
    assert asked.headers["content-type"] == "application/cloudevents+json; charset=utf-8"
    assert asked.event == {
        "specversion": "1.0",
        "id": "run-1_1000000_1",
        "source": "/canaryd/default/reviews",
        "type": "io.canaryd.run.held",
        "subject": "run-1",
        "time": "1970-01-12T13:46:40Z",
        "datacontenttype": "application/json",
        "data": {
            "plan": "default/reviews",
            "run": "run-1",
            "release": "v3",
            "virtualService": "default/reviews",
            "stable": "v1",
            "canary": "v3",
            "number": 1,
            "title": "default/reviews v3: held",
            "reason": "no data: nobody answers",
            "level": "warning",
            "phase": "pending",
            "weight": "0 %",
            "observes": False,
            "commands": {"abort": "canaryd abort reviews"},
            "links": [{"title": title, "url": url} for title, url in LINKS],
            "until": "1970-01-12T14:46:40Z",
            "otherwise": "rollback",
        },
    }


def test_an_event_is_signed_as_what_gates_ask(receiver: Receiver, tmp_path: Path) -> None:
    """Standard Webhooks: the receiver needs no code of ours to tell that it is from us, and of now."""
    sent(events_to(receiver, tmp_path), told())
    (asked,) = receiver.asked
    identity, at = asked.headers["webhook-id"], asked.headers["webhook-timestamp"]
    digest = hmac.digest(KEY.encode(), f"{identity}.{at}.".encode() + asked.body, hashlib.sha256)
    assert asked.headers["webhook-signature"] == "v1," + base64.b64encode(digest).decode()
    assert (identity, at) == (asked.event["id"], f"{START + 60:.0f}")
    assert asked.headers["canaryd-attempt"] == "3"


def test_the_same_message_is_the_same_event_though_the_run_went_on(receiver: Receiver, tmp_path: Path) -> None:
    """A receiver that has one of them has both."""
    channels, run = events_to(receiver, tmp_path), told()
    sent(channels, run)
    later = replace(run, hold=None, step=1, seq=4, harmed=Harmed(7.0))
    sent(channels, later)
    assert receiver.asked[0].body == receiver.asked[1].body


@pytest.mark.parametrize("status", [200, 201, 202, 204])
def test_every_2xx_takes_it(receiver: Receiver, tmp_path: Path, status: int) -> None:
    """Brokers answer 202; at a gate that would mean not yet."""
    receiver.says(status)
    assert sent(events_to(receiver, tmp_path), told()).said == "yes"


@pytest.mark.parametrize("status", [301, 307, 400, 401, 404, 409, 410, 429, 500, 503])
def test_nothing_else_does(receiver: Receiver, tmp_path: Path, status: int) -> None:
    """And no redirect is followed: whoever answers could send canaryd anywhere."""
    receiver.says(status, b"", location=receiver.url + "/elsewhere", retry_after="7")
    reply = sent(events_to(receiver, tmp_path), told())
    assert reply.said == "silent"
    assert str(status) in reply.why
    assert len(receiver.asked) == 1


def test_a_receiver_may_say_when_to_try_again(receiver: Receiver, tmp_path: Path) -> None:
    """``Retry-After``."""
    receiver.says(503, b"", retry_after="42")
    assert sent(events_to(receiver, tmp_path), told()).after == 42.0


def test_a_header_of_ours_is_sent_and_never_repeated(
    receiver: Receiver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a receiver echoes would end in the log."""
    monkeypatch.setenv("TOKEN", "hush-hush")
    receiver.says(403, b"you sent hush-hush")
    reply = sent(events_to(receiver, tmp_path, headers={"Authorization": Kept(from_env="TOKEN")}), told())
    assert receiver.asked[0].headers["authorization"] == "hush-hush"
    assert "hush-hush" not in reply.why


def test_links_that_cannot_be_made_keep_no_message(receiver: Receiver, tmp_path: Path) -> None:
    """They are an addition."""

    def broken(run: Run) -> list[tuple[str, str]]:
        raise ValueError("a fault of ours")

    channels = events_to(receiver, tmp_path)
    channels._links = broken
    assert sent(channels, told()).said == "yes"
    assert receiver.asked[0].event["data"]["links"] == []


# -- services


def text_of(content: bytes) -> tuple[str, str]:
    """The subject of a mail, and its text."""
    found = email.message_from_bytes(content, policy=email.policy.default)
    body = found.get_body(("plain",))
    assert body is not None
    return str(found["subject"]), str(body.get_content()).replace("\r\n", "\n")


def test_a_mail_has_the_reason_what_to_type_and_where_to_look(tmp_path: Path) -> None:
    """Received by a real SMTP server."""
    run = told(reason="waiting for a person's approval at 5 %: canaryd approve reviews")
    message = replace(run.outbox.waiting[0], event=GATE, commands=(("approve", "canaryd approve reviews"),))
    with mail() as box:
        reply = service(box.url, tmp_path).send(run, message, "team", 1)
    assert reply == Reply("yes", "mailto took it")
    subject, text = text_of(box.got[0])
    assert subject == "default/reviews v3: waits at a gate"
    assert text.rstrip() == (
        "waiting for a person's approval at 5 %: canaryd approve reviews\n\n"
        "v3 is meant to have 0 %; the run is pending.\n"
        "To approve: canaryd approve reviews\n"
        "Kiali: http://kiali.example/kiali/?a=1&b=2\n"
        "Grafana: http://grafana.example/d/1\n\n"
        "run run-1, message run-1_1000000_1, 1970-01-12T13:46:40Z"
    )


class Looking:
    """Somebody who looks for example traces, and finds others each time."""

    def __init__(self) -> None:
        self.looked = 0

    def __call__(self, _: Run) -> list[tuple[str, str]]:
        self.looked += 1
        return [("Failing request", f"http://jaeger.example/trace/{self.looked}")]


def with_traces(url: str, folder: Path, looking: Callable[[Run], list[tuple[str, str]]]) -> Channels:
    (folder / "url").write_text(url + "\n")
    channel = Channel(url=Kept(from_file=folder / "url"), namespaces=("*",))
    return Channels({"team": channel}, traces=looking)


@pytest.mark.parametrize("event", ["run.failed", "run.rolling_back", "run.rolled_back"])
def test_a_failure_has_example_traces_and_they_stay_with_the_message(tmp_path: Path, event: str) -> None:
    """Looked for once, however often it is sent: it says the same each time."""
    run, looking = told(Told.ROLLING_BACK), Looking()
    message = replace(run.outbox.waiting[0], event=event)
    with mail() as box:
        channels = with_traces(box.url, tmp_path, looking)
        for attempt in (1, 2):
            assert channels.send(run, message, "team", attempt).said == "yes"
        channels.send(run, replace(message, number=2), "team", 1)
    first, again, other = (text_of(one)[1] for one in box.got)
    assert "\nFailing request: http://jaeger.example/trace/1\n" in first
    assert again == first
    assert "http://jaeger.example/trace/2\n" in other
    assert looking.looked == 2


def test_nothing_else_has_any(tmp_path: Path) -> None:
    """A hold is no failure, and who takes a promotion back has measured nothing."""
    looking = Looking()
    with mail() as box:
        channels = with_traces(box.url, tmp_path, looking)
        sent(channels, told(Told.HELD))
        sent(channels, told(Told.ROLLED_BACK, run=replace(GATED, undoes="run-0")))
    assert len(box.got) == 2
    assert looking.looked == 0


def test_a_fault_while_looking_costs_the_traces_only(tmp_path: Path) -> None:
    def broken(_: Run) -> list[tuple[str, str]]:
        raise ZeroDivisionError("on purpose")

    with mail() as box:
        assert sent(with_traces(box.url, tmp_path, broken), told(Told.ROLLED_BACK)).said == "yes"
    assert text_of(box.got[0])[1].startswith("no data: nobody answers\n")


def test_an_event_has_no_traces(receiver: Receiver, tmp_path: Path) -> None:
    """What is found depends on when one looks, and one id has one content."""
    (tmp_path / "key").write_text(KEY)
    channel = Channel(cloudevents=receiver.url, namespaces=("*",), key=Kept(from_file=tmp_path / "key"))
    looking = Looking()
    channels = Channels({"team": channel}, traces=looking)
    for _ in range(2):
        sent(channels, told(Told.ROLLED_BACK))
    assert looking.looked == 0
    assert receiver.asked[0].body == receiver.asked[1].body
    assert b"jaeger" not in receiver.asked[0].body


def test_the_settings_tracing_is_asked_for_them(tmp_path: Path) -> None:
    """Put together as canaryd is: of a run that v3 failed, sent with a backend that answers and one that is away."""
    run = posted(
        replace(rolled_back(), plan=plan(messages=[{"channel": "team"}])),
        (Event(Told.ROLLED_BACK, "errors: canary 1.1 %"),),
        BEGAN + 45,
    )
    jaeger = Jaeger(base="/jaeger", spans=mesh(BEGAN + 50))
    with mail() as box, standing_in(jaeger):
        (tmp_path / "url").write_text(box.url)
        channel = Channel(url=Kept(from_file=tmp_path / "url"), namespaces=("*",))
        for tracing in (jaeger.url, closed_url()):
            settings = given(channels={"team": channel}, tracing=tracing)
            assert app._channels(settings).send(run, run.outbox.waiting[0], "team", 1).said == "yes"
    with_them, without = (text_of(one)[1] for one in box.got)
    traces = [line for line in with_them.splitlines() if line.startswith("Failing request, 2026-09-21 14:")]
    assert len(traces) == 3
    assert all("UTC: answered 503 after" in line and f": {jaeger.url}/trace/" in line for line in traces)
    assert [line for line in with_them.splitlines() if line not in traces and "Jaeger" not in line] == [
        line for line in without.splitlines() if "Jaeger" not in line
    ]


def test_what_a_plan_says_is_text_in_a_mail(tmp_path: Path) -> None:
    """Neither a header, nor markup."""
    run = replace(told(reason="<b>bold</b>"), plan=plan(messages=[{"channel": "team"}], release="v3\nBcc: all@x.org"))
    with mail() as box:
        sent(service(box.url, tmp_path), run)
    subject, text = text_of(box.got[0])
    assert "\n" not in subject
    assert email.message_from_bytes(box.got[0])["bcc"] is None
    assert text.startswith("<b>bold</b>\n")


def test_slack_gets_it_and_a_reason_calls_nobody(
    receiver: Receiver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who may say why a run is aborted must not be able to wake a whole channel."""
    monkeypatch.setattr(NotifySlack, "webhook_url", receiver.url)
    receiver.says(200, b"ok")
    url = "slack://T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ/#releases"
    reply = sent(service(url, tmp_path), told(reason="aborted by ada: <!channel> <@U123> & more"))
    assert reply == Reply("yes", "slack took it")
    (asked,) = receiver.asked
    assert asked.path.endswith("/T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ")
    said = json.dumps(asked.event)
    assert asked.event["channel"] == "#releases"
    assert "aborted by ada: &lt;!channel&gt; &lt;@U123&gt; &amp; more" in said
    assert "<!channel>" not in said


def test_teams_gets_it(receiver: Receiver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By a workflow, as Microsoft has it since connectors are gone. Only TLS is missing on the way here."""
    post = requests.post
    monkeypatch.setattr(requests, "post", lambda url, **more: post(url.replace("https://", "http://"), **more))
    receiver.says(202)
    host = receiver.url.removeprefix("http://").partition("/")[0]
    reply = sent(service(f"workflow://{host}/643e8aabcd/signature-of-it", tmp_path), told())
    assert reply == Reply("yes", "workflow took it")
    (asked,) = receiver.asked
    assert "/workflows/643e8aabcd/triggers/manual/paths/invoke" in asked.path
    (card,) = asked.event["attachments"]
    assert card["content"]["type"] == "AdaptiveCard"
    assert "no data: nobody answers" in json.dumps(card)


def test_a_pager_makes_one_incident_of_a_run(
    receiver: Receiver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Told twice, or told more, it is the same incident."""
    monkeypatch.setattr(pagerduty, "PAGERDUTY_API_LOOKUP", dict.fromkeys(pagerduty.PAGERDUTY_API_LOOKUP, receiver.url))
    receiver.says(202, b'{"status": "success"}')
    channels = service("pagerduty://A1B2C3D4E5F6G7H8I9J0A1B2C3D4E5F6@apikey12345", tmp_path)
    for told_of in (Told.ROLLING_BACK, Told.ROLLED_BACK):
        assert sent(channels, told(told_of)).said == "yes"
    assert {one.event["dedup_key"] for one in receiver.asked} == {"run-1"}
    assert {one.event["payload"]["severity"] for one in receiver.asked} == {"critical"}


def test_nothing_of_a_url_shows_wherever_it_fails(
    receiver: Receiver, tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    """It is a password. Neither in what is said, nor in a log, nor on standard error by a library's own word."""
    receiver.says(403, b"no")
    port = receiver.url.partition("127.0.0.1:")[2].partition("/")[0]
    secrets = ("sesame-open", "tell-nobody")
    for url in (
        f"json://ali:{secrets[0]}@127.0.0.1:{port}/{secrets[1]}?+X-Token={secrets[1]}",
        f"json://ali:{secrets[0]}@127.0.0.1:1/{secrets[1]}",
        f"mailto://ali:{secrets[0]}@127.0.0.1:1/?from=a@b.org&to={secrets[1]}@b.org",
    ):
        reply = sent(service(url, tmp_path), told())
        assert reply.said == "silent"
        for secret in (*secrets, "127.0.0.1"):  # of many a service the host is part of the secret
            assert secret not in reply.why
    for secret in secrets:
        assert secret not in caplog.text + "".join(capfd.readouterr())


@pytest.mark.parametrize("url", ["", "nonsense://hush-hush", "slack://hush-hush", "https//hush-hush", "hush-hush"])
def test_a_url_that_is_none_is_said_before_a_run_without_being_shown(tmp_path: Path, url: str) -> None:
    """The plan is refused: nobody would hear of the run."""
    channels = service(url, tmp_path)
    (problem,) = channels.problems(GATED.plan)
    assert (problem.path, problem.code) == ("channels.team.url", "ChannelBarred")
    assert "hush" not in str(problem)
    with pytest.raises(CanarydError):
        sent(channels, told())


def test_a_secret_that_is_not_there_is_said_before_a_run(tmp_path: Path) -> None:
    """With where it was looked for."""
    missing = Channel(url=Kept(from_env="CANARYD_TEST_NO_SUCH"), namespaces=("*",))
    (problem,) = Channels({"team": missing}).problems(GATED.plan)
    assert "the environment variable CANARYD_TEST_NO_SUCH is not set" in str(problem)
    with pytest.raises(Unavailable):
        sent(Channels({"team": missing}), told())


def test_without_apprise_a_channel_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """CloudEvents need nothing."""
    services._apprise.cache_clear()
    monkeypatch.setitem(sys.modules, "apprise", None)
    (problem,) = service("json://127.0.0.1/x", tmp_path).problems(GATED.plan)
    assert "pip install 'istio-canaryd[messages]'" in str(problem)
    services._apprise.cache_clear()


def test_what_two_channels_are_told_at_once_is_not_mixed_up(receiver: Receiver, tmp_path: Path) -> None:
    """Apprise says what went wrong in a log of the process; each attempt hears its own."""
    port = receiver.url.partition("127.0.0.1:")[2].partition("/")[0]
    receiver.slow = 0.2
    receiver.says(418)
    with ThreadPoolExecutor(8) as pool:
        urls = [f"json://127.0.0.1:{port}/x" if n % 2 else "json://127.0.0.1:1/x" for n in range(16)]
        replies = list(pool.map(lambda url: services.send(url, "a", "b", "info", "run-1"), urls))
    assert [("418" in one.why, "onnection error" in one.why) for one in replies] == [(False, True), (True, False)] * 8
    assert logging.getLogger("apprise").propagate is False


def test_a_test_says_what_it_is(receiver: Receiver, tmp_path: Path) -> None:
    """``canaryd notify``: an id of its own, and a type that routes nowhere."""
    assert events_to(receiver, tmp_path).test("team").said == "yes"
    event = receiver.asked[0].event
    assert (event["type"], event["subject"]) == ("io.canaryd.test", "team")
    assert event["id"].startswith("test_")
