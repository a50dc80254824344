"""
The ports `Store` and `Journal` in memory: what a folder keeps, without the disk.

tests/contracts/test_store.py runs on it and on the folder, so that it cannot lie.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from canaryd.errors import Conflict, Rejected
from canaryd.model.run import Command, Record


class MemoryStore:
    """Records are frozen, so that keeping one is copying it."""

    def __init__(self) -> None:
        self._records: dict[str, Record] = {}
        self._commands: dict[str, list[Command]] = {}

    def load(self, uid: str) -> Record:
        """As the port says."""
        if uid not in self._records:
            raise Rejected(f"there is no run {uid}")
        return self._records[uid]

    def save(self, record: Record) -> Record:
        """As the port says."""
        uid = record.run.uid
        present = self._records[uid].version if uid in self._records else 0
        if present != record.version:
            raise Conflict(f"run {uid} was saved by somebody else: version {present}, expected {record.version}")
        self._records[uid] = replace(record, version=present + 1)
        return self._records[uid]

    def records(self) -> list[Record]:
        """As the port says."""
        return sorted(self._records.values(), key=lambda record: record.run.created)

    def commands(self, uid: str) -> tuple[Command, ...]:
        """As the port says."""
        return tuple(self._commands.get(uid, ()))

    def ask(self, uid: str, command: Command) -> None:
        """As the port says."""
        self.load(uid)
        self._commands.setdefault(uid, []).append(command)


class MemoryJournal:
    """Entries in a list."""

    def __init__(self) -> None:
        self.entries: list[Mapping[str, object]] = []

    def tell(self, uid: str, entry: Mapping[str, object]) -> None:
        """As the port says."""
        self.entries.append(entry)

    def read(self, uid: str) -> list[Mapping[str, object]]:
        return list(self.entries)
