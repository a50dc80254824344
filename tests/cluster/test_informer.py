"""What an informer keeps and when it asks, without a server; tests/contracts/test_informer.py has the servers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from canaryd.cluster.backoff import Backoff
from canaryd.cluster.cache import AHEAD_FOR, Cache, Change, newer
from canaryd.cluster.informer import LIVED, STUBBORN, _Follower
from canaryd.errors import Unavailable
from canaryd.kube import Expired, Kind, Throttled

KIND = Kind("", "v1", "configmaps")


def thing(name: str, version: int | str, uid: str = "u", namespace: str = "n") -> dict[str, Any]:
    return {"metadata": {"namespace": namespace, "name": name, "uid": uid, "resourceVersion": str(version)}}


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def told() -> list[Change]:
    return []


@pytest.fixture
def cache(clock: Clock, told: list[Change]) -> Cache:
    made = Cache(("",), {}, told.append, clock)
    made.relisted("", [thing("a", 5)], "7")
    told.clear()
    return made


def version(cache: Cache, name: str = "a") -> str | None:
    found = cache.get("n", name)
    return found["metadata"]["resourceVersion"] if found else None


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [("10", "9", True), ("9", "10", False), ("9", "9", False), ("9" * 40, "1" + "0" * 40, False), ("x", "9", None),
     ("x", "x", False), ("09", "8", None), ("", "8", None), ("٣", "2", None)],
)  # fmt: skip
def test_versions_are_integers_of_any_length(one: str, other: str, expected: bool | None) -> None:
    """Or they cannot be compared."""
    assert newer(one, other) is expected


def test_an_answer_of_ours_runs_ahead(cache: Cache, told: list[Change]) -> None:
    """It is shown, and told when the watch tells of it; older news of the watch does not undo it."""
    cache.took(thing("a", 12))
    cache.happened("", {"type": "MODIFIED", "object": thing("a", 10)})
    assert version(cache) == "12"
    cache.happened("", {"type": "BOOKMARK", "object": thing("", 11)})
    assert version(cache) == "12"
    cache.happened("", {"type": "MODIFIED", "object": thing("a", 12)})
    cache.happened("", {"type": "MODIFIED", "object": thing("a", 14)})
    assert version(cache) == "14"
    assert [(one.kind, one.object["metadata"]["resourceVersion"]) for one in told] == [
        ("changed", "10"), ("changed", "12"), ("changed", "14"),
    ]  # fmt: skip


def test_an_old_answer_changes_nothing(cache: Cache) -> None:
    """Nor does one whose version cannot be compared."""
    cache.took(thing("a", 3))
    cache.took(thing("a", "opaque"))
    assert version(cache) == "5"


def test_a_later_deletion_wins(cache: Cache, told: list[Change]) -> None:
    """Before and after the answer came."""
    cache.took(thing("a", 12))
    cache.happened("", {"type": "DELETED", "object": thing("a", 13)})
    assert version(cache) is None
    cache.took(thing("a", 12))
    assert version(cache) is None
    assert [one.kind for one in told] == ["removed"]
    cache.took(thing("a", 15, uid="anew"))
    assert version(cache) == "15"


def test_a_list_older_than_our_answer_does_not_remove_it(cache: Cache) -> None:
    """It was made before; one that is newer does."""
    cache.took(thing("b", 20))
    cache.relisted("", [thing("a", 5)], "19")
    assert version(cache, "b") == "20"
    cache.relisted("", [thing("a", 5)], "21")
    assert version(cache, "b") is None


def test_an_answer_that_is_never_confirmed_is_dropped(cache: Cache, clock: Clock) -> None:
    """After a restore of the server's store its versions begin again."""
    cache.took(thing("b", 900))
    clock.now = AHEAD_FOR + 1
    cache.relisted("", [thing("a", 5)], "9")
    assert version(cache, "b") is None


def test_the_same_list_again_tells_nothing(cache: Cache, told: list[Change]) -> None:
    """Only true differences."""
    cache.relisted("", [thing("a", 5)], "9")
    assert told == []
    cache.relisted("", [thing("a", 10, uid="anew")], "11")
    assert [one.kind for one in told] == ["removed", "added"]


def test_what_a_callback_raises_ends_there(clock: Clock) -> None:
    """The watch that told of it goes on."""

    def fail(change: Change) -> None:
        raise ZeroDivisionError

    cache = Cache(("",), {}, fail, clock)
    cache.relisted("", [thing("a", 5)], "7")
    cache.happened("", {"type": "ADDED", "object": thing("b", 8)})
    assert version(cache, "b") == "8"


def test_one_namespace_says_nothing_of_another(clock: Clock, told: list[Change]) -> None:
    """A relist of one removes nothing of the other; fresh is the stalest of them."""
    cache = Cache(("n", "m"), {}, told.append, clock)
    cache.relisted("n", [thing("a", 5)], "7")
    assert not cache.wait(0)
    cache.relisted("m", [thing("b", 6, namespace="m")], "8")
    assert cache.wait(0)
    clock.now = 10
    cache.relisted("m", [], "9")
    assert [one["metadata"]["name"] for one in cache.all()] == ["a"]
    assert not cache.fresh(9)
    assert cache.fresh(10)
    cache.took(thing("c", 11, namespace="elsewhere"))
    assert cache.get("elsewhere", "c") is None


def test_backoff_doubles_and_obeys() -> None:
    """Full jitter up to a ceiling; a server that names its seconds is obeyed."""
    backoff = Backoff(chance=lambda low, high: high)
    assert [backoff.after() for _ in range(10)] == [0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 25.6, 30.0, 30.0]
    backoff.reset()
    assert backoff.after(Throttled("busy", 5)) == 6.0
    assert Backoff(chance=lambda low, high: low).after() == 0.0
    assert Backoff(failures=10_000).ceiling == 30.0


class Script:
    """Watches that tell events (a number lets seconds pass), live for a while by the clock, and end or break."""

    def __init__(self, clock: Clock, *watches: tuple[float, list[Any], bool]) -> None:
        self.clock, self.watches = clock, list(watches)
        self.asked: list[str] = []

    def listed(self, *_: Any, **__: Any) -> tuple[list[Any], str]:
        self.asked.append("list")
        return [], "5"

    def watch(self, *_: Any, since: str, seconds: int, **__: Any) -> Any:
        assert 240 <= seconds <= 480
        self.asked.append(since)
        return _Played(self.clock, *self.watches.pop(0))


class _Played:
    error: type[Unavailable] = Unavailable

    def __init__(self, clock: Clock, lives: float, events: list[Any], breaks: bool) -> None:
        self.clock, self.lives, self.events, self.breaks = clock, lives, events, breaks

    def __iter__(self) -> Iterator[Any]:
        for event in self.events:
            if isinstance(event, float):
                self.clock.now += event
            else:
                yield event
        self.clock.now += self.lives
        if self.breaks:
            raise self.error("cut")

    def close(self) -> None: ...


def follower(clock: Clock, *watches: tuple[float, list[Any], bool]) -> tuple[_Follower, Script]:
    kube = Script(clock, *watches)
    return _Follower(kube, KIND, "", {}, Cache(("",), {}, None, clock), clock), kube  # type: ignore[arg-type]


def test_what_is_known_is_believed_while_it_is_watched(clock: Clock) -> None:
    """Not before the first watch; after a failure only when the next one had time to tell what was missed."""
    seen: list[tuple[float, bool]] = []
    added = [{"type": "ADDED", "object": thing(name, 8 + number)} for number, name in enumerate("abcd")]
    cut = [added[0]], [added[1], 0.5, added[2], 0.5, added[3]]
    kube = Script(clock, (300, cut[0], True), (300, cut[1], False))
    cache = Cache(("",), {}, lambda _: seen.append((clock.now, one.is_watching)), clock)
    one = _Follower(kube, KIND, "", {}, cache, clock)  # type: ignore[arg-type]
    assert not one.is_watching
    one.turn()
    assert not one.is_watching
    one.turn()
    assert seen == [(0.0, True), (300.0, False), (300.5, False), (301.0, True)]
    assert one.is_watching
    clock.now += 2
    assert not one.is_watching


BOOKMARK = {"type": "BOOKMARK", "object": thing("", 8)}


def test_a_watch_goes_on_from_the_last_bookmark(clock: Clock) -> None:
    """After its end and after a cut; and at once where it lived."""
    one, kube = follower(clock, (300, [BOOKMARK], False), (300, [BOOKMARK], True), (0, [], False))
    assert one.turn() == 0.0
    assert one.turn() <= 0.2
    assert one.turn() == 1.0
    assert kube.asked == ["list", "5", "8", "8"]


@pytest.mark.parametrize("breaks", [True, False])
def test_a_watch_that_stays_silent_is_listed_anew(clock: Clock, breaks: bool) -> None:
    """Our version may be in the future of a server that was restored from a backup."""
    one, kube = follower(clock, (LIVED, [], breaks), (300, [BOOKMARK], False))
    one.turn()
    one.turn()
    assert kube.asked == ["list", "5", "list", "5"]


def test_a_watch_that_fails_and_fails_is_listed_anew(clock: Clock) -> None:
    """With ever longer waits."""
    one, kube = follower(clock, *[(0.0, [], True)] * (STUBBORN + 1))
    for _ in range(STUBBORN + 1):
        one.turn()
    assert kube.asked == ["list", *["5"] * STUBBORN, "list", "5"]


def test_a_forgotten_version_is_listed_anew_at_once(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not after the failures that any other error needs."""
    monkeypatch.setattr(_Played, "error", Expired)
    one, kube = follower(clock, (300, [BOOKMARK], True), (300, [BOOKMARK], False))
    assert one.turn() <= 0.2
    one.turn()
    assert kube.asked == ["list", "5", "list", "5"]
