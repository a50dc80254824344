"""
A Canary of Flagger as a plan.

Flagger works on clones: it copies the Deployment ``t`` to ``t-primary``, makes the Services ``s``, ``s-primary`` and
``s-canary`` and a VirtualService ``s``, and after a promotion it copies the template to the primary and shifts back. So
stable is the *host* ``s-primary`` and canary the host ``s-canary``, and the plan names those two as they stand.

Sources: Flagger, artifacts/flagger/crd.yaml; pkg/apis/flagger/v1beta1/canary.go (defaults); pkg/router/istio.go (what
is generated); pkg/controller/scheduler.go (how weights go); docs/gitbook/usage/how-it-works.md, metrics.md.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import timedelta
from decimal import Decimal
from typing import Any

from canaryd.importing.beside import Given, Object
from canaryd.importing.draft import Draft, Imported, destinations_of
from canaryd.importing.ledger import ABSENT, Ledger, Path
from canaryd.importing.queries import filled, in_a_row, window
from canaryd.importing.units import duration, figure, label, number, percent, plain, span
from canaryd.model.problem import Problem, Refused

INTERVAL = timedelta(seconds=60)
"""Between two checks where the Canary does not say; a metric's window, too."""
SHORTEST = timedelta(seconds=10)
CELL = timedelta(seconds=15)
_CLONE = re.compile(r"\{\{-?\s*target\s*-?\}\}-(primary|canary)\b")
KEPT = "stands in the {0}, which stays as it is and is yours after the handover"

_STAY: tuple[tuple[str, str], ...] = (
    ("name", "VirtualService and the Services"),
    ("port", "Services"),
    ("portName", "Services"),
    ("targetPort", "Services"),
    ("portDiscovery", "Services"),
    ("headless", "Services"),
    ("trafficDistribution", "Services"),
    ("timeout", "VirtualService"),
    ("gateways", "VirtualService"),
    ("hosts", "VirtualService"),
    ("delegation", "VirtualService"),
    ("match", "VirtualService"),
    ("rewrite", "VirtualService"),
    ("retries", "VirtualService"),
    ("headers", "VirtualService"),
    ("corsPolicy", "VirtualService"),
    ("mirror", "VirtualService"),
    ("trafficPolicy", "DestinationRules"),
    ("apex", "VirtualService and the Service"),
    ("primary", "Service"),
    ("canary", "Service"),
    ("unmanagedMetadata", "objects"),
)
_OTHER_MESHES = (
    ("spec", "ingressRef"),
    ("spec", "routeRef"),
    ("spec", "upstreamRef"),
    ("spec", "service", "meshName"),
    ("spec", "service", "backends"),
    ("spec", "service", "backendTimeout"),
    ("spec", "service", "gatewayRefs"),
    ("spec", "service", "parentRefs"),
)
_ASKED = {
    "confirm-rollout": "start",
    "pre-rollout": "start",
    "confirm-traffic-increase": "steps",
    "confirm-promotion": "promotion",
    "post-rollout": "end",
}
"""Where a plan asks what the hooks of a kind are asked."""
_HOOKS = {
    "rollout": (
        "canaryd calls nothing while it measures; it judges the traffic that is there",
        "measure what it asks as a check with a query, and keep a load test beside canaryd",
    ),
    "rollback": ("canaryd asks no URL whether to roll back", "canaryd abort RUN --reason WHY, also from a script"),
    "event": ("canaryd posts no events but the end's", "it tells Kubernetes Events, a journal, metrics and alerts"),
}


def plan_from(canary: Object, given: Given) -> Imported:
    """
    The plan that ``canary`` amounts to, with the objects beside it.

    Raises Refused with every problem where it is not a canary of http weights in Istio at all.
    """
    return _Reader(Draft(Ledger(canary), "Flagger"), given).read()


class _Reader:
    def __init__(self, draft: Draft, given: Given) -> None:
        self.draft, self.given, self.ledger = draft, given, draft.ledger
        self.deployment = str(self.ledger.at("spec", "targetRef", "name", default=""))
        self.service = str(self.ledger.at("spec", "service", "name", default="") or self.deployment)
        self.primary, self.canary = f"{self.service}-primary", f"{self.service}-canary"
        self.where: Path = ("spec", "analysis")
        if not self.ledger.mapping(*self.where) and self.ledger.mapping("spec", "canaryAnalysis"):
            self.where = ("spec", "canaryAnalysis")

    def read(self) -> Imported:
        self._refuse()
        self._target()
        self._steps()
        self._metrics()
        self._webhooks()
        self._alerts()
        self._rest()
        return self.draft.finished(self.given)

    def _analysis(self, *path: str | int, default: Any = None) -> Any:
        return self.ledger.at(*self.where, *path, default=default)

    def _refuse(self) -> None:
        problems = []
        provider, source = self.ledger.at("spec", "provider", default="istio"), self.ledger.source
        if provider != "istio":
            problems.append(
                Problem(f"{source} spec.provider", str(provider), "istio: canaryd moves weights of VirtualServices")
            )
        if not self.deployment:
            problems.append(Problem(f"{source} spec.targetRef.name", "nothing", "the name of the target"))
        kind = self.ledger.at("spec", "targetRef", "kind", default="Deployment")
        if kind == "Service":
            problems.append(Problem(f"{source} spec.targetRef.kind", kind, "a workload, of which there are two"))
        if str(self.ledger.at("spec", "service", "appProtocol", default="")).lower() == "tcp":
            problems.append(
                Problem(f"{source} spec.service.appProtocol", "tcp", "http: canaryd moves no weights of tcp routes")
            )
        weights = self._analysis("stepWeight") or self._analysis("stepWeights")
        if self._analysis("iterations") and not weights and not self._analysis("match"):
            problems.append(
                Problem(
                    f"{source} {'.'.join(map(str, self.where))}.iterations",
                    str(self._analysis("iterations")),
                    "weights: this is blue/green, and canaryd has none",
                    "with stepWeights in it, it is a canary",
                )
            )
        if problems:
            raise Refused(problems)

    def _target(self) -> None:
        ledger, draft = self.ledger, self.draft
        draft.target = {
            "virtualService": self.service,
            "host": self.service,
            "stable": {"host": self.primary},
            "canary": {"host": self.canary},
        }
        draft.remark(
            ("spec", "target"),
            f"Flagger's own objects: Deployment {self.deployment}-primary behind {self.primary}, {self.deployment} "
            f"behind {self.canary}. They stay, without Flagger: docs/import.md has the order",
        )
        found = self.given.find("VirtualService", self.service, ledger.namespace)
        written = {host.partition(".")[0]: host for host, _ in destinations_of(found)}
        for side, host in (("stable", self.primary), ("canary", self.canary)):
            draft.target[side] = {"host": written.get(host, host)}
        ledger.carried(("spec", "provider"), "spec.target, a VirtualService of Istio")
        ledger.carried(("spec", "targetRef"), "spec.target, as the hosts of the Services that Flagger made")
        if ledger.at("spec", "targetRef", "kind") == "DaemonSet":
            draft.note("the target is a DaemonSet: canaryd sees its pods, and cannot tell when they are rolled out")

    def _steps(self) -> None:
        ledger, draft = self.ledger, self.draft
        bake = self._bake()
        self._matched(bake)
        for weight in self._weights():
            draft.step(weight, bake)
        if not draft.weight:
            draft.usual_weights("Canary", bake)
        draft.rise_to_proof()
        for key in ("stepWeight", "stepWeights", "maxWeight", "interval"):
            ledger.carried((*self.where, key), "spec.steps")
        ledger.left(
            (*self.where, "iterations"),
            "a plan has weights, and how long each is measured",
            "give the steps the bake that you want",
            default=0,
        )
        ledger.left(
            (*self.where, "stepWeightPromotion"),
            "the way back to the primary is one write, once it runs the same",
            "nothing: what is shifted back is no new version",
        )
        draft.return_to(f"{self.deployment}-primary", self.deployment)
        draft.note(
            f"where Flagger copied the template to {self.deployment}-primary and shifted back, the run waits until "
            f"{self.deployment}-primary runs the same, and shifts back then (afterPromotion: return); you roll it out. "
            f"Until then {self.deployment} bears all the traffic"
        )

    def _matched(self, bake: timedelta) -> None:
        """Flagger's A/B test is a first step for matched requests."""
        ledger, where = self.ledger, (*self.where, "match")
        rounds = number(self._analysis("iterations")) or Decimal(0)
        ways, paths = [], []
        for place, way in enumerate(self._analysis("match", default=[])):
            if rounds <= 0:
                ledger.left((*where, place), "Flagger weighed only these requests, and a plan weighs all alike")
                continue
            found = _headers(way)
            if found is None:
                ledger.left((*where, place), "a plan matches by headers and cookies only", "put it into a header")
                continue
            ways.append({"headers": found})
            paths.append((*where, place))
        why = self.draft.matched(ways, bake * int(rounds)) if ways else ""
        for path in paths:
            if isinstance(why, str):
                ledger.left(path, why)
            else:
                ledger.carried(path, "spec.steps.0.match")
        if ways and not isinstance(why, str):
            ledger.carried((*self.where, "iterations"), "spec.steps.0.bake")
            self.draft.note(
                "Flagger promoted from the matched requests alone; here the weights follow, where promotion is proven"
            )

    def _bake(self) -> timedelta:
        interval = span(self._analysis("interval")) or INTERVAL
        bake = max(interval, CELL)
        if bake != interval:
            self.draft.note(f"interval {duration(interval)}: a step bakes a cell of canaryd at least, {duration(CELL)}")
        return bake

    def _weights(self) -> list[int | float]:
        """
        The weights on the way, without 0 and 100.

        With ``stepWeight`` Flagger adds it until ``maxWeight`` is reached *or passed*; here the last weight is
        ``maxWeight``, as it says.
        """
        draft = self.draft
        listed = [found for one in self._analysis("stepWeights", default=[]) if (found := number(one)) is not None]
        step, most = number(self._analysis("stepWeight")), number(self._analysis("maxWeight")) or Decimal(100)
        if step and step > 0:
            if listed:
                draft.note("stepWeight and stepWeights: Flagger goes by stepWeight, and so does the plan")
            weights = [step * count for count in range(1, int(most / step) + 1)]
            if not weights or weights[-1] < most:
                passed = step * (len(weights) + 1)
                if passed <= 100 and passed > most:
                    draft.note(
                        f"maxWeight {plain(most)} is the last weight here; Flagger would pass it and go to "
                        f"{plain(passed)}, for {plain(step)} does not divide it"
                    )
                weights.append(min(most, Decimal(100)))
        else:
            weights = listed
        rising: list[Decimal] = []
        for weight in weights:
            if 0 < weight < 100 and (not rising or weight > rising[-1]):
                rising.append(weight)
            elif 0 < weight < 100:
                draft.note(f"the weight {plain(weight)} after {plain(rising[-1])} is not in the plan: weights rise")
        if weights and weights[-1] >= 100:
            draft.note("100 is no step of a plan: it is the promotion, which is watched for spec.watch")
        return [figure(weight) for weight in rising]

    def _metrics(self) -> None:
        for place, metric in enumerate(self._analysis("metrics", default=[])):
            path = (*self.where, "metrics", place)
            if isinstance(metric, Mapping):
                self._metric(path, metric)
        rows = any("hardLimit" in check for check in self.draft.checks)
        self.ledger.left(
            (*self.where, "threshold"),
            "canaryd counts no failed checks, neither of several metrics together nor with good ones between: a canary "
            "fails on evidence of harm, at a bound that holds over the whole run (analysis.alpha)"
            + ("; queries of your own have a hardLimit, so many values in a row" if rows else ""),
            "none is needed; analysis.maxHarmed caps the requests that a run may harm, a hardLimit fails at once",
        )

    def _in_a_row(self, query: str, asked: timedelta) -> dict[str, Any]:
        """
        The ``hardLimit`` of a query that says as much of the ``threshold`` as a row can: so many failed checks of it.

        Of Flagger's own metrics nothing can be said so: here they are counted by cells, which are shorter.
        """
        threshold = number(self._analysis("threshold"))
        interval = span(self._analysis("interval")) or INTERVAL
        if threshold is None or threshold < 1:
            return {}
        count = in_a_row(int(threshold), interval, query, asked)
        return {"hardLimit": {"consecutive": count}} if count else {}

    def _metric(self, path: Path, metric: Mapping[str, Any]) -> None:
        name = str(metric.get("name") or f"metric-{path[-1]}")
        if metric.get("templateRef"):
            self._template(path, name, metric)
        elif metric.get("query"):
            self._custom(path, name, metric, str(metric["query"]), {})
        elif name in ("request-success-rate", "request-duration"):
            self._built_in(path, name, metric)
        else:
            self.ledger.left(path, "neither one of Flagger's own metrics nor one with a query", "write it as a check")

    def _limits(self, metric: Mapping[str, Any], deprecated: str) -> tuple[dict[str, Decimal], dict[str, Path]]:
        """``min`` and ``max`` with the path of each; ``deprecated`` says which of them ``threshold`` means."""
        limits: dict[str, Decimal] = {}
        paths: dict[str, Path] = {}
        span_ = metric.get("thresholdRange")
        for key in ("min", "max"):
            found = number(span_.get(key)) if isinstance(span_, Mapping) else None
            if found is not None:
                limits[key], paths[key] = found, ("thresholdRange", key)
        old = number(metric.get("threshold"))
        if not limits and old is not None:
            limits[deprecated], paths[deprecated] = old, ("threshold",)
        return limits, paths

    def _built_in(self, path: Path, name: str, metric: Mapping[str, Any]) -> None:
        ledger, draft, success = self.ledger, self.draft, name == "request-success-rate"
        limits, paths = self._limits(metric, "min" if success else "max")
        wanted = "min" if success else "max"
        for key in limits:
            if key != wanted:
                ledger.left((*path, *paths[key]), f"a {key} of {name} is nothing that canaryd asks")
        if wanted not in limits:
            ledger.left(path, f"no {wanted} is said", "an objective needs one")
            return
        where, limit = (*path, *paths[wanted]), limits[wanted]
        if success:
            why = draft.check(name, metric="error-rate", atMost=percent(100 - limit))
        else:
            why = draft.check(name, metric="latency", within=f"{plain(limit)}ms", atLeast="99%")
        if why:
            ledger.left(path, why)
            return
        place = f"spec.analysis.checks.{len(draft.checks) - 1}"
        ledger.carried(where, place)
        ledger.carried((*path, "name"), place)
        ledger.idle((*path, "interval"), "canaryd counts every request since the step began, cell by cell")
        if success:
            draft.note(
                "request-success-rate: Flagger counts 5xx where the pod reports them; canaryd counts what callers got, "
                "also requests that never reached a pod, and gRPC failures in an answer 200"
            )
        else:
            draft.note(
                f"request-duration: the 99th percentile at most {plain(limit)} ms is, in requests, 99 % within it; "
                "within has to be a bound of the mesh's histogram buckets, which canaryd preflight tells"
            )

    def _template(self, path: Path, name: str, metric: Mapping[str, Any]) -> None:
        reference = metric["templateRef"] if isinstance(metric["templateRef"], Mapping) else {}
        home = str(reference.get("namespace") or self.ledger.namespace)
        template = self.given.find("MetricTemplate", str(reference.get("name")), home)
        if template is None:
            self.ledger.left(
                path,
                "its MetricTemplate was not given",
                f"give it beside: kubectl get metrictemplate {reference.get('name')} -n {home or 'default'} -o yaml",
            )
            return
        read = Ledger(template)
        kind = read.at("spec", "provider", "type", default="prometheus")
        if kind != "prometheus":
            self.ledger.left(
                path, f"measured by {kind}, and canaryd asks only Prometheus", "bring it there, or watch it beside"
            )
            return
        self.draft.beside.append(read)
        _only_a_name(read)
        read.idle(("spec", "provider", "type"), "Prometheus is what canaryd asks")
        for key in ("address", "headers", "secretRef", "region", "insecureSkipVerify"):
            read.left(
                ("spec", "provider", key),
                "which Prometheus is asked, and how, is said in canaryd's settings and not in a plan",
                "docs/prometheus.md; a plan names it: analysis.prometheus",
            )
        if self._custom(path, name, metric, str(read.at("spec", "query", default="")), metric.get("templateVariables")):
            read.carried(("spec", "query"), "spec.analysis.checks")
            self.ledger.carried((*path, "templateRef"), "spec.analysis.checks")
            self.ledger.carried((*path, "templateVariables"), "spec.analysis.checks")
        else:
            read.left(("spec", "query"), "as the metric that names it")

    def _custom(self, path: Path, name: str, metric: Mapping[str, Any], query: str, variables: Any) -> bool:
        """Add the checks of a query, one for each limit; whether it could be done."""
        ledger, draft = self.ledger, self.draft
        known = {
            "namespace": "${namespace}",
            "target": "${workload}",
            "interval": "${window}",
            "name": ledger.name,
            "service": self.service,
            "ingress": str(ledger.at("spec", "ingressRef", "name", default="")),
            "route": str(ledger.at("spec", "routeRef", "name", default="")),
        }
        for key, value in variables.items() if isinstance(variables, Mapping) else ():
            known[f"variables.{key}"] = str(value)
        # Flagger's own name for stable is the target's with a tail, and must not become the canary's.
        text = _CLONE.sub(lambda found: f"{self.deployment}-{found[1]}", query)
        text, unknown = filled(text, known)
        limits, paths = self._limits(metric, "max")
        if unknown or not limits:
            why = f"the query asks for {', '.join(unknown)}" if unknown else "no limit is said"
            ledger.left(path, f"{why}, which canaryd does not know" if unknown else why, "write it as a check")
            return False
        asked = span(metric.get("interval")) or INTERVAL
        several = len(limits) > 1
        for key, limit in limits.items():
            bound = "atLeast" if key == "min" else "atMost"
            called = f"{name}-{key}" if several else name
            row = self._in_a_row(text, asked)
            kept = {bound: figure(limit), **window(text, asked), **row}
            why = draft.check(called, metric="promql", query=text, **kept)
            if why:
                ledger.left(path, why, "write it as a check with a query")
                return False
            ledger.carried((*path, *paths[key]), f"spec.analysis.checks.{len(draft.checks) - 1}.{bound}")
        for key in ("name", "query", "interval"):
            ledger.carried((*path, key), f"spec.analysis.checks.{len(draft.checks) - 1}")
        draft.note(
            f"{name}: a query without a value was a failed check in Flagger; here it is no measurement, and the step "
            "does not pass while there is none"
        )
        return True

    def _webhooks(self) -> None:
        for place, hook in enumerate(self._analysis("webhooks", default=[])):
            path = (*self.where, "webhooks", place)
            kind = str(hook.get("type") or "rollout") if isinstance(hook, Mapping) else "rollout"
            if kind in _ASKED and isinstance(hook, Mapping):
                self._gate(path, hook, kind)
            else:
                self.ledger.left(path, *_HOOKS.get(kind, _HOOKS["rollout"]))

    def _gate(self, path: Path, hook: Mapping[str, Any], kind: str) -> None:
        """
        Ask where Flagger asked. A gate of its load tester is a person's word, and so it is here.

        Flagger went on asking for ever, but for ``pre-rollout``, whose refusals it counted.
        """
        draft, where = self.draft, _ASKED[kind]
        name = label(str(hook.get("name") or kind))
        otherwise = "rollback" if kind == "pre-rollout" else "hold"
        by_hand = "/gate/" in str(hook.get("url")) and where != "end"
        asked: dict[str, Any] = {"limit": "4h", "otherwise": otherwise}
        gates = draft.more.setdefault("gates", {}) if where != "steps" else {}
        if where == "end":
            gates.setdefault("end", []).append(name)
        elif where == "steps":
            for step in draft.steps[:-1]:
                _ask(step.setdefault("gate", {}), name, asked, by_hand=by_hand)
        else:
            _ask(gates.setdefault(where, {}), name, asked, by_hand=by_hand)
        for key in ("name", "type"):
            self.ledger.carried((*path, key), f"spec.{'steps' if where == 'steps' else f'gates.{where}'}")
        for key in ("url", "timeout", "retries", "disableTLS", "metadata"):
            self.ledger.left(
                (*path, key),
                "a person opens the gate, and no URL is asked" if by_hand else "it is said in canaryd's settings",
                "canaryd approve RUN, also from a script" if by_hand else f"webhooks, {name}: docs/gates.md",
            )
        self.ledger.idle((*path, "muteAlert"), "messages tell of runs, and not of what webhooks answer")
        if not by_hand:
            draft.note(
                f"webhook {name}: its receiver gets a CloudEvent, not Flagger's body, and its answer means what "
                "docs/gates.md says"
            )

    def _alerts(self) -> None:
        for place, alert in enumerate(self._analysis("alerts", default=[])):
            reference = alert.get("providerRef") if isinstance(alert, Mapping) else None
            reference = reference if isinstance(reference, Mapping) else {}
            self.ledger.left(
                (*self.where, "alerts", place),
                "where a message goes is said in canaryd's settings",
                "a channel there, and spec.messages here: docs/messages.md",
            )
            home = str(reference.get("namespace") or self.ledger.namespace)
            provider = self.given.find("AlertProvider", str(reference.get("name")), home)
            if provider is not None and all(one.content is not provider for one in self.draft.beside):
                read = Ledger(provider)
                _only_a_name(read)
                read.left(("spec",), "it is said in canaryd's settings", "channels: docs/messages.md")
                self.draft.beside.append(read)

    def _rest(self) -> None:
        ledger = self.ledger
        for key, kept in _STAY:
            ledger.idle(("spec", "service", key), KEPT.format(kept))
        ledger.idle(("spec", "service", "appProtocol"), KEPT.format("Services"))
        for path in _OTHER_MESHES:
            ledger.idle(path, "for another mesh than Istio")
        ledger.left(
            ("spec", "metricsServer"),
            "which Prometheus is asked is said in canaryd's settings and not in a plan",
            "docs/prometheus.md; a plan names it: analysis.prometheus",
        )
        ledger.left(
            ("spec", "progressDeadlineSeconds"),
            "canaryd rolls out no pods: a run begins when they are there, and fails when none is ready",
            "the Deployment's own progressDeadlineSeconds",
        )
        ledger.left(
            ("spec", "autoscalerRef"),
            "canaryd scales nothing, and pauses no autoscaler",
            f"an autoscaler of its own for each of {self.deployment} and {self.deployment}-primary; see docs/import.md",
        )
        ledger.left(
            ("spec", "skipAnalysis"),
            "canaryd promotes nothing without proof, unless a person says so",
            "canaryd promote RUN --reason WHY, or acceptUnproven with a reason",
            default=False,
        )
        ledger.left(
            ("spec", "revertOnDeletion"),
            "canaryd changes nothing that had to be reverted; but deleting this Canary would revert Flagger's objects",
            "take it out before you delete the Canary: docs/import.md",
            default=False,
        )
        ledger.left(
            ("spec", "suspend"),
            "a plan that is applied begins a run",
            "apply it when it may begin",
            default=False,
        )
        for key in ("mirror", "mirrorWeight"):
            ledger.left(
                (*self.where, key),
                "canaryd has no step that mirrors",
                "the first weight is the first traffic: begin it low",
                default=False if key == "mirror" else ABSENT,
            )
        for key in ("primaryReadyThreshold", "canaryReadyThreshold"):
            ledger.left(
                (*self.where, key),
                "a run begins when the canary is rolled out whole, and goes on while both have ready pods",
            )
        ledger.left(
            (*self.where, "sessionAffinity"),
            "canaryd has no session affinity: at each weight a user may meet both versions",
            "stay with Flagger for what needs it",
        )


def _ask(gate: dict[str, Any], name: str, asked: Mapping[str, Any], *, by_hand: bool) -> None:
    """Add a condition to a gate."""
    if by_hand:
        gate["approve"] = dict(asked)
    elif all(one["name"] != name for one in gate.get("webhooks", ())):
        gate.setdefault("webhooks", []).append({"name": name, **asked, "onNo": "hold"})


def _headers(way: Any) -> dict[str, Any] | None:
    """The headers of a match as a plan has them; None where it asks for anything else, too."""
    if not isinstance(way, Mapping) or set(way) != {"headers"} or not isinstance(way["headers"], Mapping):
        return None
    found = {}
    for name, value in way["headers"].items():
        if not isinstance(value, Mapping) or len(value) != 1:
            return None
        [(kind, text)] = value.items()
        known = {"regex": f".*{re.escape(str(text))}"} if kind == "suffix" else {str(kind): str(text)}
        found[str(name).lower()] = known
    return found or None


def _only_a_name(ledger: Ledger) -> None:
    ledger.only_there()
    ledger.idle(("metadata",), "who it is; a plan has its checks in itself")
