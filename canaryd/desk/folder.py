"""The desk on a state folder, as ``canaryd run`` and ``canaryd serve`` keep it."""

from __future__ import annotations

import getpass
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from canaryd.desk.port import Entry, SeenPlan, SeenRun
from canaryd.desk.seeing import decided_in, seen_run, where_it_stands
from canaryd.errors import Rejected
from canaryd.model.run import Command, Run
from canaryd.store import objects
from canaryd.store.folder import FolderJournal, FolderStore


class FolderDesk:
    """The Desk port on ``folder``. Plans are known from their runs, for the folder has no others."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._store = FolderStore(folder)
        self._journal = FolderJournal(folder)

    @property
    def where(self) -> str:
        return f"the folder {self.folder}"

    def me(self) -> str:
        return user()

    def plans(self) -> tuple[SeenPlan, ...]:
        newest = {str(record.run.plan): record.run for record in self._store.records()}
        return tuple(self._plan(newest[key]) for key in sorted(newest))

    def runs(self, plan: str = "") -> tuple[SeenRun, ...]:
        return tuple(self._seen(one.run) for one in self._store.records() if plan in ("", one.run.plan.name))

    def look(self, namespace: str, name: str) -> SeenRun:
        run = self._store.load(name).run
        if run.plan.namespace != namespace:
            raise Rejected(f"run {name} in {self.folder} is of namespace {run.plan.namespace}, not {namespace}")
        return self._seen(run, self._journal.read(name))

    def run(self, seen: SeenRun) -> Run:
        return self._store.load(seen.name).run

    def journal(self, seen: SeenRun) -> tuple[Entry, ...]:
        return tuple(self._journal.read(seen.name))

    def ask(self, seen: SeenRun, command: Command) -> None:
        self._store.ask(seen.name, command)

    def release(self, plan: SeenPlan, version: str, reason: str = "") -> None:  # noqa: ARG002  # it writes nothing
        raise Rejected(
            f"plan {plan.name} is a file that {self.where} does not know: write release: {version!r} into it, and "
            "canaryd serve begins the run, or canaryd run FILE; for a plan of a cluster say --context or --namespace"
        )

    def _seen(self, run: Run, journal: list[dict[str, Any]] | None = None) -> SeenRun:
        status: Mapping[str, Any] = objects.status_of(run)
        attended = None if run.final else self._store.attended(run.uid)
        return seen_run(run, status, attended=attended, decisions=decided_in(journal or ()))

    def _plan(self, run: Run) -> SeenPlan:
        return SeenPlan(
            run.plan.namespace,
            run.plan.name,
            run.plan.spec.release,
            run=run.uid,
            since=run.created if run.ended is None else run.ended,
            attended=None if run.final else self._store.attended(run.uid),
            **where_it_stands(objects.plan_status_of(run)),
        )


def user() -> str:
    """The name of this machine's user. In a container there may be none for the number."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"uid {os.getuid()}"
