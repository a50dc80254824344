"""
AnalysisTemplates as checks.

Argo Rollouts measures a metric some times and counts how often its condition held. A check is in force the whole time,
and a value decides by evidence; so what the condition asks of the value is carried, and of limits and counts only what
failures in a row can say.

Sources: Argo Rollouts, pkg/apis/rollouts/v1alpha1/analysis_types.go; docs/features/analysis.md; utils/evaluate.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

from canaryd.importing import conditions
from canaryd.importing.beside import Given
from canaryd.importing.conditions import Asked
from canaryd.importing.draft import Draft
from canaryd.importing.ledger import ABSENT, Ledger, Path
from canaryd.importing.queries import filled, in_a_row, window
from canaryd.importing.units import figure, number, plain, span

Keys = Mapping[str, Any]
"""Keys of a plan's check that come from where its template is asked, such as ``weights``."""
DEEPEST = 8
"""Templates that name templates."""
_COUNTS = {
    "inconclusiveLimit": (
        0,
        "nothing is counted: what is neither good nor bad holds the weight",
        "onInconclusive says for how long, and what then",
    ),
    "consecutiveErrorLimit": (
        4,
        "nothing is counted: a query without an answer is no measurement, and the weight stays",
        "onNoData says for how long, and what then",
    ),
    "consecutiveSuccessLimit": (
        0,
        "a step is measured to its end, and good values in a row prove nothing yet",
        "until: evidence at a step ends it as soon as there is proof",
    ),
}
"""What a metric without the key has, why it is not carried, and what is there instead."""
HASH = "${podTemplateHash}"
_WHOLE = re.compile(r"-?\d{1,9}")
_LABEL = re.compile(r"metadata\.(labels|annotations)\['([^']+)'\]")


class Templates:
    """Reads a Rollout's analyses into a draft's checks, each template once for each way in which it is asked."""

    def __init__(self, draft: Draft, given: Given) -> None:
        self.draft, self.given, self.ledger = draft, given, draft.ledger
        self._read: dict[tuple[str, tuple[tuple[str, str], ...]], timedelta] = {}

    def read(self, path: Path, keys: Keys | None = None) -> timedelta:
        """
        Add the checks of the analysis at ``path``, with ``keys``; how long its measurements take, where they end.
        """
        ledger = self.ledger
        arguments, unknown = self._arguments(path)
        dry = _dry(ledger, (*path, "dryRun"))
        longest = timedelta(0)
        for place, reference in enumerate(ledger.items(*path, "templates")):
            where = (*path, "templates", place)
            name = str(reference.get("templateName") or "") if isinstance(reference, Mapping) else ""
            wide = bool(reference.get("clusterScope")) if isinstance(reference, Mapping) else False
            template = self._find(name, wide=wide)
            if template is None:
                ledger.left(where, "its template was not given", self._how(name, wide=wide))
                continue
            took = self._template(template, arguments, unknown, keys or {}, dry)
            ledger.carried(where, "spec.analysis.checks")
            longest = max(longest, took)
        ledger.idle((*path, "measurementRetention"), "the journal keeps every cell")
        ledger.idle((*path, "analysisRunMetadata"), "there is no AnalysisRun")
        return longest

    def _find(self, name: str, *, wide: bool) -> Mapping[str, Any] | None:
        kind = "ClusterAnalysisTemplate" if wide else "AnalysisTemplate"
        return self.given.find(kind, name, "" if wide else self.ledger.namespace)

    def _how(self, name: str, *, wide: bool) -> str:
        kind = "clusteranalysistemplate" if wide else "analysistemplate"
        space = "" if wide else f" -n {self.ledger.namespace or 'default'}"
        return f"give it beside: kubectl get {kind} {name}{space} -o yaml"

    def _arguments(self, path: Path) -> tuple[dict[str, str], dict[str, str]]:
        """What is known of the arguments, and why the others are not."""
        known: dict[str, str] = {}
        unknown: dict[str, str] = {}
        for place, argument in enumerate(self.ledger.items(*path, "args")):
            if not isinstance(argument, Mapping):
                continue
            name, where = str(argument.get("name")), (*path, "args", place)
            source = argument.get("valueFrom")
            if argument.get("value") is not None:
                known[name] = str(argument["value"])
                self.ledger.carried(where, "spec.analysis.checks, in the queries")
            elif isinstance(source, Mapping) and source.get("podTemplateHashValue") == "Latest":
                known[name] = HASH
                self.ledger.carried(where, "spec.analysis.checks, in the queries")
            elif isinstance(source, Mapping) and isinstance(source.get("fieldRef"), Mapping):
                field = str(source["fieldRef"].get("fieldPath"))
                found = self._field(field)
                if found:
                    known[name] = found
                    self.ledger.carried(where, "spec.analysis.checks, in the queries")
                else:
                    unknown[name] = f"the Rollout's {field}, which is not there"
                    self.ledger.left(where, unknown[name])
            else:
                kind = next(iter(source), "nothing") if isinstance(source, Mapping) else "nothing"
                unknown[name] = (
                    "stable's pod template hash: a query of a plan that is held to a bound is asked about the canary"
                    if kind == "podTemplateHashValue"
                    else f"a value from {kind}"
                )
                self.ledger.left(where, unknown[name], "write the query with ${workload}")
        return known, unknown

    def _field(self, path: str) -> str:
        if found := _LABEL.fullmatch(path):
            return str(self.ledger.mapping("metadata", found[1]).get(found[2]) or "")
        value = self.ledger.at(*path.split("."))
        return str(value) if isinstance(value, str | int) and not isinstance(value, bool) else ""

    def _template(
        self,
        content: Mapping[str, Any],
        given: Mapping[str, str],
        unknown: Mapping[str, str],
        keys: Keys,
        dry: Sequence[re.Pattern[str]],
        depth: int = 0,
    ) -> timedelta:
        read = Ledger(content)
        key = (read.source, (*sorted(given.items()), ("", f"{keys} {dry}")))
        if key in self._read:
            return self._read[key]
        self._read[key] = timedelta(0)
        self.draft.beside.append(read)
        arguments, missing = dict(given), dict(unknown)
        for place, argument in enumerate(read.items("spec", "args")):
            where: Path = ("spec", "args", place)
            name = str(argument.get("name")) if isinstance(argument, Mapping) else ""
            if name in arguments:
                read.idle(where, "the Rollout says its value")
            elif isinstance(argument, Mapping) and argument.get("value") is not None:
                arguments[name] = str(argument["value"])
                read.carried(where, "spec.analysis.checks, in the queries")
            elif isinstance(argument, Mapping) and argument.get("valueFrom"):
                missing.setdefault(name, "a value from a Secret")
                read.left(where, "a plan holds no secrets", "docs/prometheus.md says how Prometheus is asked")
            else:
                missing.setdefault(name, "an argument of which nobody says the value")
                read.idle(where, "the Rollout says its value")
        dry = [*dry, *_dry(read, ("spec", "dryRun"))]
        longest = timedelta(0)
        for place, metric in enumerate(read.items("spec", "metrics")):
            if isinstance(metric, Mapping):
                metrics = _Metric(self.draft, read, ("spec", "metrics", place), arguments, missing)
                longest = max(longest, metrics.read(keys, dry))
        for place, reference in enumerate(read.items("spec", "templates")):
            where = ("spec", "templates", place)
            name = str(reference.get("templateName") or "") if isinstance(reference, Mapping) else ""
            wide = bool(reference.get("clusterScope")) if isinstance(reference, Mapping) else False
            template = self._find(name, wide=wide) if depth < DEEPEST else None
            if template is None:
                read.left(where, "its template was not given", self._how(name, wide=wide))
            else:
                longest = max(longest, self._template(template, arguments, missing, keys, dry, depth + 1))
                read.carried(where, "spec.analysis.checks")
        read.idle(("spec", "measurementRetention"), "the journal keeps every cell")
        read.only_there()
        read.idle(("metadata",), "who the template is; a plan has its checks in itself")
        self._read[key] = longest
        return longest


def _dry(ledger: Ledger, path: Path) -> list[re.Pattern[str]]:
    """The names of metrics that only report, as Argo Rollouts matches them."""
    found = []
    for place, one in enumerate(ledger.items(*path)):
        try:
            found.append(re.compile(str(one.get("metricName")) if isinstance(one, Mapping) else "("))
        except re.error:
            ledger.left((*path, place), "not a regular expression", "reportOnly: true at the checks that are meant")
        else:
            ledger.carried((*path, place), "spec.analysis.checks, as reportOnly")
    return found


class _Metric:
    def __init__(
        self, draft: Draft, read: Ledger, path: Path, arguments: Mapping[str, str], missing: Mapping[str, str]
    ) -> None:
        self.draft, self.ledger, self.path = draft, read, path
        self.arguments = {f"args.{name}": value for name, value in arguments.items()}
        self.missing = {f"args.{name}": why for name, why in missing.items()}
        self.name = str(read.at(*path, "name", default=f"metric-{path[-1]}"))

    def read(self, keys: Keys, dry: Sequence[re.Pattern[str]]) -> timedelta:
        ledger, path = self.ledger, self.path
        more = {**keys, **({"reportOnly": True} if any(one.search(self.name) for one in dry) else {})}
        if why := self._measured_elsewhere():
            ledger.left(path, *why)
            return timedelta(0)
        text, holes = filled(str(ledger.at(*path, "provider", "prometheus", "query", default="")), self.arguments)
        if holes:
            known = "; ".join(f"{hole} is {self.missing.get(hole, 'nothing that anybody says')}" for hole in holes)
            ledger.left(
                path, f"its query asks for what a plan does not know: {known}", "write it as a check with a query"
            )
            return timedelta(0)
        text = text.replace(f"{self.draft.ledger.name}-{HASH}", f"${{workload}}-{HASH}")
        if HASH in text and "rollouts" in text:
            ledger.left(path, "its query asks for a label of Argo Rollouts' own", "a label that your pods have, too")
            return timedelta(0)
        asked = self._asked()
        if asked is None:
            return timedelta(0)
        if asked.empty_is_good and all(bound.kind == "atMost" and bound.number >= 0 for bound in asked.bounds):
            more["onEmpty"] = "zero"
        elif asked.without_data:
            self.draft.note(
                f"{self.name}: {asked.without_data} is not in the plan: what has no value is no measurement here, "
                "neither good nor bad, and the step does not pass while there is none"
            )
        more |= self._in_a_row(text, reports="reportOnly" in more)
        several = len(asked.bounds) > 1
        for bound in asked.bounds:
            called = f"{self.name}-{'min' if bound.kind == 'atLeast' else 'max'}" if several else self.name
            limit: dict[str, Any] = {bound.kind: figure(bound.number)}
            why_not = self.draft.check(called, metric="promql", query=text, **limit, **window(text), **more)
            if why_not:
                ledger.left(path, why_not, "write it as a check with a query")
                return timedelta(0)
            if bound.strict:
                self.draft.note(
                    f"{self.name}: exactly {plain(bound.number)} is within the objective here, and was not there"
                )
        for key in ("name", "provider", "interval", "count"):
            self._said(key)
        if "${workload}" not in text and HASH not in text:
            self.draft.note(
                f"{self.name}: its query is asked as it is. What it counts has to be the canary's: with ${{workload}} "
                "in place of a name it is the canary's Deployment, whatever that is called"
            )
        return self._lasted()

    def _in_a_row(self, query: str, *, reports: bool) -> dict[str, Any]:
        """
        The ``hardLimit`` that says as much of the ``failureLimit`` as a row can; what it does not say is told.

        Argo Rollouts counts failed measurements wherever they lie; a metric fails with one more than the limit.
        """
        ledger, where = self.ledger, (*self.path, "failureLimit")
        said = ledger.at(*where)
        text = filled(str(said), self.arguments)[0]
        if said is None:
            self.draft.note(
                "a metric without a failureLimit ended the rollout with its first bad value; here evidence decides, "
                "and hardLimit: {consecutive: 1} beside a check would end the run as Argo Rollouts did"
            )
            return {}
        if not _WHOLE.fullmatch(text):
            ledger.left(where, f"{text} is no number that is known", "hardLimit: {consecutive: ...} at the check")
            return {}
        if int(text) < 0:
            ledger.left(where, "a check that is not met fails the run", "reportOnly: true at one that decides nothing")
            return {}
        failed = int(text) + 1
        count = in_a_row(failed, span(ledger.at(*self.path, "interval")) or timedelta(0), query)
        if reports or count is None:
            why = "the check only reports" if reports else f"{failed} failures are more than a hardLimit can say"
            ledger.left(where, f"{why}, and failures are not counted", "a check is judged by evidence")
            return {}
        if count == 1:
            ledger.carried(where, "spec.analysis.checks, as hardLimit")
        else:
            ledger.left(
                where,
                f"the plan has hardLimit: {{consecutive: {count}}}, values in a row; {failed} failed measurements with "
                "good ones between them do not end a run by themselves",
                "evidence that the objective does not hold does",
            )
        return {"hardLimit": {"consecutive": count}}

    def _measured_elsewhere(self) -> tuple[str, str] | None:
        provider = self.ledger.mapping(*self.path, "provider")
        if "prometheus" in provider:
            if self.ledger.at(*self.path, "provider", "prometheus", "rangeQuery") is not None:
                return "a query over a range has many values, and a check has one", "write it as a check with a query"
            return None
        kind = next(iter(provider), "nothing")
        return f"measured by {kind}, and canaryd asks only Prometheus", "bring it there, or watch it beside"

    def _asked(self) -> Asked | None:
        """What the conditions ask of the value; what of them is not carried is said here."""
        ledger, path = self.ledger, self.path
        said = {key: str(ledger.at(*path, key, default="")) for key in ("successCondition", "failureCondition")}
        texts = {key: filled(text, self.arguments)[0] for key, text in said.items()}
        wanted = conditions.success(texts["successCondition"]) if texts["successCondition"] else None
        barred = conditions.failure(texts["failureCondition"]) if texts["failureCondition"] else None
        if not any(texts.values()):
            ledger.left(path, "without a condition every value was good, and a check needs an objective")
            return None
        key, asked = ("successCondition", wanted) if wanted else ("failureCondition", barred)
        if asked is None:
            ledger.left(
                path,
                f"more than at least or at most a number is asked: {texts['successCondition'] or texts[key]}",
                "write it as a check: atLeast or atMost, and what has to be computed into the query",
            )
            return None
        ledger.carried((*path, key), "spec.analysis.checks")
        other = "failureCondition" if key == "successCondition" else "successCondition"
        if texts[other]:
            ledger.left(
                (*path, other),
                "an objective has one bound; between the two Argo Rollouts paused for a person",
                f"the check's bound is that of the {key}; write the other if it is the one that matters",
            )
        return asked

    def _said(self, key: str) -> None:
        ledger, path = self.ledger, self.path
        prometheus: Path = (*path, "provider", "prometheus")
        if key == "provider":
            ledger.carried((*prometheus, "query"), "spec.analysis.checks")
            for part in ("address", "authentication", "insecure", "headers", "timeout"):
                ledger.left(
                    (*prometheus, part),
                    "which Prometheus is asked, and how, is said in canaryd's settings and not in a plan",
                    "docs/prometheus.md; a plan names it: analysis.prometheus",
                )
            return
        if key in ("interval", "count"):
            ledger.idle((*path, key), "a check is asked at each cell, as long as the step is measured")
        else:
            ledger.carried((*path, key), "spec.analysis.checks")
        ledger.left(
            (*path, "initialDelay"), "a value counts from when the share of traffic is proven", "", default=ABSENT
        )
        for limit, (usual, why, instead) in _COUNTS.items():
            ledger.left((*path, limit), why, instead, default=usual)

    def _lasted(self) -> timedelta:
        """How long an analysis among the steps takes: its measurements, one interval apart."""
        interval = span(self.ledger.at(*self.path, "interval"))
        count = number(self.ledger.at(*self.path, "count"))
        delay = span(self.ledger.at(*self.path, "initialDelay")) or timedelta(0)
        return delay + interval * int(count) if interval and count else delay
