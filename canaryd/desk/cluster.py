"""
The desk on a cluster: CanaryPlans, CanaryRuns and CanaryRecords, by plain requests with somebody's own credentials.

Nothing is watched and nothing kept, so that one process may serve many people, each with a :class:`Kube` of their own:
what one may read is never shown to another.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from canaryd.desk.folder import user
from canaryd.desk.port import Entry, NotGranted, SeenPlan, SeenRun
from canaryd.desk.seeing import as_journal, seen_object, seen_plan
from canaryd.errors import Rejected
from canaryd.kube import (
    CANARY_PLANS,
    CANARY_RECORDS,
    CANARY_RUNS,
    GROUP,
    Forbidden,
    Kind,
    Kube,
    Missing,
    Right,
    Unserved,
    grantee,
)
from canaryd.mesh.gitops import keeping
from canaryd.model.run import Command, Run
from canaryd.store.cluster import ClusterStore

Object = dict[str, Any]

VIEWER, OPERATOR, APPROVER = "canaryd-viewer", "canaryd-operator", "canaryd-approver"
"""The ClusterRoles that the installation brings for people."""
RELEASED_BY, RELEASE_REASON = f"{GROUP}/released-by", f"{GROUP}/release-reason"
"""Annotations of a CanaryPlan: who gave it its release at a desk, and why."""


class ClusterDesk:
    """
    The Desk port on the API server behind ``kube``, in ``namespaces`` (``("",)``: all of them).

    ``context`` is what the person calls that cluster; it is only told.
    """

    def __init__(self, kube: Kube, namespaces: Sequence[str] = ("",), *, context: str = "") -> None:
        self.kube = kube
        self.namespaces = tuple(namespaces)
        self.context = context

    @property
    def where(self) -> str:
        scope = ", ".join(filter(None, self.namespaces))
        named = f"namespace {scope}" if scope else "all namespaces"
        return f"{named} of {f'context {self.context}' if self.context else f'the cluster at {self.kube.address}'}"

    def me(self) -> str:
        """As the API server knows them; where it does not say so (before Kubernetes 1.28), this machine's user."""
        return self.kube.account() or user()

    def plans(self) -> tuple[SeenPlan, ...]:
        found = (seen_plan(one, keeping(one)) for one in self._listed(CANARY_PLANS))
        return tuple(sorted(found, key=lambda plan: (plan.namespace, plan.name)))

    def runs(self, plan: str = "") -> tuple[SeenRun, ...]:
        found = [seen_object(one) for one in self._listed(CANARY_RUNS)]
        return tuple(sorted((run for run in found if plan in ("", run.plan)), key=lambda run: run.began))

    def look(self, namespace: str, name: str) -> SeenRun:
        with self._told("get", CANARY_RUNS, namespace):
            return seen_object(self.kube.get(CANARY_RUNS, namespace, name))

    def run(self, seen: SeenRun) -> Run:
        with self._told("get", CANARY_RECORDS, seen.namespace):
            return self._store(seen).load(seen.name).run

    def journal(self, seen: SeenRun) -> tuple[Entry, ...]:
        return as_journal(self.look(seen.namespace, seen.name).decisions)

    def lacking(self, namespace: str, verb: str) -> str:
        """
        By the API server's own answer.

        ``operate`` and ``approve`` are asked for by the policy that the installation brings.
        """
        if verb == "release":
            if not self.kube.forbidden(namespace, (Right("patch", CANARY_PLANS),)):
                return ""
            said = f"it takes patch on {CANARY_PLANS}"
            return str(self._not_granted(said, "patch", CANARY_PLANS, namespace, OPERATOR, "release"))
        role, word = (APPROVER, "approve") if verb == "approve" else (OPERATOR, "operate")
        needed = (Right("patch", CANARY_RUNS), Right(word, CANARY_RUNS))
        lacks = self.kube.forbidden(namespace, needed)
        if not lacks:
            return ""
        said = f"it takes {' and '.join(right.verb for right in lacks)} on {CANARY_RUNS}"
        return str(self._not_granted(said, "patch", CANARY_RUNS, namespace, role, word))

    def ask(self, seen: SeenRun, command: Command) -> None:
        role = APPROVER if command.verb == "approve" else OPERATOR
        with self._told("patch", CANARY_RUNS, seen.namespace, role, doing=command.verb):
            self._store(seen).ask(seen.name, command)

    def release(self, plan: SeenPlan, version: str, reason: str = "") -> None:
        said = {RELEASED_BY: self.me(), RELEASE_REASON: reason or None}
        patch = {"metadata": {"annotations": said}, "spec": {"release": version}}
        with self._told("patch", CANARY_PLANS, plan.namespace, OPERATOR):
            self.kube.patch_merge(CANARY_PLANS, plan.namespace, plan.name, patch)

    def _listed(self, kind: Kind) -> Iterator[Object]:
        for namespace in self.namespaces:
            with self._told("list", kind, namespace):
                found = self.kube.list(kind, namespace)
            yield from found

    def _store(self, seen: SeenRun) -> ClusterStore:
        """A store that knows of this one run, and asks the API server whenever it is asked itself."""
        runs, records = (Asked(self.kube, kind, seen.namespace, seen.name) for kind in (CANARY_RUNS, CANARY_RECORDS))
        return ClusterStore(self.kube, runs, records, namespaces=(seen.namespace,))

    @contextmanager
    def _told(self, verb: str, kind: Kind, namespace: str, role: str = VIEWER, *, doing: str = "") -> Iterator[None]:
        """What a person can do about a refusal."""
        try:
            yield
        except Forbidden as error:
            raise self._not_granted(error.said, verb, kind, namespace, role, doing) from error
        except Missing as error:
            raise Rejected(f"it is not there (any more) in {self.where}: {error}") from error
        except Unserved as error:
            raise Rejected(
                f"the API server at {self.kube.address} does not know {kind}: canaryd crds | kubectl apply "
                "--server-side -f - installs canaryd's kinds; for canaryd run and serve, which need none, give --state"
            ) from error

    def _not_granted(self, said: str, verb: str, kind: Kind, namespace: str, role: str, doing: str) -> NotGranted:
        me = self.kube.account()
        scope = f"namespace {namespace}" if namespace else "all namespaces; -n NAMESPACE asks for one"
        sentence = f"{me or 'you'} may not {doing or verb} {kind} in {scope} ({said})"
        name = f"{role}-{(me or 'user').rpartition(':')[2]}"
        where = f" -n {namespace}" if namespace else ""
        binding = "rolebinding" if namespace else "clusterrolebinding"
        remedy = f"kubectl create {binding} {name} --clusterrole={role} {grantee(me)}{where}"
        return NotGranted(sentence, doing or verb, str(kind), remedy)


class Asked:
    """One object, as the API server has it whenever it is asked: what :class:`ClusterStore` needs of a cache."""

    def __init__(self, kube: Kube, kind: Kind, namespace: str, name: str) -> None:
        self._kube, self._kind, self._place = kube, kind, (namespace, name)

    def get(self, namespace: str, name: str) -> Object | None:
        if (namespace, name) != self._place:
            return None
        try:
            return self._kube.get(self._kind, namespace, name)
        except Missing:
            return None

    def all(self) -> list[Object]:
        found = self.get(*self._place)
        return [found] if found else []

    def fresh(self, seconds: float) -> bool:  # noqa: ARG002  # it is of this moment, whatever is asked for
        return True

    def took(self, found: Object) -> None:
        """Nothing is kept."""
