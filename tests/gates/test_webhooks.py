"""
What goes over the wire: the signature, the event, the deadline, and what is kept to ourselves.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from canaryd.gates import Webhooks
from canaryd.gates.answers import reply_of
from canaryd.gates.signature import key_of
from canaryd.model.asking import Condition, Reply
from canaryd.model.problem import Refused
from canaryd.model.run import Outcome, Phase
from canaryd.settings import Kept, Webhook, read_settings
from tests.gates.receiver import KEY, Receiver, receiving
from tests.stage import Stage, evidence, new_run, plan

RUN = new_run(plan(gates={"start": {"webhooks": [{"name": "board", "limit": "30m"}]}, "end": ["board"]}))


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as found:
        yield found


def to(receiver: Receiver, tmp_path: Path, **more: Any) -> Webhooks:
    (tmp_path / "key").write_text(f"{KEY}\n")
    hook = {"url": receiver.url, "namespaces": ("default",), "key": Kept(from_file=tmp_path / "key"), "timeout": 15}
    return Webhooks({"board": Webhook(**hook | more)})


def ask(webhooks: Webhooks, times: int = 0) -> Reply:
    (term,) = RUN.terms
    return webhooks.ask(RUN, term, Condition(term.id, 1_000_000.0, 1_000_060.0, times=times))


def test_a_receiver_that_knows_the_key_can_verify_it(receiver: Receiver, tmp_path: Path) -> None:
    """By the standard's own words (Standard Webhooks), without a line of canaryd's."""
    ask(to(receiver, tmp_path))
    (asked,) = receiver.asked
    at = asked.headers["webhook-timestamp"]
    signed = f"{asked.headers['webhook-id']}.{at}.".encode() + asked.body
    expected = base64.b64encode(hmac.new(KEY.encode(), signed, hashlib.sha256).digest()).decode()
    assert asked.headers["webhook-signature"] == f"v1,{expected}"
    assert abs(time.time() - int(at)) < 10


def test_a_key_may_be_written_as_the_standard_writes_it() -> None:
    """``whsec_`` and base64; anything else is the key itself."""
    assert key_of("whsec_" + base64.b64encode(b"sixteen bytes or more").decode()) == b"sixteen bytes or more"
    assert key_of(KEY) == KEY.encode()
    for bad in ("", "short", "whsec_*", "whsec_c2hvcnQ="):
        with pytest.raises(ValueError, match=r"at least 16 bytes|base64"):
            key_of(bad)


def test_a_key_that_was_replaced_is_used_at_once(receiver: Receiver, tmp_path: Path) -> None:
    """Secrets are rotated while canaryd runs."""
    webhooks = to(receiver, tmp_path)
    ask(webhooks)
    (tmp_path / "key").write_text("another key of more than sixteen bytes")
    ask(webhooks)
    first, second = receiver.asked
    assert first.body == second.body
    assert first.headers["webhook-signature"] != second.headers["webhook-signature"]


@pytest.mark.parametrize("content", [None, "", "short"])
def test_without_a_key_nothing_is_sent(receiver: Receiver, tmp_path: Path, content: str | None) -> None:
    """Unsigned is nothing that a receiver should learn to accept."""
    webhooks = to(receiver, tmp_path)
    (tmp_path / "key").unlink() if content is None else (tmp_path / "key").write_text(content)
    reply = ask(webhooks)
    assert reply.said == "silent"
    assert reply.why.startswith("webhooks.board.key: ")
    assert receiver.asked == []
    assert [one.path for one in webhooks.problems(RUN.plan)] == ["webhooks.board.key"]


def test_the_body_is_a_cloud_event(receiver: Receiver, tmp_path: Path) -> None:
    """Structured mode, with what a person who decides wants to know."""
    ask(to(receiver, tmp_path), times=3)
    (asked,) = receiver.asked
    assert asked.headers["content-type"] == "application/cloudevents+json; charset=utf-8"
    assert asked.headers["canaryd-attempt"] == "4"
    assert asked.event == {
        "specversion": "1.0",
        "id": "run-1_0_start_board",
        "source": "/canaryd/default/reviews",
        "type": "io.canaryd.gate.asked",
        "subject": "run-1",
        "time": "1970-01-12T13:46:40Z",
        "datacontenttype": "application/json",
        "data": {
            "plan": "default/reviews",
            "run": "run-1",
            "release": "1",
            "virtualService": "default/reviews",
            "stable": "v1",
            "canary": "v3",
            "harmed": 0,
            "gate": "start",
            "asks": "may v3 go from 0 % to 5 % of the traffic?",
            "from": "0 %",
            "to": "5 %",
            "until": "1970-01-12T14:17:40Z",
            "otherwise": "rollback",
            "evidence": [],
        },
    }


def test_at_a_step_the_evidence_goes_along(receiver: Receiver, tmp_path: Path) -> None:
    """Who is asked sees what was measured."""
    stage = Stage(plan=plan(gates={"promotion": {"webhooks": [{"name": "board"}]}}))
    run = stage.until(lambda run: run.hold is not None)
    (term,) = run.terms
    to(receiver, tmp_path).ask(run, term, run.gates[0])
    data = receiver.asked[0].event["data"]
    assert (data["gate"], data["from"], data["to"]) == ("step 3 of 3", "50 %", "100 %")
    assert data["evidence"] == [reading.sentence for reading in evidence(segment=1).readings]


def test_an_end_is_told_with_its_reason(receiver: Receiver, tmp_path: Path) -> None:
    """Which is what the receiver was named for."""
    stage = Stage(plan=RUN.plan)
    stage.answers = {"board": ("no", "200 OK")}
    run = stage.until(Phase.ROLLED_BACK)
    assert run.outcome is Outcome.ABORTED
    to(receiver, tmp_path).tell(run, "board")
    event = receiver.asked[0].event
    assert (event["type"], event["data"]["outcome"]) == ("io.canaryd.run.ended", "aborted")
    assert event["data"]["reason"] == "webhook board said no before the start: 200 OK"


def test_an_answer_that_drips_ends_at_the_deadline(receiver: Receiver, tmp_path: Path) -> None:
    """A byte now and then resets a socket's timeout, and not ours."""
    receiver.says(200, b"x" * 1000)
    receiver.drips = 0.05
    before = time.monotonic()
    reply = ask(to(receiver, tmp_path, timeout=0.5))
    assert (reply.said, reply.why) == ("silent", "no answer within 0.5 s")
    assert time.monotonic() - before < 20  # the whole of it would take fifty


def test_an_endless_answer_is_cut_off(receiver: Receiver, tmp_path: Path) -> None:
    """Nobody fills our memory."""
    receiver.says(423, b"z" * (1 << 22))
    reply = ask(to(receiver, tmp_path))
    assert reply.said == "later"
    assert len(reply.why) < 300


def test_a_refused_connection_says_so(receiver: Receiver, tmp_path: Path) -> None:
    """With the reason, and without the URL that everybody knows."""
    reply = ask(to(receiver, tmp_path, url="http://127.0.0.1:1/"))
    assert (reply.said, reply.why) == ("silent", "no answer: [Errno 111] Connection refused")


def test_a_token_of_ours_is_struck_out_of_what_is_answered(
    receiver: Receiver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a receiver says ends in logs, journals and pages."""
    monkeypatch.setenv("BOARD_TOKEN", "Bearer very-secret")
    receiver.says(423, b"who is Bearer very-secret?")
    webhooks = to(receiver, tmp_path, headers={"Authorization": {"from_env": "BOARD_TOKEN"}})
    assert ask(webhooks).why == "423 Locked: who is ***?"
    assert receiver.asked[0].headers["authorization"] == "Bearer very-secret"
    assert os.environ["BOARD_TOKEN"] not in receiver.asked[0].body.decode()


def test_a_receiver_is_asked_again_at_its_own_pace(receiver: Receiver, tmp_path: Path) -> None:
    """``every`` of the settings, unless it says itself when; an outage has the doorkeeper's."""
    webhooks = to(receiver, tmp_path, every=30)
    receiver.says(423)
    assert ask(webhooks).after == 30
    receiver.says(423, retry_after="7")
    assert ask(webhooks).after == 7
    receiver.says(500)
    assert ask(webhooks).after is None


def test_retry_after_may_be_a_date() -> None:
    """RFC 9110, 10.2.3; one that has passed is at once, and nonsense is nothing."""
    known = {"Thu, 01 Jan 1970 00:02:00 GMT": 20.0, "Thu, 01 Jan 1970 00:00:00 GMT": 0.0, "x": None}
    for text, expected in known.items():
        assert reply_of(429, {"retry-after": text}, b"", 100.0).after == expected


@pytest.mark.parametrize(
    ("fault", "where"),
    [
        ({"url": "ftp://board"}, "webhooks.board.url"),
        ({"url": "https://board/?token=x"}, "webhooks.board.url"),
        ({"url": "https://a:b@board/"}, "webhooks.board.url"),
        ({"key": "written out"}, "webhooks.board.key"),
        ({"key": {"from_env": "A", "from_file": "/b"}}, "webhooks.board.key"),
        ({"timeout": 60}, "webhooks.board.timeout"),
        ({"namespaces": []}, "webhooks.board.namespaces"),
        ({"headers": {"Authorization": "Bearer x"}}, "webhooks.board.headers.Authorization"),
        ({"headers": {"Webhook-Id": "x"}}, "webhooks.board.headers.Webhook-Id"),
        ({"ca": "/ca.pem", "url": "http://board"}, "webhooks.board.ca"),
        ({"uri": "https://board"}, "webhooks.board.uri"),
    ],
)
def test_settings_that_cannot_be_are_refused(fault: dict[str, Any], where: str, tmp_path: Path) -> None:
    """Path and what was expected; a key that somebody wrote out is not repeated."""
    hook = {"url": "https://board", "namespaces": ["*"], "key": {"from_env": "KEY"}} | fault
    (tmp_path / "canaryd.yaml").write_text(yaml.safe_dump({"webhooks": {"board": hook}}))
    with pytest.raises(Refused) as refused:
        read_settings(tmp_path / "canaryd.yaml")
    (problem,) = refused.value.problems
    assert problem.path == where
    assert "Bearer" not in str(problem)
    assert "written out" not in str(problem)
