"""
Plans from a folder: each file becomes a CanaryPlan, marked as such.

The folder is read again and again, so that the symlink swap of a mounted ConfigMap is seen like any other change; the
API server is asked only when something differs. A broken file is told and the others go on. A plan whose file is gone
is deleted, and with it ends its run; not while a file is broken, for that may be the one, and not when the folder is
empty, for that is what a mount that failed looks like.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

import structlog

from canaryd import telemetry
from canaryd.errors import CanarydError
from canaryd.kube import CANARY_PLANS, GROUP, Kube
from canaryd.model.plan import Plan
from canaryd.model.policy import plan_of
from canaryd.model.problem import Problem, Refused
from canaryd.model.reading import content_of

Object = dict[str, Any]
Policies = Callable[[], Mapping[str, Mapping[str, Any]]]

SCAN = 5.0
"""Seconds between two readings of the folder."""
SOURCE = f"{GROUP}/source"
FROM_FOLDER = "folder"
OWNER = "canaryd-plans"
"""The field manager of what we apply, so that a person's `kubectl apply` sees whose the fields are."""

log = structlog.get_logger()


class Objects(Protocol):
    """The CanaryPlans as they were last seen."""

    def get(self, namespace: str, name: str) -> Object | None: ...
    def all(self) -> list[Object]: ...
    def took(self, found: Object) -> None: ...


class Folder:
    """
    Keeps the CanaryPlans of a folder as its files say.

    ``tell`` is told of each broken file once per text: the file's name, the sentence, and the plan that it held when it
    could last be read (``namespace/name``, or empty). While ``paused``, or where ``may`` says no, nothing is read.
    """

    def __init__(
        self,
        folder: Path,
        kube: Kube,
        objects: Objects,
        policies: Policies,
        *,
        tell: Callable[[str, str, str], None],
        may: Callable[[], bool] = lambda: True,
        every: float = SCAN,
    ) -> None:
        self._folder = folder
        self._kube = kube
        self._objects = objects
        self._policies = policies
        self._tell = tell
        self._may = may
        self._every = every
        self.paused = False
        self._told: dict[str, str] = {}
        self._held: dict[str, str] = {}
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._loop, name="plans-folder", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Nothing is written after this."""
        self._end.set()
        if self._thread.is_alive():
            self._thread.join()

    def _loop(self) -> None:
        while not self._end.is_set():
            try:
                if not self.paused and self._may():
                    self.scan()
            except Exception:
                log.exception("plans.failed", folder=str(self._folder))
            self._end.wait(self._every)

    def scan(self) -> None:
        """Read every file once, and write what differs."""
        try:
            files = sorted(file for file in self._folder.glob("*.y*ml") if file.is_file())
        except OSError as error:
            log.warning("plans.unreadable", folder=str(self._folder), error=str(error))
            return
        wanted: dict[str, str] = {}
        broken: dict[str, str] = {}
        for file in files:
            try:
                plan, body = self._read(file)
                if (holder := wanted.setdefault(str(plan), file.name)) != file.name:
                    raise Refused(
                        [Problem(file.name, str(plan), "a plan that no other file holds", f"it is in {holder}")]
                    )
                self._held[file.name] = str(plan)
                self._keep(plan, body)
            except (CanarydError, OSError, UnicodeDecodeError) as error:
                broken[file.name] = str(error)
        for name, why in broken.items():
            if self._told.get(name) != why:
                log.warning("plan_file.broken", file=name, why=why, plan=self._held.get(name, ""))
                self._tell(name, why, self._held.get(name, ""))
        self._told = broken
        telemetry.plan_files_broken(len(broken))
        if wanted and not broken:
            self._prune(wanted)

    def _read(self, file: Path) -> tuple[Plan, Object]:
        text = file.read_text(encoding="utf-8")
        content = content_of(text, file.name)
        if not isinstance(content, Mapping):
            raise Refused([Problem(file.name, "", "a mapping with apiVersion, kind, metadata and spec")])
        plan = plan_of(content, file.name, self._policies())
        return plan, _body(plan, content)

    def _keep(self, plan: Plan, body: Object) -> None:
        found = self._objects.get(plan.namespace, plan.name)
        if found is not None and not is_from_folder(found):
            where = f"CanaryPlan {plan}"
            delete = f"kubectl delete canaryplan {plan.name} -n {plan.namespace}"
            remedy = f"take the file out, or let it have the plan: {delete}"
            raise Refused([Problem(where, "written by somebody else", "a plan that only this folder holds", remedy)])
        if found is not None and found.get("spec") == body["spec"]:
            return
        applied = self._kube.apply(CANARY_PLANS, plan.namespace, plan.name, body, field_manager=OWNER, force=True)
        self._objects.took(applied)
        log.info("plan.applied", plan=str(plan), release=plan.spec.release)

    def _prune(self, wanted: Mapping[str, str]) -> None:
        for found in self._objects.all():
            meta = found["metadata"]
            key = f"{meta['namespace']}/{meta['name']}"
            if is_from_folder(found) and key not in wanted:
                log.warning("plan.pruned", plan=key, why="its file is gone from the folder")
                self._kube.delete(CANARY_PLANS, meta["namespace"], meta["name"], uid=meta["uid"])


def is_from_folder(found: Object) -> bool:
    """Whether a CanaryPlan is one of ours."""
    return (found["metadata"].get("labels") or {}).get(SOURCE) == FROM_FOLDER


def _body(plan: Plan, content: Mapping[str, Any]) -> Object:
    """The object to apply: what the file says, and our mark."""
    given = content.get("metadata") or {}
    labels = {**(given.get("labels") or {}), SOURCE: FROM_FOLDER}
    meta: Object = {"name": plan.name, "namespace": plan.namespace, "labels": labels}
    if given.get("annotations"):
        meta["annotations"] = dict(given["annotations"])
    return {
        "apiVersion": f"{GROUP}/v1alpha1",
        "kind": "CanaryPlan",
        "metadata": meta,
        # YAML makes dates of what the API server, as kubectl does, has as text.
        "spec": json.loads(json.dumps(content.get("spec") or {}, default=str)),
    }
