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
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

import structlog
from pydantic import TypeAdapter, ValidationError

from canaryd.errors import Conflict, Rejected, Unavailable
from canaryd.model.run import Command, Record, Run

log = structlog.get_logger()
_RUN = TypeAdapter(Run)
_COMMAND = TypeAdapter(Command)


class FolderStore:
    """The store port on a folder. Raises Unavailable when the disk does not play along."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def load(self, uid: str) -> Record:
        with _on_disk():  # without the lock: a rename shows the former record or the new one
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
                put(self._file(uid), _dump(saved))
                return saved

    def records(self) -> Iterator[Record]:
        with _on_disk():
            uids = [path.name for path in found_in(self._folder) if (path / "run.json").exists()]
        readable = (record for uid in uids if (record := self._readable(uid)))
        return iter(sorted(readable, key=lambda record: record.run.created))

    def _readable(self, uid: str) -> Record | None:
        """The record, or None where it is damaged: one bad file must not keep the other runs from being ticked."""
        try:
            return self.load(uid)
        except Rejected as error:
            log.error("store.damaged", run=uid, error=str(error))  # noqa: TRY400  # expected, and said
            return None

    def commands(self, uid: str) -> tuple[Command, ...]:
        with _on_disk():
            path = self._folder / uid / "commands.jsonl"
            lines = _lines(path)
        return tuple(command for line in lines if (command := _command(line)))

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

    @contextmanager
    def beginning(self) -> Iterator[None]:
        """One beginning at a time, over all processes: two that look at the same moment would begin a plan twice."""
        with _on_disk():
            self._folder.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(self._folder / "begin.lock", os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def attended(self, uid: str) -> bool:
        """Whether a process carries the run out now."""
        with _on_disk():
            if not (self._folder / uid / "owner.lock").exists():
                return False
            descriptor = os.open(self._folder / uid / "owner.lock", os.O_RDONLY)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
            finally:
                os.close(descriptor)
            return False

    def _file(self, uid: str) -> Path:
        return self._folder / uid / "run.json"

    def _read(self, uid: str) -> Record:
        try:
            content = json.loads(self._file(uid).read_bytes())
            return Record(_RUN.validate_python(content["run"]), content["version"])
        except FileNotFoundError as error:
            raise Rejected(f"there is no run {uid} in {self._folder}") from error
        except (ValueError, KeyError, TypeError, ValidationError) as error:
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
        with _on_disk():
            # A run that is kept in a cluster has its journal here and nothing else.
            (self._folder / uid).mkdir(parents=True, exist_ok=True)
            _append(self._folder / uid / "journal.jsonl", json.dumps(entry, separators=(",", ":")), sync=False)

    def read(self, uid: str) -> list[dict[str, object]]:
        """Every entry, the oldest first; a line that a death cut short is left out."""
        path = self._folder / uid / "journal.jsonl"
        with _on_disk():
            return entries(_lines(path))


def entries(lines: Iterable[str]) -> list[dict[str, object]]:
    """The entries of a journal, the oldest first; a line that a death cut short is left out."""
    return [entry for line in lines if (entry := _entry(line))]


def _dump(record: Record) -> bytes:
    run = _RUN.dump_python(record.run, mode="json", by_alias=True)
    return json.dumps({"version": record.version, "run": run}, separators=(",", ":")).encode()


def found_in(folder: Path, suffix: str = "") -> list[Path]:
    """
    What lies in ``folder`` with that suffix; nothing where there is no folder yet. Raises OSError.

    Path.glob finds nothing, too, in a folder that may not be read: one that holds runs and freezes must not look empty.
    """
    try:
        return [path for path in folder.iterdir() if path.suffix == suffix or not suffix]
    except FileNotFoundError:
        return []


def put(path: Path, content: bytes) -> None:
    """Write, flush to the disk, rename, and flush the folder: in that order nothing of ``path`` is ever half there."""
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


def _append(path: Path, line: str, *, sync: bool = True) -> None:
    """Append ``line``. One that a death cut short is closed first, so that it takes no other line with it."""
    with path.open("ab+") as file:
        if file.tell() and not _ends_a_line(file):
            line = "\n" + line
        file.write(line.encode() + b"\n")
        file.flush()
        if sync:
            os.fsync(file.fileno())


def _ends_a_line(file: BinaryIO) -> bool:
    file.seek(-1, os.SEEK_END)
    return file.read(1) == b"\n"


def _lines(path: Path) -> list[str]:
    return path.read_text(errors="replace").split("\n") if path.exists() else []


def _command(line: str) -> Command | None:
    """The command in ``line``; None for a line that was cut short: nobody was told that it had been taken."""
    try:
        return _COMMAND.validate_json(line)
    except ValidationError:
        return None


def _entry(line: str) -> dict[str, object] | None:
    try:
        entry = json.loads(line)
    except ValueError:
        return None
    return entry if isinstance(entry, dict) else None


@contextmanager
def _on_disk() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise Unavailable(f"the state folder does not answer: {error}") from error
