"""PURE: who asked for what a run decides, tick by tick: some words are carried out only later than they are heard."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from canaryd.model.decision import Told

Asked = Mapping[str, Any]
"""A command as a journal has it: ``id``, ``verb``, ``by``, ``reason``."""
Events = Sequence[Sequence[str]]
"""What a tick told, as (event, reason)."""

EFFECTS: dict[str, frozenset[str]] = {
    "resume": frozenset({Told.RESUMED.value, Told.REASSERTED.value}),
    "adopt": frozenset({Told.RESUMED.value, Told.TOOK_OVER.value}),
    "advance": frozenset({Told.ADVANCED.value}),
    "promote": frozenset({Told.PROMOTING.value}),
    "approve": frozenset({Told.RETURNING.value}),
}
"""What may follow from a command in a later tick than the one that heard it."""


class Askers:
    """Follows a run's ticks in order. Not thread-safe."""

    def __init__(self) -> None:
        self._heard: set[str] = set()
        self._pending: list[Asked] = []

    def of(self, commands: Iterable[Asked], events: Events) -> tuple[list[Asked], list[Asked]]:
        """Of a tick that saw ``commands`` and told ``events``: those heard first, and all that it carries out."""
        fresh = [one for one in commands if one["id"] not in self._heard]
        self._heard |= {one["id"] for one in fresh}
        of_before = [one for one in self._pending if _followed(one, events)]
        for one in of_before:
            self._pending.remove(one)
        self._pending += [one for one in fresh if not _followed(one, events)]
        return fresh, [*fresh, *of_before]


def names(asked: Iterable[Asked]) -> str:
    """Who that was, each once; empty for nobody."""
    return ", ".join(dict.fromkeys(one.get("by") or "somebody" for one in asked))


def _followed(command: Asked, events: Events) -> bool:
    """Whether what the command asks for is among the events, or was found to be void."""
    effects = EFFECTS.get(command["verb"], frozenset())
    return not effects or any(name in effects or name == Told.COMMAND_VOID.value for name, _ in events)
