"""
The doorkeeper: beside the tick, with a pause between two questions, and never in anybody's way.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import structlog

from canaryd.engine.doorkeeper import SELDOM, Doorkeeper
from canaryd.errors import Rejected, Unavailable
from canaryd.gates import Webhooks
from canaryd.kube import connect
from canaryd.lab.kubernetes import ApiServer, Cluster, kubeconfig
from canaryd.model.asking import Reply
from canaryd.model.run import Outcome, Phase, Record, Run
from canaryd.model.traffic import NOTHING, Split
from canaryd.settings import Kept, Webhook
from canaryd.store.folder import FolderStore
from tests.gates.memory import MemoryAlerts, MemoryWebhooks
from tests.gates.receiver import KEY, Receiver, receiving
from tests.stage import Stage, plan
from tests.store.places import Process, prepare
from tests.world import Death, Inline, World, small_plan

OK, LATER = (200, {}, b""), (423, {}, b"no reviewer yet")
TEN = Split.percent(10)


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    yield
    structlog.reset_defaults()


class Clock:
    at = 1_000_000.0

    def now(self) -> float:
        return self.at


class Counted(Executor):
    """Does at once what is submitted, and counts it."""

    def __init__(self) -> None:
        self.submitted = 0

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        self.submitted += 1
        return Inline().submit(fn, *args, **kwargs)


class Door:
    """A doorkeeper, the run at its gate, and the time."""

    def __init__(self, **gate: Any) -> None:
        gate = gate or {"webhooks": [{"name": "board", "limit": "2h"}]}
        stage = Stage(plan=plan(steps=[{"weight": 5, "bake": "60s", "gate": gate}, {"weight": 50}]))
        self.run = stage.until(lambda run: run.hold is not None and run.hold.kind == "gate")
        self.webhooks = MemoryWebhooks({"board": (("default",), LATER)})
        self.alerts, self.clock, self.woken = MemoryAlerts(), Clock(), []
        self.asking, self.telling = Counted(), Counted()
        self.keeper = Doorkeeper(
            self.webhooks,
            self.alerts,
            self.clock,
            self.asking,
            self.telling,
            self.woken.append,  # type: ignore[arg-type]
        )

    def asked_over(self, seconds: int) -> int:
        """How often it is asked in so many seconds, with a tick each second."""
        before = self.asking.submitted
        for _ in range(seconds):
            self.keeper.ask(self.run)
            self.clock.at += 1
        return self.asking.submitted - before


def test_an_answer_wakes_the_run_and_is_there_for_its_tick() -> None:
    """The tick never asks itself."""
    door = Door()
    door.keeper.ask(door.run)
    (answer,) = door.keeper.take(door.run)
    assert (answer.said, answer.why, answer.times) == ("later", "423 Locked: no reviewer yet", 1)
    assert door.woken == ["run-1"]


def test_it_is_asked_at_a_pace_and_not_at_each_tick() -> None:
    """A run is ticked every few seconds, and a receiver is somebody's service."""
    assert 6 <= Door().asked_over(60) <= 7


def test_a_clock_that_was_set_back_keeps_nobody_waiting() -> None:
    """Neither who is asked at a gate, nor who is told of an end."""
    door = Door()
    door.webhooks.away = True
    ended = over(door)
    door.asked_over(10)
    told_over(door, ended, 1)
    door.clock.at -= 3600
    assert door.asked_over(10)
    assert told_over(door, ended, 10)


def test_an_outage_is_asked_for_less_and_less() -> None:
    """Two seconds, four, eight, and in the end once a minute."""
    door = Door()
    door.webhooks.away = True
    assert 5 <= door.asked_over(62) <= 6
    door.asked_over(300)
    assert door.asked_over(10 * int(SELDOM)) == pytest.approx(10, abs=1)
    door.webhooks.away = False
    door.asked_over(60)
    assert door.keeper.take(door.run)[0].said == "later"


@pytest.mark.parametrize(("after", "least"), [("42", 42), ("0", 1), ("86400", 600)])
def test_a_receiver_says_itself_when_to_ask_again(after: str, least: int) -> None:
    """Within reason: not at once, and not tomorrow."""
    door = Door()
    door.webhooks.known["board"] = (("default",), (429, {"retry-after": after}, b""))
    assert door.asked_over(least) == 1
    assert door.asked_over(1) == 1


def test_a_yes_is_not_asked_for_again_neither_before_it_was_saved_nor_after() -> None:
    """Once is enough."""
    door = Door()
    door.webhooks.known["board"] = (("default",), OK)
    assert door.asked_over(120) == 1
    saved = replace(door.run, gates=tuple(replace(one, said="yes", at=door.clock.at) for one in door.run.gates))
    anew = Doorkeeper(
        door.webhooks,
        door.alerts,
        door.clock,
        door.asking,
        door.telling,
        door.woken.append,  # type: ignore[arg-type]
    )
    anew.ask(saved)
    assert door.asking.submitted == 1


def test_the_count_goes_on_after_a_death() -> None:
    """What people read says how often it was asked in all."""
    door = Door()
    door.run = replace(door.run, gates=tuple(replace(one, times=7) for one in door.run.gates))
    door.keeper.ask(door.run)
    assert door.keeper.take(door.run)[0].times == 8


@pytest.mark.parametrize(
    "elsewhere",
    [
        {"hold": None},
        {"phase": Phase.SHIFTING, "hold": None},
    ],
)
def test_nobody_is_asked_for_a_run_that_is_not_at_its_gate(elsewhere: dict[str, Any]) -> None:
    """Before the step has passed there is nothing to ask for."""
    door = Door()
    door.run = replace(door.run, **elsewhere)
    assert door.asked_over(30) == 0


def test_nobody_is_asked_for_a_run_on_its_way_back() -> None:
    """It is over."""
    door = Door()
    stage = Stage(plan=door.run.plan)
    stage.run = door.run
    stage.ask("abort")
    door.run = stage.tick().run
    assert door.asked_over(30) == 0


@pytest.mark.parametrize(
    "error", [Rejected("the settings know no webhook board"), Unavailable("away"), RuntimeError("a fault of ours")]
)
def test_whatever_goes_wrong_is_no_answer(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither a yes nor a no, and the next question is asked all the same."""
    door = Door()

    def fail(*_: object) -> Reply:
        raise error

    monkeypatch.setattr(door.webhooks, "ask", fail)
    assert door.asked_over(10) > 1
    assert door.keeper.take(door.run)[0].said == "silent"


def test_alerts_are_asked_again_and_again_while_a_run_waits() -> None:
    """Silence does not keep, so that also after a good answer it is asked."""
    door = Door(alert={"names": ["Down"]})
    assert door.asked_over(60) == 6
    assert door.keeper.take(door.run)[0].said == "yes"
    door.alerts.fires = [("Down", {"namespace": "shop"})]
    door.asked_over(11)
    assert door.keeper.take(door.run)[0].why == 'an alert fires: Down{namespace="shop"}'
    door.alerts.failing = Unavailable("connection refused")
    door.asked_over(11)
    assert door.keeper.take(door.run)[0].said == "silent"


def told_over(door: Door, run: Run, seconds: int) -> list[float]:
    """When the end of ``run`` is told in so many seconds, with a tick each second."""
    begun, found = door.clock.at, []
    for _ in range(seconds):
        before = door.telling.submitted
        door.keeper.tell(run)
        found += [door.clock.at - begun] * (door.telling.submitted - before)
        door.clock.at += 1
    return found


def over(door: Door) -> Run:
    """The run when it has ended, and the board is to hear of it."""
    return replace(
        door.run,
        phase=Phase.PROMOTED,
        outcome=Outcome.PROMOTED,
        plan=plan(gates={"end": ["board"]}),
        ended=door.clock.at,
        untold=("board",),
    )


def test_the_end_is_told_once() -> None:
    """And whoever has taken it need not be told any more, whatever the state says until that is saved."""
    door = Door()
    ended = over(door)
    assert door.keeper.told(ended) == frozenset()
    assert told_over(door, ended, 60) == [0]
    assert door.webhooks.asked == [("board", "run-1_0_end_board")]
    assert door.keeper.told(ended) == {"board"}
    assert door.woken == ["run-1"]


def test_the_end_is_told_again_where_nobody_takes_it_and_not_for_ever() -> None:
    """Five times, less and less often; then it is over, and the run is told so."""
    door = Door()
    door.webhooks.away = True
    assert told_over(door, over(door), 600) == [0, 2, 6, 14, 30]
    assert door.keeper.told(over(door)) == {"board"}
    assert door.woken == ["run-1"]


def test_an_end_that_was_told_late_is_told() -> None:
    """Its receiver was away for a moment."""
    door = Door()
    door.webhooks.away = True
    ended = over(door)
    assert told_over(door, ended, 5) == [0, 2]
    door.webhooks.away = False
    assert told_over(door, ended, 60) == [1]
    assert len(door.webhooks.asked) == 1


def test_yesterdays_end_is_tried_once_by_each_process() -> None:
    """It is no news any more."""
    door = Door()
    door.webhooks.away = True
    ended = over(door)
    door.clock.at += 25 * 3600
    assert told_over(door, ended, 60) == [0]
    assert door.keeper.told(ended) == {"board"}


def test_a_process_that_ends_begins_to_tell_nobody() -> None:
    """The next one does."""
    door = Door()
    door.keeper.end()
    assert told_over(door, over(door), 10) == []


# ---------------------------------------------------------------------------------------------------------------------
# In a whole run, over real connections


class Gated(World):
    """A world with a doorkeeper and a receiver; ``threads`` ask beside the tick, otherwise in it."""

    def __init__(
        self, receiver: Receiver, key: Path, gates: dict[str, Any], threads: Executor | None = None, **spec: Any
    ) -> None:
        hook = Webhook(url=receiver.url, namespaces=("*",), key=Kept(from_file=key), timeout=15, every=1.0)
        self.receivers = Webhooks({"board": hook})
        self.threads = threads or Inline()
        super().__init__(plan=small_plan(gates=gates, **spec))

    def start(self) -> None:
        super().start()
        self.keeper = Doorkeeper(self.receivers, MemoryAlerts(), self.clock, self.threads, self.threads, self._wake)
        self.reconciler._doorkeeper = self.keeper


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as found:
        yield found


@pytest.fixture
def key(tmp_path: Path) -> Path:
    (tmp_path / "key").write_text(KEY)
    return tmp_path / "key"


BOARD = {"webhooks": [{"name": "board", "limit": "2h"}]}


def test_a_run_goes_through_its_gates_and_tells_its_end(receiver: Receiver, key: Path) -> None:
    """Start, promotion, end: each once, in order."""
    world = Gated(receiver, key, {"start": BOARD, "promotion": BOARD, "end": ["board"]})
    assert world.live().outcome is Outcome.PROMOTED
    assert receiver.ids == ["run-1_0_start_board", "run-1_0_promotion_board", "run-1_0_end_board"]
    assert [one.said for one in world.saved.gates] == ["yes", "yes"]


def test_a_no_before_the_promotion_takes_the_canary_back(receiver: Receiver, key: Path) -> None:
    """Said by a receiver, with its reason."""
    receiver.answers = [(200, {}, b""), (423, {}, b""), (200, {}, b'{"verdict": "no", "reason": "too late today"}')]
    world = Gated(receiver, key, {"start": BOARD, "promotion": BOARD})
    run = world.live()
    assert (run.outcome, world.split) == (Outcome.ABORTED, NOTHING)
    assert run.reason == "webhook board said no before 100 %: too late today"


@pytest.mark.parametrize("when", ["before", "after"])
def test_dying_between_asking_and_saving_asks_the_same_question_again(receiver: Receiver, key: Path, when: Any) -> None:
    """The yes was on the wire and never on the disk: the next process asks under the same id, and once it has saved
    the yes nobody asks any more."""
    world = Gated(receiver, key, {"start": BOARD})
    while not receiver.asked:
        world.tick()
        if receiver.asked:
            break
        world.clock.at += 1
    world = Gated(receiver, key, {"start": BOARD})
    saves = 0

    def dies(record: Record) -> Record:
        nonlocal saves
        answered = any(one.said == "yes" for one in record.run.gates)
        if answered and saves == 0:
            saves = 1
            if when == "after":
                world.store.save(record)
            raise Death
        return world.store.save(record)

    world.reconciler._store.save = dies  # type: ignore[method-assign]
    receiver.asked.clear()
    run = world.live()
    assert (run.outcome, world.deaths) == (Outcome.PROMOTED, 1)
    assert receiver.ids == ["run-1_0_start_board"] * (2 if when == "before" else 1)
    assert len({one.body for one in receiver.asked}) == 1


STORES = ("folder", "cluster")


@contextmanager
def stored(where: str, tmp_path: Path) -> Iterator[Callable[[], Any]]:
    """A store as each new process makes its own, on what the former one has left."""
    if where == "folder":
        yield lambda: FolderStore(tmp_path / "state")
        return
    with ApiServer(Cluster()) as server:
        kube = connect(kubeconfig(server.address, tmp_path / "kubeconfig"), timeout=5)
        prepare(kube)
        yield lambda: Process(kube).store


class Ending(Gated):
    """
    A world whose process dies at one call about the end of its run, on a store of its own.

    ``at`` is ``tell`` or ``save``: of the record that has ended, the ``n``-th time, before or after it is done.
    """

    def __init__(self, receiver: Receiver, key: Path, stores: Callable[[], Any]) -> None:
        self.stores: Callable[[], Any] | None = None
        self.dies: tuple[str, int, str] = ("", 0, "")
        self.calls = {"save": 0, "tell": 0}
        super().__init__(receiver, key, {"end": ["board"]})
        begun, self.stores = self.saved, stores
        self.start()
        self.store.save(Record(begun))

    def start(self) -> None:
        if self.stores:
            self.store = self.stores()
        super().start()
        store, webhooks = self.reconciler._store, self.receivers
        save, tell = store.save, Webhooks.tell
        store.save = lambda record: (  # type: ignore[method-assign]
            self._call("save", lambda: save(record)) if record.run.final else save(record)
        )
        webhooks.tell = lambda run, name: self._call("tell", lambda: tell(webhooks, run, name))  # type: ignore[method-assign]

    def _call(self, name: str, do: Callable[[], Any]) -> Any:
        at, n, when = self.dies
        self.calls[name] += 1
        if (at, n) != (name, self.calls[name]):
            return do()
        if when == "after":
            do()
        raise Death

    def to_the_end(self) -> Run:
        """Live until the run has ended and nobody is left to be told."""
        self.live()
        for _ in range(100):
            if not self.saved.untold:
                return self.saved
            self.tick()
            self.clock.at += 1
        raise AssertionError("never told")


@pytest.mark.parametrize("where", STORES)
@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize(("at", "n"), [("tell", 1), ("save", 1), ("save", 2), ("save", 3)])
def test_the_end_is_told_whatever_dies(
    receiver: Receiver, key: Path, tmp_path: Path, where: str, when: str, at: str, n: int
) -> None:
    """
    Between the end and the telling, between the telling and its save: the next process tells it, with the same id and
    the same words, and when that is saved nobody tells it any more.
    """
    with stored(where, tmp_path) as stores:
        world = Ending(receiver, key, stores)
        world.dies = (at, n, when)
        run = world.to_the_end()
        assert (run.outcome, run.released, world.deaths) == (Outcome.PROMOTED, True, 1)
        again = (at, when) == ("tell", "after") or (at, n, when) == ("save", 3, "before")
        assert receiver.ids == ["run-1_0_end_board"] * (2 if again else 1)
        assert len({one.body for one in receiver.asked}) == 1
        world.start()
        for _ in range(20):
            world.tick()
            world.clock.at += 5
        assert len(receiver.ids) == (2 if again else 1)


def test_an_end_that_could_not_be_saved_is_not_told(receiver: Receiver, key: Path) -> None:
    """What is not saved is decided once more after a death, and might be decided otherwise."""
    world = Gated(receiver, key, {"end": ["board"]})
    store = world.reconciler._store

    def fails(record: Record) -> Record:
        if record.run.final:
            raise Unavailable("the disk is full")
        return world.store.save(record)

    store.save = fails  # type: ignore[method-assign]
    for _ in range(60):
        run = world.tick()
        world.clock.at += 1.5
    assert run is not None
    assert run.final
    assert receiver.asked == []
    store.save = world.store.save  # type: ignore[method-assign]
    assert world.live().outcome is Outcome.PROMOTED
    assert receiver.ids == ["run-1_0_end_board"]


def test_who_only_observes_tells_nobody(receiver: Receiver, key: Path) -> None:
    """Nothing has happened."""
    world = Gated(receiver, key, {"end": ["board"]}, mode="observe")
    world.tick()
    world.ask("abort")
    run = world.live()
    assert (run.final, run.untold, receiver.asked) == (True, (), [])


def test_a_process_that_dies_at_the_gate_changes_no_ending(receiver: Receiver, key: Path) -> None:
    """A crash loop at the gate: the same id all the time, and the count goes on."""
    receiver.says(423)
    world = Gated(receiver, key, {"promotion": BOARD})
    for _ in range(60):
        world.tick()
        world.start()
        world.clock.at += 1
    assert world.saved.hold is not None
    assert set(receiver.ids) == {"run-1_0_promotion_board"}
    assert world.saved.gates[0].times == len(receiver.ids)
    receiver.says(200)
    assert world.live().outcome is Outcome.PROMOTED


def test_a_receiver_that_hangs_delays_no_abort(receiver: Receiver, key: Path) -> None:
    """The tick goes on, and the retreat, while the question is still on its way."""
    receiver.slow = 12.0
    with ThreadPoolExecutor(2) as threads:
        world = Gated(receiver, key, {"promotion": BOARD}, threads)
        while not receiver.asked:
            world.tick()
            world.clock.at += 1
            time.sleep(0.002)
        world.ask("abort")
        before = time.monotonic()
        world.tick()
        assert time.monotonic() - before < 8  # the receiver takes twelve
        assert world.split == NOTHING


def test_what_a_gate_has_come_to_is_saved(receiver: Receiver, key: Path, tmp_path: Path) -> None:
    """Conditions and approvals survive a folder."""
    receiver.says(423, {"reason": "no reviewer yet"})
    world = Gated(receiver, key, {"start": {**BOARD, "approve": {}}})
    world.tick()
    world.ask("approve", reason="go")
    for _ in range(4):
        world.tick()
        world.clock.at += 1
    run = world.saved
    assert [(one.said, one.why) for one in run.gates][-1] == ("later", "423 Locked: no reviewer yet")
    assert [one.by for one in run.approvals] == ["ada"]
    store = FolderStore(tmp_path / "state")
    store.save(Record(run))
    assert store.load(run.uid).run == run


def test_a_record_of_before_there_were_gates_still_loads(tmp_path: Path) -> None:
    """What an older canaryd has saved."""
    import json

    stage = Stage(plan=plan(gate_at=0))
    stage.ask("approve", step=0)
    run = stage.baking(1)
    store = FolderStore(tmp_path)
    store.save(Record(run))
    (file,) = tmp_path.glob("*/run.json")
    content = json.loads(file.read_text())
    text = json.dumps(content)
    for name in ("gates", "approvals", "restarts", "harmed"):
        assert f'"{name}"' in text
        content["run"].pop(name)
    content["run"]["plan"]["spec"].pop("gates")
    file.write_text(json.dumps(content))
    loaded = store.load(run.uid).run
    assert (loaded.gates, loaded.restarts, loaded.approved) == ((), 0, (0,))
