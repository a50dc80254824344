"""
The courier: sends what lies in the outboxes of runs, beside the tick, until each channel has taken it.

It is handed a run after its save and never before, so that what it sends is what the next process would send: the same
messages under the same ids. What was taken stays here until a tick has taken it out of the run and saved that; a death
in between sends it once more. Each channel has a thread and a pause of its own: one that hangs is in nobody's way.

    saved run -> post -> its channels' lanes -> taken -> the next tick, which saves the run without it
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import structlog

from canaryd import telemetry
from canaryd.engine.ports import Channels, Clock
from canaryd.errors import CanarydError, Rejected
from canaryd.model.asking import Reply
from canaryd.model.message import Message
from canaryd.model.run import Run

SOON, SELDOM = 2.0, 300.0
"""Seconds after the first attempt of a message that failed, doubled for each further one, and at most."""
REST = 60.0
"""Seconds between two attempts, at most, at a channel that takes nothing: what is new is not late when it is back."""
OVERTAKEN = 5
"""Attempts after which younger messages of the same run go before it."""
GIVEN_UP = 6 * 3600.0
"""Seconds since a message was decided after which it is given up, if it was tried OVERTAKEN times by this process."""
MOST_AFTER = 600.0
"""Seconds that a channel may ask us to wait."""
LOOK = 5.0
"""Seconds after which a lane looks at the clock again, whatever it waits for."""

log = structlog.get_logger()


@dataclass(slots=True)
class _Letter:
    """A message to a channel: how often it was tried, and when it is due (Unix seconds)."""

    run: Run
    message: Message
    tries: int = 0
    due: float = 0.0

    @property
    def key(self) -> tuple[str, int]:
        return (self.run.uid, self.message.number)


class Courier:
    """Sends for runs. ``wake`` is called with a run's uid when something of it was taken, for its tick to save that."""

    def __init__(
        self,
        channels: Channels,
        clock: Clock,
        wake: Callable[[str], None],
        begin: Callable[[Callable[[], None], str], None] | None = None,
    ) -> None:
        self._channels = channels
        self._clock = clock
        self._wake = wake
        self._begin = begin or _thread
        self._lock = threading.Lock()
        self._lanes: dict[str, Lane] = {}
        self._taken: dict[str, set[tuple[str, str]]] = {}
        self._ended = False

    def post(self, run: Run) -> None:
        """Begin to send what is in the outbox of ``run``, as it was saved. Never waits."""
        waiting = {(message.id_in(run.uid), channel) for message in run.outbox.waiting for channel in message.to}
        with self._lock:
            if self._ended:
                return
            known = self._taken.get(run.uid, set())
            known &= waiting  # the rest is saved as taken
            if not known:
                self._taken.pop(run.uid, None)
            letters: dict[str, list[Message]] = {name: [] for name in self._lanes}
            for message in run.outbox.waiting:
                for channel in message.to:
                    if (message.id_in(run.uid), channel) not in known:
                        letters.setdefault(channel, []).append(message)
            for channel, messages in letters.items():
                self._lane(channel).holds(run, messages)

    def taken(self, uid: str) -> frozenset[tuple[str, str]]:
        """What was taken, or given up, of the run and may not be saved yet: pairs of a message's id and a channel."""
        with self._lock:
            return frozenset(self._taken.get(uid, ()))

    def forget(self, uid: str) -> None:
        """Keep nothing of a run that is not carried out any more; what of it waits is not sent."""
        with self._lock:
            self._taken.pop(uid, None)
            lanes = list(self._lanes.values())
        for lane in lanes:
            lane.forget(uid)

    def end(self) -> None:
        """Send nothing more: the next process does. What is being sent at this moment may be sent again by it."""
        with self._lock:
            self._ended = True
            lanes = list(self._lanes.values())
        for lane in lanes:
            lane.end()

    def _lane(self, channel: str) -> Lane:
        """The channel's lane, begun where it has none yet. Under the lock."""
        if channel not in self._lanes:
            lane = self._lanes[channel] = Lane(channel, self._channels, self._clock, self._noted)
            self._begin(lane.go, channel)
        return self._lanes[channel]

    def _noted(self, uid: str, identity: str, channel: str) -> None:
        with self._lock:
            self._taken.setdefault(uid, set()).add((identity, channel))
        self._wake(uid)


class _Noted(Protocol):
    def __call__(self, uid: str, identity: str, channel: str) -> None: ...


class Lane:
    """The messages to one channel: one at a time, those of a run in their order."""

    def __init__(self, channel: str, channels: Channels, clock: Clock, noted: _Noted) -> None:
        self._channel = channel
        self._channels = channels
        self._clock = clock
        self._noted = noted
        self._changed = threading.Condition()
        self._letters: dict[tuple[str, int], _Letter] = {}
        self._failed = 0
        self._rest = 0.0
        self._ended = False

    def holds(self, run: Run, messages: list[Message]) -> None:
        """From now on these messages of ``run``, and no others of it, wait here."""
        numbers = {message.number for message in messages}
        with self._changed:
            for key in [key for key in self._letters if key[0] == run.uid and key[1] not in numbers]:
                del self._letters[key]
            for message in messages:
                letter = self._letters.setdefault((run.uid, message.number), _Letter(run, message))
                letter.run = run
            if messages:
                self._changed.notify_all()

    def forget(self, uid: str) -> None:
        with self._changed:
            for key in [key for key in self._letters if key[0] == uid]:
                del self._letters[key]

    def end(self) -> None:
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def go(self) -> None:
        """Send until the end."""
        while not self._ended:
            if not self.step():
                with self._changed:
                    letter, wait = self._next()
                    if letter is None and not self._ended:
                        self._changed.wait(min(wait, LOOK))

    def step(self) -> bool:
        """Send the message that is due; whether there was one."""
        with self._changed:
            letter, _ = self._next()
            if letter is None or self._ended:
                return False
        reply = self._sent(letter)
        with self._changed:
            letter.tries += 1
            if letter.key not in self._letters:
                return True  # it was taken out meanwhile
            if reply is not None and reply.said != "yes" and not self._is_given_up(letter):
                self._put_off(letter, reply)
                return True
            if reply is not None and reply.said == "yes":
                self._failed, self._rest = 0, 0.0
        self._tell(letter, reply)
        # First noted, then let go: what is posted between the two finds it in one of the places.
        self._noted(letter.run.uid, letter.message.id_in(letter.run.uid), self._channel)
        with self._changed:
            self._letters.pop(letter.key, None)
        return True

    def _next(self) -> tuple[_Letter | None, float]:
        """The letter that is due, and none but the seconds to wait where none is."""
        first: dict[str, _Letter] = {}
        ready = []
        for letter in sorted(self._letters.values(), key=lambda one: one.message.number):
            if letter.tries >= OVERTAKEN:
                ready.append(letter)
            else:
                first.setdefault(letter.run.uid, letter)
        ready += first.values()
        if not ready:
            return None, LOOK
        letter = min(ready, key=lambda one: (one.due, one.message.at))
        wait = max(letter.due, self._rest) - self._clock.now()
        # Longer than any pause that we make: the clock was set back.
        return (letter, 0.0) if wait <= 0 or wait > MOST_AFTER else (None, wait)

    def _sent(self, letter: _Letter) -> Reply | None:
        """What the channel said; None where it is known no more and never will."""
        identity = letter.message.id_in(letter.run.uid)
        try:
            return self._channels.send(letter.run, letter.message, self._channel, letter.tries + 1)
        except Rejected as error:
            log.error("message.refused", run=letter.run.uid, message=identity, channel=self._channel, error=str(error))  # noqa: TRY400  # expected, and said
            return None
        except CanarydError as error:
            return Reply("silent", str(error))
        except Exception as error:
            log.exception("message.fault", run=letter.run.uid, message=identity, channel=self._channel)
            return Reply("silent", f"a fault of canaryd's ({type(error).__name__})")

    def _is_given_up(self, letter: _Letter) -> bool:
        old = self._clock.now() - letter.message.at > GIVEN_UP
        return old and letter.tries >= OVERTAKEN

    def _put_off(self, letter: _Letter, reply: Reply) -> None:
        now = self._clock.now()
        pause = min(SOON * 2.0 ** min(letter.tries - 1, 16), SELDOM)
        if reply.after is not None:
            pause = max(pause, min(reply.after, MOST_AFTER))
        letter.due = now + pause
        self._failed += 1
        self._rest = now + min(SOON * 2.0 ** min(self._failed - 1, 16), REST)
        telemetry.message(self._channel, "failed")
        if letter.tries == 1 or letter.tries == OVERTAKEN:  # told as it begins, and when it lasts
            log.warning(
                "message.not_taken",
                run=letter.run.uid,
                message=letter.message.id_in(letter.run.uid),
                channel=self._channel,
                tries=letter.tries,
                error=reply.why,
            )

    def _tell(self, letter: _Letter, reply: Reply | None) -> None:
        identity = letter.message.id_in(letter.run.uid)
        if reply is not None and reply.said == "yes":
            telemetry.message(self._channel, "taken")
            log.info("message.taken", run=letter.run.uid, message=identity, channel=self._channel, said=reply.why)
            return
        telemetry.message(self._channel, "given_up")
        if reply is not None:
            log.error(
                "message.given_up",
                run=letter.run.uid,
                message=identity,
                channel=self._channel,
                tries=letter.tries,
                error=reply.why,
            )


def _thread(go: Callable[[], None], channel: str) -> None:
    threading.Thread(target=go, name=f"channel-{channel}", daemon=True).start()
