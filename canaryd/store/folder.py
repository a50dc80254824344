"""
Runs in a folder: for ``canaryd run`` on a laptop or in a pipeline, and for a daemon without CRDs.

    DIR/<uid>/run.json         the record, replaced whole by an atomic rename
    DIR/<uid>/commands.jsonl   what people asked, append-only
    DIR/<uid>/journal.jsonl    what happened, append-only

A save is a compare-and-swap under a file lock, and is on the disk when it returns. The record never lies half-written:
a death at any point leaves the former one or the new one.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from canaryd.errors import Conflict, Rejected, Unavailable
from canaryd.model.run import Command, Record, Run

_RUN = TypeAdapter(Run)
_COMMAND = TypeAdapter(Command)


class FolderStore:
    """The store port on a folder. Raises Unavailable when the disk does not play along."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def load(self, uid: str) -> Record:
        with _on_disk(), self._locked(uid):
            return self._read(uid)

    def save(self, record: Record) -> Record:
        uid = record.run.uid
        with _on_disk():
            (self._folder / uid).mkdir(parents=True, exist_ok=True)
            with self._locked(uid):
                present = self._read(uid).version if self._file(uid).exists() else 0
                if present != record.version:
                    raise Conflict(
                        f"run {uid} was saved by somebody else: version {present}, expected {record.version}"
                    )
                saved = replace(record, version=record.version + 1)
                _replace(self._file(uid), _dump(saved))
                return saved

    def records(self) -> Iterator[Record]:
        with _on_disk():
            uids = [path.parent.name for path in self._folder.glob("*/run.json")]
        return iter(sorted((self.load(uid) for uid in uids), key=lambda record: record.run.created))

    def commands(self, uid: str) -> tuple[Command, ...]:
        with _on_disk():
            path = self._folder / uid / "commands.jsonl"
            lines = path.read_text().splitlines() if path.exists() else []
        return tuple(_COMMAND.validate_json(line) for line in lines if _whole(line))

    def ask(self, uid: str, command: Command) -> None:
        with _on_disk(), self._locked(uid):
            _append(self._folder / uid / "commands.jsonl", _COMMAND.dump_json(command).decode())

    @contextmanager
    def held(self, uid: str) -> Iterator[None]:
        """Own the run while the block lasts. Raises Rejected when another process does."""
        with _on_disk():
            (self._folder / uid).mkdir(parents=True, exist_ok=True)
            descriptor = os.open(self._folder / uid / "owner.lock", os.O_RDWR | os.O_CREAT, 0o644)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                raise Rejected(
                    f"run {uid} is already being carried out by another canaryd on {self._folder}"
                ) from error
            yield
        finally:
            os.close(descriptor)

    def _file(self, uid: str) -> Path:
        return self._folder / uid / "run.json"

    def _read(self, uid: str) -> Record:
        try:
            content = json.loads(self._file(uid).read_bytes())
            return Record(_RUN.validate_python(content["run"]), content["version"])
        except FileNotFoundError as error:
            raise Rejected(f"there is no run {uid} in {self._folder}") from error
        except (ValueError, KeyError, ValidationError) as error:
            raise Rejected(f"{self._file(uid)} is not a run that this canaryd wrote: {error}") from error

    @contextmanager
    def _locked(self, uid: str) -> Iterator[None]:
        folder = self._folder / uid
        if not folder.exists():
            raise Rejected(f"there is no run {uid} in {self._folder}")
        descriptor = os.open(folder / "run.lock", os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)


class FolderJournal:
    """The journal port on the same folder: one JSON object a line."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def tell(self, uid: str, entry: Mapping[str, object]) -> None:
        with _on_disk(), (self._folder / uid / "journal.jsonl").open("a") as file:
            file.write(json.dumps(entry, separators=(",", ":")) + "\n")

    def read(self, uid: str) -> list[dict[str, object]]:
        """Every entry, the oldest first; a line that a death cut short is left out."""
        path = self._folder / uid / "journal.jsonl"
        with _on_disk():
            lines = path.read_text().splitlines() if path.exists() else []
        return [json.loads(line) for line in lines if _whole(line)]


def _dump(record: Record) -> bytes:
    run = _RUN.dump_python(record.run, mode="json", by_alias=True)
    return json.dumps({"version": record.version, "run": run}, separators=(",", ":")).encode()


def _replace(path: Path, content: bytes) -> None:
    """Write, flush to the disk, rename, and flush the folder: in that order nothing is ever half there."""
    fresh = path.with_suffix(".new")
    with fresh.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _append(path: Path, line: str) -> None:
    with path.open("a") as file:
        file.write(line + "\n")
        file.flush()
        os.fsync(file.fileno())


def _whole(line: str) -> bool:
    return line.startswith("{") and line.endswith("}")


@contextmanager
def _on_disk() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise Unavailable(f"the state folder does not answer: {error}") from error
