"""
Channels without a network: the fake of the port ``Channels``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from canaryd.errors import Rejected
from canaryd.model.asking import Reply
from canaryd.model.message import Message
from canaryd.model.plan import Plan
from canaryd.model.problem import Problem
from canaryd.model.run import Run


@dataclass
class MemoryChannels:
    """
    ``known`` are the channels that there are, each with the namespaces that may use it; ``taken`` is what they took.

    ``refuses`` says why an attempt is not taken, empty where it is; ``failing`` is raised instead.
    """

    known: dict[str, tuple[str, ...]] = field(default_factory=dict)
    taken: list[tuple[str, str]] = field(default_factory=list)
    attempts: list[tuple[str, str]] = field(default_factory=list)
    refuses: Callable[[str, Message], str] = lambda channel, message: ""
    after: float | None = None
    failing: Exception | None = None

    def problems(self, plan: Plan) -> tuple[Problem, ...]:
        """As the port says."""
        return tuple(
            Problem(path, name, "a channel of the settings (channels)", code="ChannelBarred")
            for name, path in sorted(plan.channels.items())
            if plan.namespace not in self.known.get(name, ())
        )

    def send(self, run: Run, message: Message, channel: str, attempt: int) -> Reply:
        """As the port says."""
        self.attempts.append((channel, message.id_in(run.uid)))
        if run.plan.namespace not in self.known.get(channel, ()):
            raise Rejected(f"{channel}: expected a channel of the settings")
        if self.failing:
            raise self.failing
        if why := self.refuses(channel, message):
            return Reply("silent", why, self.after)
        self.taken.append((channel, message.id_in(run.uid)))
        return Reply("yes", "200 OK")
