"""Places for a desk: runs put down as who carries them out puts them, in a folder or in a cluster."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from canaryd.desk import ClusterDesk, Desk, FolderDesk
from canaryd.engine.ports import Journal, Store
from canaryd.kube import CANARY_PLANS, CANARY_RUNS, Kube, connect
from canaryd.model.run import Command, Phase, Record, Run
from canaryd.model.traffic import Split
from canaryd.store import objects
from canaryd.store.folder import FolderJournal, FolderStore
from tests.stage import new_run, plan
from tests.store.places import NAMESPACE, Process, prepare

Entry = dict[str, Any]


@dataclass(frozen=True)
class Place:
    """A desk, the store and the journal that who carries runs out has, and what is typed to get there."""

    desk: Desk
    store: Store
    journal: Journal
    kube: Kube | None
    typed: tuple[str, ...]

    def put(self, run: Run, journal: Sequence[Entry] = ()) -> Run:
        """Begin ``run`` as it stands, and tell of it as who carries it out does."""
        saved = self.store.save(Record(run)).run
        for entry in journal:
            self.journal.tell(run.uid, entry)
        if self.kube is not None:
            self.show(saved, journal)
        return saved

    def move(self, run: Run, journal: Sequence[Entry] = ()) -> Run:
        """The same run a little later."""
        known = self.store.load(run.uid)
        saved = self.store.save(replace(known, run=replace(run, kept=known.run.kept))).run
        for entry in journal:
            self.journal.tell(run.uid, entry)
        if self.kube is not None:
            self.show(saved, journal)
        return saved

    def show(self, run: Run, journal: Sequence[Entry]) -> None:
        """Write the status of its CanaryRun."""
        assert self.kube is not None
        decisions = [one for entry in journal for one in _decisions(entry)]
        status = objects.status_of(run, decisions, "kubectl patch virtualservice reviews ...")
        status["conditions"] = objects.timed(status["conditions"], (), run.created)
        self.kube.patch_merge(CANARY_RUNS, NAMESPACE, run.uid, {"status": status}, subresource="status")

    def put_plan(self, of: Run, **meta: Any) -> None:
        """The CanaryPlan that ``of`` carries out; a folder has none."""
        if self.kube is None:
            return
        body = of.plan.model_dump(mode="json", by_alias=True, exclude_none=True)
        body["metadata"] |= meta
        self.kube.create(CANARY_PLANS, NAMESPACE, body)
        status = objects.plan_status_of(of)
        status["conditions"] = objects.timed(status["conditions"], (), of.created)
        self.kube.patch_merge(CANARY_PLANS, NAMESPACE, of.plan.name, {"status": status}, subresource="status")

    def commands(self, uid: str) -> tuple[Command, ...]:
        """As who carries the run out hears them."""
        return (self.store if self.kube is None else Process(self.kube).store).commands(uid)


class Unheard:
    """The journal of a cluster lies where no desk sees it."""

    def tell(self, uid: str, entry: object) -> None: ...


def in_folder(folder: Path) -> Place:
    return Place(FolderDesk(folder), FolderStore(folder), FolderJournal(folder), None, ("--state", str(folder)))


def in_cluster(config: Path) -> Place:
    kube = connect(str(config), timeout=10)
    prepare(kube)
    desk = ClusterDesk(kube, (NAMESPACE,), context="lab")
    return Place(desk, Process(kube).store, Unheard(), kube, ("--kubeconfig", str(config), "-n", NAMESPACE))


def standing(uid: str = "run-1", **changes: Any) -> Run:
    """A run that has stood at 5 % for a while."""
    begun = new_run(plan(gate_at=0, release="3.0.1"))
    usual: dict[str, Any] = {
        "phase": Phase.BAKING,
        "split": Split.percent(5),
        "seq": 1,
        "waiting": "baking at 5 %: 1 of 6 cells",
    }
    return replace(begun, uid=uid, **(usual | changes))


def _decisions(entry: Entry) -> list[dict[str, str]]:
    """The events of a journal's entry as they stand in a status."""
    at, weight = objects.time_text(entry["at"]), str(Split(entry["split"]))
    said = {"at": at, "phase": entry["phase"], "weight": weight}
    return [said | {"event": event, "reason": reason} for event, reason in entry["events"]]
