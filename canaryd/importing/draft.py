"""
A plan in the making: what both tools' objects are read into, held against the plan's own rules before it is handed out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from pydantic import ValidationError

from canaryd.importing.beside import Given, Object
from canaryd.importing.ledger import Fate, Ledger, Path
from canaryd.importing.units import duration, label
from canaryd.importing.writing import written
from canaryd.mesh.route import resolve
from canaryd.model.check import Check
from canaryd.model.match import Match
from canaryd.model.plan import LAST_COMPARATIVE, Plan, plan_of, read_plan
from canaryd.model.queries import of_query
from canaryd.model.reading import problems_of

COMPARED = (
    {"name": "errors", "metric": "error-rate", "compare": "stable"},
    {"name": "latency", "metric": "latency", "compare": "stable"},
)
"""What every plan gets: without a comparison with stable no promotion can be proven."""
STEP = ("match", "weight", "bake", "gate")
"""The keys of a step, in the order of the model plans."""
TRACKING = ("kubectl.kubernetes.io/", "kustomize.toolkit.fluxcd.io/", "helm.toolkit.fluxcd.io/", "meta.helm.sh/")
TRACKED = ("argocd.argoproj.io/", "app.kubernetes.io/managed-by", "helm.sh/", "rollout.argoproj.io/")


@dataclass(frozen=True, slots=True)
class Imported:
    """
    A plan made from another tool's object.

    ``text`` is its YAML with remarks, ``content`` the same without; ``fates`` are what became of each field of every
    object that was read for it, and ``notes`` what is carried and yet not quite the same here.
    """

    source: str
    plan: Plan
    text: str
    content: Mapping[str, Any]
    fates: tuple[Fate, ...]
    notes: tuple[str, ...]

    @property
    def lost(self) -> tuple[Fate, ...]:
        """What the plan does not say."""
        return tuple(fate for fate in self.fates if fate.lost)


@dataclass(slots=True)
class Draft:
    """What is known so far. Each reader fills it in, and :meth:`finished` makes the plan of it."""

    ledger: Ledger
    tool: str
    target: dict[str, Any] = field(default_factory=dict)
    steps: list[dict[str, Any]] = field(default_factory=list)
    checks: list[dict[str, Any]] = field(default_factory=lambda: [dict(check) for check in COMPARED])
    more: dict[str, Any] = field(default_factory=dict)
    remarks: dict[Path, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    beside: list[Ledger] = field(default_factory=list)

    def note(self, sentence: str) -> None:
        """Say something once that is not the same here as it was there."""
        if sentence not in self.notes:
            self.notes.append(sentence)

    def remark(self, path: Path, sentence: str) -> None:
        """Say something above a part of the plan."""
        self.remarks[path] = "\n".join(filter(None, (self.remarks.get(path, ""), sentence)))

    @property
    def weight(self) -> float:
        """The weight of the last step, 0 where there is none yet."""
        return float(self.steps[-1].get("weight", 0)) if self.steps else 0

    def step(self, weight: float, bake: timedelta | None = None) -> dict[str, Any]:
        """Add a step with a weight."""
        return self._add({"weight": weight, **({"bake": duration(bake)} if bake else {})})

    def matched(self, ways: list[dict[str, Any]], bake: timedelta | None = None) -> dict[str, Any] | str:
        """Add a step for the requests that one of ``ways`` matches; where the plan would refuse one: why."""
        try:
            for way in ways:
                Match.model_validate(way)
        except ValidationError as error:
            return "; ".join(problem.expected for problem in problems_of(error, Match))
        self.note(
            "matched requests are other people's than stable's: at that step nothing is compared, the objectives "
            "judge, and it takes analysis.minRequests of them to pass"
        )
        return self._add({"match": ways, **({"bake": duration(bake)} if bake else {})})

    def usual_weights(self, kind: str, bake: timedelta | None = None) -> None:
        """canaryd's usual weights, where the source has none."""
        self.remark(("spec", "steps", len(self.steps)), f"the {kind} has no weights; these are canaryd's usual ones")
        self.note(f"the {kind} has no weights: the steps are 5, 25 and 50 %")
        for weight in (5, 25, 50):
            self.step(weight, bake)

    def _add(self, step: dict[str, Any]) -> dict[str, Any]:
        self.steps.append(step)
        return step

    def check(self, name: str, **keys: Any) -> str:
        """Add a check under a name of its own. Where the plan would refuse it: why, and nothing is added."""
        taken = {check["name"] for check in self.checks}
        made = {"name": label(name, taken), **keys}
        try:
            Check.model_validate(made)
        except ValidationError as error:
            return "; ".join(problem.expected for problem in problems_of(error, Check))
        if "query" in made and (problem := of_query("query", made["query"])):
            return problem.expected
        self.checks.append(made)
        return ""

    def return_to(self, stable: str, canary: str) -> None:
        """Both tools leave all the traffic with stable at the end; a plan does so where it says it."""
        self.more["afterPromotion"] = "return"
        self.remark(
            ("spec", "afterPromotion"),
            f"{canary} has all the traffic, until {stable} runs the same and gets it back: docs/return.md",
        )

    def rise_to_proof(self) -> None:
        """Promotion is proven at 50 % or more: where the last step is below, one is added."""
        last = self.steps[-1]
        if self.weight >= LAST_COMPARATIVE.canary / 1000:
            return
        self.steps.append({"weight": 50, **({"bake": last["bake"]} if "bake" in last else {})})
        self.remark(
            ("spec", "steps", len(self.steps) - 1),
            f"added: canaryd proves a promotion at 50 % or more, and the last weight was {last['weight']} %",
        )
        self.note(
            f"the last weight was {last['weight']} %; a step at 50 % was added, where canaryd proves a promotion. "
            "To promote without: take it out and give acceptUnproven a reason"
        )

    def metadata(self) -> dict[str, Any]:
        """The plan's own, from the source's; what other tools track their objects by stays behind."""
        ledger = self.ledger
        found: dict[str, Any] = {}
        name = label(ledger.name)
        if name != ledger.name:
            self.note(f"the plan's name is {name}: a DNS label, which {ledger.name} is not")
        ledger.carried(("metadata", "name"), "metadata.name")
        ledger.carried(("metadata", "namespace"), "metadata.namespace")
        found["name"] = name
        if ledger.namespace:
            found["namespace"] = ledger.namespace
        else:
            self.note("the source says no namespace: the plan is for default, unless you write metadata.namespace")
        for part in ("labels", "annotations"):
            kept = {}
            for key, value in ledger.mapping("metadata", part).items():
                if key.startswith(TRACKING) or key.startswith(TRACKED):
                    ledger.idle(("metadata", part, key), "a mark of the tool that applied the object")
                else:
                    kept[key] = str(value)
                    ledger.carried(("metadata", part, key), f"metadata.{part}")
            if kept:
                found[part] = kept
        ledger.only_there()
        return found

    def finished(self, given: Given) -> Imported:
        """
        The plan, read back from its own text by the rules for every plan.

        Raises Refused with every problem where they do not allow it.
        """
        metadata = self.metadata()
        spec: dict[str, Any] = {
            "release": "1",
            "target": self.target,
            "steps": [{key: step[key] for key in STEP if key in step} for step in self.steps],
            **({"analysis": {"checks": self.checks}} if len(self.checks) > len(COMPARED) else {}),
            **self.more,
        }
        content = {"apiVersion": "canaryd.io/v1alpha1", "kind": "CanaryPlan", "metadata": metadata, "spec": spec}
        self.remark(("spec", "release"), "a new value begins a run: write it when the new version's pods are there")
        head = f"From {self.ledger.source} of {self.tool}, by canaryd import."
        text = written(content, self.remarks, head)
        plan = plan_of(content, self.ledger.source)
        if read_plan(text, self.ledger.source) != plan:
            raise AssertionError(f"what was written is not what was meant: {text}")
        self._hold_against_the_route(plan, given)
        fates = [fate for ledger in (self.ledger, *self.beside) for fate in ledger.fates()]
        return Imported(self.ledger.source, plan, text, content, tuple(fates), tuple(self.notes))

    def _hold_against_the_route(self, plan: Plan, given: Given) -> None:
        """What speaks against the plan in the VirtualService beside it, if there is one, in admission's own words."""
        name = plan.spec.target.virtual_service
        if (found := given.find("VirtualService", name, plan.namespace)) is None:
            return
        for problem in resolve(located(found, plan.namespace), plan).problems:
            self.note(f"preflight will refuse the plan on VirtualService {name} as it is here: {problem}")


def located(found: Object, namespace: str) -> dict[str, Any]:
    """``found`` with a namespace: manifests often leave it to whoever applies them."""
    meta = dict(found.get("metadata") or {})
    return {**found, "metadata": {**meta, "namespace": meta.get("namespace") or namespace}}


def destinations_of(virtual_service: Object | None) -> list[tuple[str, str]]:
    """Host and subset of each http destination of ``virtual_service``, as written."""
    spec = (virtual_service or {}).get("spec")
    entries = spec.get("http") if isinstance(spec, Mapping) else None
    found = []
    for entry in entries if isinstance(entries, Sequence) else ():
        for route in (entry.get("route") if isinstance(entry, Mapping) else None) or ():
            destination = route.get("destination") if isinstance(route, Mapping) else None
            if isinstance(destination, Mapping):
                found.append((str(destination.get("host") or ""), str(destination.get("subset") or "")))
    return found
