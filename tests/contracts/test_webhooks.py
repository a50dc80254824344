"""
The contract of the port ``Webhooks``, on the fake and over real connections.

What it guards: no answer is never a yes, and an outage never a no.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Protocol

import pytest

from canaryd.engine.ports import Webhooks as Port
from canaryd.errors import Rejected
from canaryd.gates import Webhooks
from canaryd.model.asking import Condition, Reply
from canaryd.model.run import Run
from canaryd.settings import Kept, Webhook
from tests.gates.memory import MemoryWebhooks
from tests.gates.receiver import KEY, Receiver, receiving
from tests.stage import new_run, plan

RUN = new_run(plan(gates={"start": {"webhooks": [{"name": "board"}]}}))


class World(Protocol):
    @property
    def port(self) -> Port: ...

    def says(self, status: int, body: Any = b"", **headers: str) -> None: ...

    def goes(self) -> None: ...

    @property
    def ids(self) -> list[str]: ...


class Memory:
    def __init__(self) -> None:
        self.port = MemoryWebhooks({"board": (("default",), (200, {}, b""))})

    def says(self, status: int, body: Any = b"", **headers: str) -> None:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.port.known["board"] = (
            ("default",),
            (status, {k.replace("_", "-"): v for k, v in headers.items()}, content),
        )

    def goes(self) -> None:
        self.port.away = True

    @property
    def ids(self) -> list[str]:
        return [identity for _, identity in self.port.asked]


class Real:
    def __init__(self, receiver: Receiver, key: Any) -> None:
        self.receiver = receiver
        self.says = receiver.says
        self.hook = Webhook(url=receiver.url, namespaces=("default",), key=Kept(from_file=key), timeout=15)
        self.port = Webhooks({"board": self.hook})

    def goes(self) -> None:
        self.receiver.slow = 2.0
        self.port = Webhooks({"board": self.hook.model_copy(update={"timeout": 0.5})})

    @property
    def ids(self) -> list[str]:
        return self.receiver.ids


@pytest.fixture(params=["memory", "http"])
def world(request: pytest.FixtureRequest, tmp_path: Any) -> Iterator[World]:
    if request.param == "memory":
        yield Memory()
        return
    (tmp_path / "key").write_text(KEY)
    with receiving() as receiver:
        yield Real(receiver, tmp_path / "key")


def asked(world: World, run: Run = RUN) -> Reply:
    (term,) = run.terms
    return world.port.ask(run, term, Condition(term.id, 0.0, 0.0))


@pytest.mark.parametrize(
    ("status", "body", "said"),
    [
        (200, b"", "yes"),
        (204, b"", "yes"),
        (200, b"looks good", "yes"),
        (200, {"anything": "else"}, "yes"),
        (200, {"verdict": "yes"}, "yes"),
        (200, {"verdict": "no", "reason": "over budget"}, "no"),
        (403, {"verdict": "no"}, "no"),
        (200, {"verdict": "later"}, "later"),
        (202, b"", "later"),
        (409, b"", "later"),
        (423, b"no reviewer yet", "later"),
        (425, b"", "later"),
        (429, b"", "later"),
        (200, {"verdict": "perhaps"}, "silent"),
        (200, {"verdict": True}, "silent"),
        (403, {"verdict": "yes"}, "silent"),
        (401, b"", "silent"),
        (403, b"RBAC: access denied", "silent"),
        (404, b"", "silent"),
        (500, {"verdict": "no"}, "silent"),
        (500, {"verdict": "yes"}, "silent"),
        (503, b"no healthy upstream", "silent"),
        (200, b"<!doctype html><title>Log in</title>", "silent"),
    ],
)
def test_what_an_answer_means(world: World, status: int, body: Any, said: str) -> None:
    """The table of docs/gates.md. A no has to be said: a mesh's own 403 rolls nothing back; a page allows nothing."""
    world.says(status, body)
    assert asked(world).said == said


def test_a_page_is_no_yes_whatever_it_looks_like(world: World) -> None:
    """Told by its type too."""
    world.says(200, b"Welcome", content_type="text/html; charset=utf-8")
    assert asked(world).said == "silent"


def test_the_reason_is_repeated_in_one_line(world: World) -> None:
    """It ends in what people read."""
    world.says(423, {"reason": "no reviewer\n  yet\x1b[31m"})
    assert asked(world).why == "423 Locked: no reviewer yet [31m"


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_no_redirect_is_followed(world: World, status: int) -> None:
    """Whoever answers could send canaryd anywhere, with its place in the network."""
    world.says(status, b"", location="http://169.254.169.254/latest/meta-data")
    reply = asked(world)
    assert reply.said == "silent"
    assert "no redirect is followed" in reply.why
    assert len(world.ids) == 1


@pytest.mark.parametrize("status", [423, 429, 503])
def test_a_receiver_may_say_when_to_ask_again(world: World, status: int) -> None:
    """``Retry-After``, also with an outage."""
    world.says(status, b"", retry_after="42")
    assert asked(world).after == 42.0


def test_nobody_there_is_no_answer(world: World) -> None:
    """A timeout is neither yes nor no."""
    world.goes()
    reply = asked(world)
    assert (reply.said, reply.why) == ("silent", "no answer within 0.5 s")


def test_a_question_has_the_same_id_each_time(world: World) -> None:
    """So a receiver can tell that it has been asked before."""
    asked(world)
    asked(world)
    assert world.ids == ["run-1_0_start_board"] * 2


def test_an_end_is_told_under_an_id_of_its_own(world: World) -> None:
    """And taken, where the receiver answers at all."""
    run = new_run(plan(gates={"end": ["board"]}))
    assert world.port.tell(run, "board").said == "yes"
    assert world.ids == ["run-1_0_end_board"]


def test_a_plan_can_only_name_what_the_settings_know_for_it(world: World) -> None:
    """Unknown names and other namespaces: refused before a run, and never asked in one."""
    unknown = plan(gates={"start": {"webhooks": [{"name": "bord"}]}, "end": ["nobody"]})
    foreign = RUN.plan.model_copy(update={"metadata": RUN.plan.metadata.model_copy(update={"namespace": "shop"})})
    assert world.port.problems(RUN.plan) == ()
    found = world.port.problems(unknown)
    assert [(one.path, one.value, one.code) for one in found] == [
        ("spec.gates.start.webhooks.0.name", "bord", "WebhookBarred"),
        ("spec.gates.end.0", "nobody", "WebhookBarred"),
    ]
    assert [one.path for one in world.port.problems(foreign)] == ["spec.gates.start.webhooks.0.name"]
    for of in (unknown, foreign):
        with pytest.raises(Rejected):
            asked(world, new_run(of))
    assert world.ids == []
