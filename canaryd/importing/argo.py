"""
A Rollout of Argo Rollouts as a plan.

A Rollout is a workload and a strategy in one; a plan is only the strategy. Its steps are a script (set, pause,
analyse); a plan's step is a weight, how long it is measured, and a gate after it, so what follows a ``setWeight`` is
gathered into its step. The pods go on in Deployments that a person writes: docs/import.md has the order.

Sources: Argo Rollouts, pkg/apis/rollouts/v1alpha1/types.go; docs/features/specification.md, analysis.md and
traffic-management/istio.md; rollout/trafficrouting/istio/istio.go (what is written where).
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from decimal import Decimal
from typing import Any

from canaryd.importing.beside import Given, Object
from canaryd.importing.draft import Draft, Imported, destinations_of
from canaryd.importing.ledger import ABSENT, Ledger, Path
from canaryd.importing.templates import Templates
from canaryd.importing.units import duration, figure, number, span
from canaryd.model.problem import Problem, Refused

CANARY: Path = ("spec", "strategy", "canary")
ISTIO: Path = (*CANARY, "trafficRouting", "istio")
AT_ONCE = timedelta(minutes=1)
"""The bake of a weight that Argo Rollouts went past without a pause: four cells, so that something is measured."""
GATE = {"approve": {"limit": "4h", "otherwise": "hold"}}
"""A pause without an end: after the limit the run goes on holding, and says so."""
FAINT = "canaryd scales no pods"
MOVE = "canaryd owns no pods; they go on in Deployments of their own"

_LEFT: tuple[tuple[Path, str, str, Any], ...] = (
    (("spec", "replicas"), MOVE, "the Deployments' replicas: docs/import.md", ABSENT),
    (("spec", "selector"), MOVE, "the Deployments' selectors: docs/import.md", ABSENT),
    (("spec", "template"), MOVE, "the Deployments' templates: docs/import.md", ABSENT),
    (("spec", "workloadRef"), MOVE, "the Deployment that it names becomes stable: docs/import.md", ABSENT),
    (("spec", "minReadySeconds"), MOVE, "the Deployments' minReadySeconds", 0),
    (("spec", "revisionHistoryLimit"), MOVE, "the Deployments' revisionHistoryLimit", ABSENT),
    (("spec", "progressDeadlineSeconds"), MOVE, "the Deployments' progressDeadlineSeconds", ABSENT),
    (
        ("spec", "progressDeadlineAbort"),
        "a run begins when the canary's pods are there, and fails when none is ready",
        "nothing",
        False,
    ),
    (("spec", "paused"), "a plan that is applied begins a run", "apply it when it may begin", False),
    (("spec", "restartAt"), "canaryd restarts no pods", "kubectl rollout restart deployment NAME", ABSENT),
    (
        ("spec", "rollbackWindow"),
        "every release is measured, also one that was there before",
        "the way back needs no analysis: canaryd abort RUN, and canaryd undo PLAN after the promotion (undoWithin)",
        ABSENT,
    ),
    (("spec", "analysis"), "canaryd keeps a journal of each run", "docs/cluster.md says how long", ABSENT),
    ((*CANARY, "maxSurge"), MOVE, "the Deployments' strategy", ABSENT),
    ((*CANARY, "maxUnavailable"), MOVE, "the Deployments' strategy", ABSENT),
    ((*CANARY, "canaryMetadata"), MOVE, "labels in the template of the canary's Deployment", ABSENT),
    ((*CANARY, "stableMetadata"), MOVE, "labels in the template of stable's Deployment", ABSENT),
    ((*CANARY, "antiAffinity"), MOVE, "podAntiAffinity in the Deployments' templates", ABSENT),
    ((*CANARY, "scaleDownDelaySeconds"), FAINT, "scale the former version down when the run is promoted", ABSENT),
    ((*CANARY, "scaleDownDelayRevisionLimit"), FAINT, "there are two Deployments and no old ReplicaSets", ABSENT),
    ((*CANARY, "abortScaleDownDelaySeconds"), FAINT, "scale the canary down when the run is rolled back", ABSENT),
    (
        (*CANARY, "dynamicStableScale"),
        "canaryd scales no pods, and stable keeps its own, so that the way back is always there",
        "",
        False,
    ),
    ((*CANARY, "minPodsPerReplicaSet"), FAINT, "the Deployments' replicas", ABSENT),
    ((*CANARY, "replicaProgressThreshold"), "a run begins when the canary is rolled out whole", "", ABSENT),
    (
        (*CANARY, "pingPong"),
        "a plan names which of the two is stable",
        "leave target.stable out: it is who holds the traffic",
        ABSENT,
    ),
    (
        (*CANARY, "trafficRouting", "maxTrafficWeight"),
        "weights are percent; with Istio Argo Rollouts took them for percent, too",
        "",
        100,
    ),
)
_STEPS = {
    "setCanaryScale": (FAINT, "scale the canary's Deployment for all the traffic before the run begins"),
    "setHeaderRoute": (
        "a plan has matched requests at a step before the weights only, for beside one nothing could be compared",
        "a step with a match before the first weight",
    ),
    "setMirrorRoute": ("canaryd has no step that mirrors", "the first weight is the first traffic: begin it low"),
    "experiment": (
        "canaryd makes no pods for a comparison",
        "it compares the canary with stable at each step, and wants no baseline",
    ),
    "plugin": ("canaryd runs no plugins", "let your pipeline do it, or measure it as a check with a query"),
    "replicaProgressThreshold": ("a run begins when the canary is rolled out whole", ""),
}


def plan_from(rollout: Object, given: Given) -> Imported:
    """
    The plan that the strategy of ``rollout`` amounts to, with the objects beside it.

    Raises Refused with every problem where it is not a canary of http weights in Istio, or where nothing says which
    host it is for.
    """
    return _Reader(Draft(Ledger(rollout), "Argo Rollouts"), given).read()


class _Reader:
    def __init__(self, draft: Draft, given: Given) -> None:
        self.draft, self.given, self.ledger = draft, given, draft.ledger
        self.templates = Templates(draft, given)

    def read(self) -> Imported:
        self._refuse()
        self._target()
        self._background()
        self._steps()
        for path, why, instead, default in _LEFT:
            self.ledger.left(path, why, instead, default=default)
        self._other_routers()
        self.draft.return_to("stable's Deployment", "the canary's")
        self.draft.note(
            "where Argo Rollouts made the new pods the stable ones and shifted back, the run waits until stable's "
            "Deployment runs the same, and shifts back then (afterPromotion: return); you roll it out"
        )
        self.draft.note(
            "a Rollout is a workload, too: before the plan there have to be two Deployments, and no Rollout any more. "
            "docs/import.md has the order in which traffic never stops"
        )
        return self.draft.finished(self.given)

    def _refuse(self) -> None:
        ledger, problems = self.ledger, []
        if ledger.at("spec", "strategy", "blueGreen") is not None:
            problems.append(
                Problem(f"{ledger.source} spec.strategy.blueGreen", "", "canary: canaryd has no blue/green")
            )
        elif not ledger.mapping(*ISTIO):
            routers = ", ".join(ledger.mapping(*CANARY, "trafficRouting")) or "no trafficRouting"
            problems.append(
                Problem(
                    f"{ledger.source} spec.strategy.canary.trafficRouting",
                    routers,
                    "istio: canaryd moves weights of VirtualServices, not numbers of pods",
                )
            )
        elif not self._virtual_services():
            problems.append(Problem(f"{ledger.source} {'.'.join(map(str, ISTIO))}", "", "a virtualService with a name"))
        if problems:
            raise Refused(problems)

    def _virtual_services(self) -> list[Path]:
        """Where the VirtualServices stand that have a name."""
        places = [(*ISTIO, "virtualService")]
        places += [
            (*ISTIO, "virtualServices", place) for place in range(len(self.ledger.items(*ISTIO, "virtualServices")))
        ]
        return [path for path in places if self.ledger.mapping(*path).get("name")]

    def _target(self) -> None:
        ledger, draft = self.ledger, self.draft
        first, *others = self._virtual_services()
        name, _, elsewhere = str(ledger.at(*first, "name")).partition(".")
        if elsewhere and elsewhere != ledger.namespace:
            ledger.left(
                (*first, "name"),
                f"it is in namespace {elsewhere}, and a plan moves what is in its own",
                f"write metadata.namespace: {elsewhere}, and the hosts with their namespace",
            )
        routes = [str(route) for route in ledger.items(*first, "routes")]
        found = self.given.find("VirtualService", name, elsewhere or ledger.namespace)
        sides = self._subsets(found) or self._hosts(found)
        draft.target = {
            "virtualService": name,
            **({"routes": routes} if routes else {}),
            **sides,
        }
        for key in ("name", "routes"):
            ledger.carried((*first, key), "spec.target")
        for key, kind in (("tlsRoutes", "tls"), ("tcpRoutes", "tcp")):
            for path in (first, *others):
                ledger.left((*path, key), f"canaryd moves no weights of {kind} routes", "they stay as they are")
        if beside := [one for path in others if (one := self._beside(path))]:
            draft.target["also"] = beside

    def _beside(self, path: Path) -> dict[str, Any] | None:
        """A further VirtualService that moves along; None where it is in another namespace."""
        ledger = self.ledger
        name, _, elsewhere = str(ledger.at(*path, "name")).partition(".")
        if elsewhere and elsewhere != ledger.namespace:
            ledger.left(path, f"it is in namespace {elsewhere}, and a plan moves what is in its own")
            return None
        routes = [str(route) for route in ledger.items(*path, "routes")]
        for key in ("name", "routes"):
            ledger.carried((*path, key), "spec.target.also")
        return {"virtualService": name, **({"routes": routes} if routes else {})}

    def _subsets(self, virtual_service: Object | None) -> dict[str, Any] | None:
        """The two sides as subsets of one host, if the Rollout names a DestinationRule."""
        ledger = self.ledger
        rule = ledger.mapping(*ISTIO, "destinationRule")
        canary, stable = str(rule.get("canarySubsetName") or ""), str(rule.get("stableSubsetName") or "")
        if not canary or not stable:
            ledger.left((*ISTIO, "destinationRule"), "one of its two subsets is not named", "name both")
            return None
        found = self.given.find("DestinationRule", str(rule.get("name")), ledger.namespace)
        spec = (found or {}).get("spec")
        written = dict.fromkeys(host for host, subset in destinations_of(virtual_service) if subset in (canary, stable))
        host = next(iter(written), "") or (str(spec.get("host") or "") if isinstance(spec, Mapping) else "")
        if not host:
            raise Refused(
                [
                    Problem(
                        "spec.target.host",
                        f"{ledger.source} names subsets {stable} and {canary}, and not the host that has them",
                        "the VirtualService or the DestinationRule beside it",
                        f"kubectl get rollout {ledger.name} -o yaml; echo ---; "
                        f"kubectl get destinationrule {rule.get('name')} -o yaml: both into canaryd import -",
                    )
                ]
            )
        for key in ("name", "canarySubsetName", "stableSubsetName"):
            ledger.carried((*ISTIO, "destinationRule", key), "spec.target")
        ledger.idle(
            (*ISTIO, "destinationRule", "additionalSubsetNames"), "canaryd leaves every destination but its two alone"
        )
        for key in ("canaryService", "stableService"):
            ledger.idle((*CANARY, key), "the two are subsets of one host, and the Services stay as they are")
        self.draft.remark(
            ("spec", "target"),
            "its subsets need labels of their own, where Argo Rollouts wrote rollouts-pod-template-hash: "
            "docs/import.md has the order",
        )
        return {"host": host, "stable": {"subset": stable}, "canary": {"subset": canary}}

    def _hosts(self, virtual_service: Object | None) -> dict[str, Any]:
        """The two sides as Services of their own."""
        ledger = self.ledger
        canary, stable = (str(ledger.at(*CANARY, f"{side}Service", default="")) for side in ("canary", "stable"))
        if not canary or not stable:
            raise Refused(
                [
                    Problem(
                        f"{ledger.source} spec.strategy.canary",
                        f"canaryService {canary or 'nothing'}, stableService {stable or 'nothing'}",
                        "both Services, or a destinationRule with both subsets: which two versions is it about?",
                    )
                ]
            )
        written = {host.partition(".")[0]: host for host, _ in destinations_of(virtual_service)}
        canary, stable = written.get(canary, canary), written.get(stable, stable)
        for side in ("canary", "stable"):
            ledger.carried((*CANARY, f"{side}Service"), f"spec.target.{side}")
        self.draft.remark(
            ("spec", "target"),
            "its Services need labels of their own in their selectors, where Argo Rollouts wrote "
            "rollouts-pod-template-hash: docs/import.md has the order",
        )
        return {"host": stable, "stable": {"host": stable}, "canary": {"host": canary}}

    def _background(self) -> None:
        """The analysis beside the steps, from the weight at which it started."""
        begun = number(self.ledger.at(*CANARY, "analysis", "startingStep")) or Decimal(0)
        weights = [
            (place, number(step["setWeight"]) or Decimal(0))
            for place, step in enumerate(self.ledger.items(*CANARY, "steps"))
            if isinstance(step, Mapping) and "setWeight" in step
        ]
        former = [weight for place, weight in weights if place <= begun]
        start = former[-1] if former else next((weight for _, weight in weights), Decimal(0))
        keys = {"weights": {"from": figure(start)}} if begun > 0 and 0 < start < 100 else {}
        self.templates.read((*CANARY, "analysis"), keys)
        where: Path = (*CANARY, "analysis", "startingStep")
        if keys:
            self.ledger.carried(where, "spec.analysis.checks, as weights")
        self.ledger.left(where, "every check is in force from the first step", default=0)

    def _steps(self) -> None:
        """Gather what follows each ``setWeight`` into its step."""
        ledger, draft = self.ledger, self.draft
        where: Path = (*CANARY, "steps")
        current: dict[str, Any] | None = None
        baked, ended = timedelta(0), False
        for place, step in enumerate(ledger.items(*where)):
            path = (*where, place)
            if not isinstance(step, Mapping):
                continue
            if "setWeight" in step:
                _finish(current, baked)
                weight, baked = figure(number(step["setWeight"]) or Decimal(0)), timedelta(0)
                if weight <= draft.weight:
                    why = "a run begins at 0 %" if weight == draft.weight == 0 else "weights rise in a plan"
                    said = ledger.idle if weight == draft.weight == 0 else ledger.left
                    said((*path, "setWeight"), why)
                    current = None
                elif weight >= 100:
                    ledger.carried((*path, "setWeight"), "the promotion, which is watched for spec.watch")
                    current, ended = None, True
                else:
                    current = draft.step(weight)
                    ledger.carried((*path, "setWeight"), f"spec.steps.{len(draft.steps) - 1}")
            if "pause" in step:
                baked += self._pause((*path, "pause"), current, ended=ended)
            if "analysis" in step:
                at = (current or {}).get("weight")
                keys = {"weights": {"from": at, "to": at}} if at else {}
                baked += self.templates.read((*path, "analysis"), keys)
                if not keys:
                    draft.note("an analysis that stood at no weight is in force during every step of the plan")
            if "setHeaderRoute" in step:
                _finish(current, baked)
                current, baked = self._matched((*path, "setHeaderRoute"), current), timedelta(0)
            for key, (why, instead) in _STEPS.items():
                ledger.left((*path, key), why, instead)
        _finish(current, baked)
        for place, step in enumerate(draft.steps):
            if "bake" not in step:
                step["bake"] = duration(AT_ONCE)
                gate = "held only by a person" if "gate" in step else "left at once"
                draft.remark(("spec", "steps", place), f"{gate} in the Rollout; a weight is measured for a while here")
                share = f"the weight {step['weight']} %" if "weight" in step else "the step with the match"
                draft.note(
                    f"{share} was {gate}: it bakes {duration(AT_ONCE)} in the plan, which only goes on when it has "
                    "measured"
                )
        if not draft.weight:
            draft.usual_weights("Rollout")
        draft.rise_to_proof()

    def _matched(self, path: Path, current: dict[str, Any] | None) -> dict[str, Any] | None:
        """The step that a header route before the weights is; ``current`` where it is none."""
        ledger, draft = self.ledger, self.draft
        if not ledger.items(*path, "match"):
            ledger.idle(path, "a match ends with its step")
            return current
        if draft.steps:
            return current
        ways = []
        for one in ledger.items(*path, "match"):
            value = one.get("headerValue") if isinstance(one, Mapping) else None
            if not isinstance(value, Mapping):
                return current
            kept = {key: str(text) for key, text in value.items() if text}
            ways.append({"headers": {str(one.get("headerName", "")).lower(): kept}})
        made = draft.matched(ways)
        if isinstance(made, str):
            ledger.left(path, made)
            return current
        ledger.carried(path, "spec.steps.0.match")
        draft.note("a header route stayed during the weights; here these requests are divided as all others are then")
        return made

    def _pause(self, path: Path, current: dict[str, Any] | None, *, ended: bool) -> timedelta:
        """How much a pause adds to the bake; one without an end becomes the step's gate."""
        ledger = self.ledger
        asked = ledger.at(*path, "duration")
        length = span(asked)
        if current is None:
            ledger.left(
                path,
                "there is no weight at which it would pause" if not ended else "at 100 % a run watches for spec.watch",
                "write spec.release when the run may begin" if not ended else "spec.watch",
            )
            return timedelta(0)
        place = len(self.draft.steps) - 1
        if asked is None:
            current["gate"] = GATE
            ledger.carried(path, f"spec.steps.{place}.gate")
            self.draft.note(
                "a pause without an end is a gate that a person opens (canaryd approve); it says so again after 4h, "
                "and goes on holding"
            )
            return timedelta(0)
        if length is None:
            ledger.left(path, "not a duration", "write the step's bake")
            return timedelta(0)
        ledger.carried(path, f"spec.steps.{place}.bake")
        return length

    def _other_routers(self) -> None:
        self.ledger.idle(
            (*CANARY, "trafficRouting", "managedRoutes"), "only names the routes of the steps, each of which is said"
        )
        for key in self.ledger.mapping(*CANARY, "trafficRouting"):
            if key not in ("istio", "managedRoutes", "maxTrafficWeight"):
                self.ledger.left(
                    (*CANARY, "trafficRouting", str(key)),
                    "canaryd moves the weights of Istio only",
                    "traffic that comes that way has to meet the VirtualService, too",
                )


def _finish(step: dict[str, Any] | None, baked: timedelta) -> None:
    if step is not None and baked > timedelta(0):
        step["bake"] = duration(baked)
