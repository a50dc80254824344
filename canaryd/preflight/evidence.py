"""
What of the route bends the evidence: settings by which callers see something else than what the versions do.

None of them is wrong. Each of them changes what a difference between stable and canary means, and a person should know
it before the numbers are there. What admission says of the entry itself is not said again.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from itertools import product
from typing import Any

from canaryd.kube import DESTINATION_RULES, SERVICES
from canaryd.mesh.entries import HttpEntry, http_entries, managed_entries
from canaryd.mesh.hosts import fully_qualified, service_of
from canaryd.mesh.routing import namespace_of
from canaryd.model.duration import render_duration
from canaryd.model.finding import Code, Finding
from canaryd.preflight.fronts import Front, fronts
from canaryd.preflight.rules import BLOCKS, Block
from canaryd.preflight.saying import patching
from canaryd.preflight.subsets import called_ports, views
from canaryd.preflight.survey import ROOT_NAMESPACE, Survey, name_of, spec_of

TITLE = "What bends the evidence"

EJECTION = Code(
    "EjectionHidesHarm",
    "warning",
    "outlierDetection takes pods that fail out of the load balancing: the failures of a sick canary fall while "
    "its capacity is gone, so that it looks well at a small weight and is overloaded at a larger one. Where its last "
    "pod is taken out, requests fail with 503 (UH) that no metric ascribes to the canary.",
    "Take it out while the run lasts; where it must stay, compare the pods that are ready with those that get traffic.",
)
STICKY = Code(
    "StickyUsers",
    "warning",
    "consistentHash sends a user to the same pod again and again: requests are no independent samples, and a few heavy "
    "users may make or spoil a version. It does not keep a user at one version, for the version is drawn first, at "
    "random and anew for each request.",
    "Take it out while the run lasts if the service does without; or let steps bake longer.",
)
POOL = Code(
    "PoolLimits",
    "info",
    "connectionPool limits how much each client sends to a version at once; what is beyond it fails with 503 (UO) and "
    "is counted as the version's failure, although its pods never saw it.",
    "Nothing, unless UO appears in the report: then the limit is too low for the weight.",
)
LOCALITY = Code(
    "LocalityPreferred",
    "info",
    "Requests stay in the client's zone where a version has pods there: versions whose pods are spread differently "
    "differ in latency without differing in code.",
    "Spread the pods of both versions over the same zones.",
)
WARMUP = Code(
    "WarmsUp",
    "info",
    "New pods get less than their share for a while (warmup): the canary's first minutes are kinder than later ones.",
    "Let the first step bake longer than the warm-up.",
)
RETRIES_COVER = Code(
    "RetriesCoverFailures",
    "warning",
    "Failed requests are retried, 5xx answers too, and metrics of the callers count the last attempt only: of a "
    "version that fails every tenth request callers see, with two retries, one failure in a thousand, and its pods "
    "have more to do than its share.",
    "Retry only what never came to a pod while the run lasts (the command does that), or compare attempts, too.",
)
TIMEOUT_BELOW = Code(
    "TimeoutBelowObjective",
    "warning",
    "An objective's `within` is longer than the timeout of the entry: slower requests are cut off before and count as "
    "failures, so that this objective can never be missed.",
    "Set `within` below the timeout, and have a check for errors beside it.",
)
HEADERS_DIFFER = Code(
    "HeadersDiffer",
    "info",
    "The entry sets other headers for the one version than for the other: what differs may be what the headers do.",
    "Nothing, if that is meant.",
)
ROOT_FAULT = Code(
    "FaultFromRoot",
    "error",
    "The root that delegates to the plan's VirtualService injects faults, which its entries inherit: they would be "
    "counted as the versions' own.",
    "Take the fault out of the root while the run lasts.",
)
HOST_FORMS = Code(
    "HostFormsDiffer",
    "info",
    "One entry writes one host in two ways. Istio takes them for the same; Kiali and people may not.",
    "Write both in one way (the command does).",
)
HOST_INCOMPLETE = Code(
    "HostIncomplete",
    "warning",
    "A host is written with some of its dots. Istio completes only names without any, so that `reviews.default` is no "
    "Service to it (IST0101): requests that an entry sends there fail with 503, a VirtualService or DestinationRule "
    "for it is not in force, unless a ServiceEntry has just that host.",
    "Write it without dots or in full.",
)

CODES = (
    EJECTION,
    STICKY,
    POOL,
    LOCALITY,
    WARMUP,
    RETRIES_COVER,
    TIMEOUT_BELOW,
    HEADERS_DIFFER,
    ROOT_FAULT,
    HOST_FORMS,
    HOST_INCOMPLETE,
)
SAFE_RETRIES = "connect-failure,refused-stream"
"""Conditions under which no pod has taken the request."""
COVERING = frozenset({"5xx", "gateway-error", "internal"})
"""Conditions by which a version's own failures are tried again, beside statuses in numbers."""
DEFAULT_ATTEMPTS = 2
FEW = 3
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(h|ms|m|s|us|ns)")
_UNITS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9}


def check(survey: Survey) -> Iterator[Finding]:
    """What is said of the entries, of the root's settings that they inherit, and of the DestinationRules in force."""
    if survey.virtual_service is None or survey.route is None:
        return
    for setting in _effective(survey):
        yield from _of_entry(survey, setting)
    yield from _hosts(survey)
    yield from _incomplete(survey)
    if DESTINATION_RULES not in survey.unread:
        yield from _policies(survey)


# -- the entries, with what they inherit


@dataclass(frozen=True, slots=True)
class _Setting:
    """An entry of the plan's as it takes effect; ``origin`` says of a key whose object and path it is from."""

    entry: HttpEntry
    front: Front
    root: HttpEntry | None

    def get(self, key: str) -> Any:
        return self.entry.rest.get(key) or (self.root.rest.get(key) if self.root else None)

    def inherits(self, key: str) -> bool:
        """Whether the root's word counts. Source: Istio, pilot/pkg/model/virtualservice.go mergeHTTPRoute."""
        return self.root is not None and not self.entry.rest.get(key) and bool(self.root.rest.get(key))


def _effective(survey: Survey) -> Iterator[_Setting]:
    ours, route = survey.virtual_service, survey.route
    if ours is None or route is None:
        return
    entries = [entry for _, entry in managed_entries(ours, route) if entry is not None]
    before = fronts(survey)
    for entry in entries:
        for front in before or (Front(ours),):
            roots = [one for one in http_entries(front.found) if one.index in front.entries]
            for root in roots or (None,):
                yield _Setting(entry, front, root)


def _of_entry(survey: Survey, setting: _Setting) -> Iterator[Finding]:
    entry, root = setting.entry, setting.root
    where = f"{survey.route} {entry}"
    if root is not None and setting.inherits("fault"):
        path = f"{root.path}/fault"
        yield ROOT_FAULT.at(
            f"{setting.front} {root}",
            f"injects {' and '.join(sorted(setting.get('fault')))}, which {where} inherits",
            patching("virtualservice", setting.front.found, [{"op": "remove", "path": path}]),
        )
    yield from _retries(survey, setting, where)
    timeout = seconds(setting.get("timeout"))
    for index, one in enumerate(survey.plan.spec.analysis.checks):
        if timeout and one.within and one.within.total_seconds() > timeout:
            origin = f", inherited from {setting.front} {root}" if setting.inherits("timeout") else ""
            yield TIMEOUT_BELOW.at(
                f"spec.analysis.checks.{index}",
                f"{one.name} is within {render_duration(one.within)}, but {where} has a timeout of "
                f"{render_duration(timedelta(seconds=timeout))}{origin}: slower requests fail and cannot miss it",
            )
    yield from _headers(survey, entry, where)


def _retries(survey: Survey, setting: _Setting, where: str) -> Iterator[Finding]:
    """
    Retries of what a pod has answered: the entry's, its root's, or the mesh's where neither says anything.

    Source: Istio, pilot/pkg/networking/core/route/retry/retry.go (DefaultPolicy, ConvertPolicy, parseRetryOn).
    """
    retries, of_mesh = setting.get("retries"), survey.mesh.get("defaultHttpRetryPolicy") or {}
    policy: Mapping[str, Any] = retries or of_mesh
    covering = [one for one in _words(policy.get("retryOn")) if one in COVERING or (one.isdigit() and one >= "500")]
    attempts = policy.get("attempts")
    attempts = DEFAULT_ATTEMPTS if attempts is None and not retries else int(attempts or 0)
    if not covering or attempts <= 0:
        return
    whose = where
    if not retries:
        whose = f"ConfigMap {ROOT_NAMESPACE}/istio defaultHttpRetryPolicy"
    elif setting.inherits("retries"):
        whose = f"{setting.front} {setting.root}"
    seen = "next to nothing" if attempts > FEW else f"{100 * 0.1 ** (attempts + 1):.{attempts - 1}f} %"
    said = (
        f"retries {', '.join(covering)} up to {attempts} times: of a version that fails 10 % of its requests callers "
        f"see {seen}"
    )
    inherited = {**(setting.get("retries") or {}), "attempts": attempts, "retryOn": SAFE_RETRIES}
    operation = {"op": "add", "path": f"{setting.entry.path}/retries", "value": inherited}
    if setting.entry.rest.get("retries"):
        path = f"{setting.entry.path}/retries/retryOn"
        operation = {"op": "replace", "path": path, "value": SAFE_RETRIES}
    yield RETRIES_COVER.at(whose, said, patching("virtualservice", survey.virtual_service or {}, [operation]))


def _words(text: object) -> list[str]:
    return [one.strip() for one in str(text or "").split(",") if one.strip()]


def _headers(survey: Survey, entry: HttpEntry, where: str) -> Iterator[Finding]:
    written = spec_of(survey.virtual_service or {}).get("http") or ()
    route = (written[entry.index] or {}).get("route") or ()
    set_for = {
        version: json.dumps((route[found.index] or {}).get("headers") or {}, sort_keys=True)
        for version in survey.versions
        for found in entry.to(version, survey.namespace)
    }
    if len(set(set_for.values())) > 1:
        said = "; ".join(f"{version}: {headers}" for version, headers in set_for.items())
        yield HEADERS_DIFFER.at(where, f"sets other headers for {' than for '.join(map(str, set_for))} ({said})")


def _hosts(survey: Survey) -> Iterator[Finding]:
    """How the entries write the hosts of both versions."""
    ours, route = survey.virtual_service, survey.route
    if ours is None or route is None:
        return
    for _, entry in managed_entries(ours, route):
        if entry is None:
            continue
        found = [one for version in survey.versions for one in entry.to(version, survey.namespace)]
        partial = [one for one in found if _is_partial(survey, one.version.host)]
        forms = {one.version.host for one in found}
        where = f"{route} {entry}"
        if partial:
            names = ", ".join(dict.fromkeys(one.version.host for one in partial))
            said = f"sends to {names}, which Istio does not complete to {', '.join(survey.hosts)}"
            yield HOST_INCOMPLETE.at(where, said, _rewritten(survey, entry))
        elif len(survey.hosts) == 1 and len(forms) > 1:
            said = f"writes one host as {' and as '.join(sorted(forms, key=len))}"
            yield HOST_FORMS.at(where, said, _rewritten(survey, entry))


def _is_partial(survey: Survey, host: str) -> bool:
    """Whether some of a Service's dots are written; what is no Service is another name, and right as it is."""
    name, home = service_of(host, survey.namespace)
    return host.count(".") in (1, 2) and survey.one(SERVICES, home, name) is not None


def _incomplete(survey: Survey) -> Iterator[Finding]:
    """Hosts of the VirtualService and of DestinationRules that name a version's Service with some of its dots."""
    written = [
        (f"{front}", "virtualservice", front.found, f"/spec/hosts/{index}", str(host))
        for front in fronts(survey)
        for index, host in enumerate(spec_of(front.found).get("hosts") or ())
    ] + [
        (
            f"DestinationRule {name_of(rule)}",
            "destinationrule",
            rule,
            "/spec/host",
            str(spec_of(rule).get("host") or ""),
        )
        for rule in survey.all(DESTINATION_RULES)
    ]
    for where, kind, found, path, host in written:
        full = fully_qualified(host, namespace_of(found))
        if full in survey.hosts and _is_partial(survey, host):
            said = f"is for {host}, which Istio does not complete to {full}: it is not in force for that Service"
            yield HOST_INCOMPLETE.at(
                where, said, patching(kind, found, [{"op": "replace", "path": path, "value": full}])
            )


def _rewritten(survey: Survey, entry: HttpEntry) -> str:
    """The command after which the entry writes the hosts of both versions in full."""
    operations = [
        {"op": "replace", "path": f"{entry.path}/route/{one.index}/destination/host", "value": full}
        for version in survey.versions
        for one in entry.to(version, survey.namespace)
        if (full := fully_qualified(one.version.host, survey.namespace)) != one.version.host
    ]
    return patching("virtualservice", survey.virtual_service or {}, operations)


# -- the DestinationRules


def _policies(survey: Survey) -> Iterator[Finding]:
    """Once for each block that is in force somewhere, whoever and whichever version it is for."""
    said: set[tuple[str, str]] = set()
    for view, version, port in product(views(survey), survey.versions, called_ports(survey)):
        for kind in BLOCKS:
            block = view.seen[version].block(kind, version.subset, port)
            if block and (block.where, block.pointer) not in said:
                said.add((block.where, block.pointer))
                yield from _of_block(survey, kind, block)
    yield from _of_mesh(survey)


def _of_block(survey: Survey, kind: str, block: Block) -> Iterator[Finding]:
    content = block.content
    if kind == "outlierDetection" and _ejects(content):
        yield EJECTION.at(block.where, f"ejects pods that fail{_alone(survey)} ({block.pointer})", block.without())
    if kind == "connectionPool" and (limits := _limits(content)):
        yield POOL.at(block.where, f"limits each client to {', '.join(limits)}; what is beyond fails with 503 (UO)")
    if kind == "loadBalancer":
        if hashed := content.get("consistentHash"):
            by = next((key for key in hashed if key not in ("ringHash", "maglev", "minimumRingSize")), "a hash")
            said = f"keeps users at one pod by {by} ({block.pointer}): requests are no independent samples"
            yield STICKY.at(block.where, said, block.without("consistentHash"))
        locality = content.get("localityLbSetting") or {}
        if any(locality.get(key) for key in ("distribute", "failover", "failoverPriority")):
            yield LOCALITY.at(block.where, "prefers the client's own locality (localityLbSetting)")
        if warming := content.get("warmup") or content.get("warmupDurationSecs"):
            lasting = warming.get("duration") if isinstance(warming, Mapping) else warming
            yield WARMUP.at(block.where, f"new pods get less than their share for {lasting} (warmup)")


def _of_mesh(survey: Survey) -> Iterator[Finding]:
    locality = survey.mesh.get("localityLbSetting") or {}
    if locality.get("enabled") is not False and any(
        locality.get(key) for key in ("distribute", "failover", "failoverPriority")
    ):
        yield LOCALITY.at(f"ConfigMap {ROOT_NAMESPACE}/istio", "the mesh prefers the client's own locality")


def _ejects(detection: Mapping[str, Any]) -> bool:
    """Whether anything is counted: 5xx are, unless they are set to 0, and then only what else is asked for."""
    asked = ("consecutiveGatewayErrors", "consecutiveLocalOriginFailures", "consecutiveErrors")
    return detection.get("consecutive5xxErrors") != 0 or any(detection.get(key) for key in asked)


def _alone(survey: Survey) -> str:
    if survey.sides and survey.sides.canary.ready == 1:
        return ", and the canary has one only, without which it fails with 503 (UH)"
    return ""


def _limits(pool: Mapping[str, Any]) -> list[str]:
    found = {**(pool.get("tcp") or {}), **(pool.get("http") or {})}
    keys = ("maxConnections", "http1MaxPendingRequests", "http2MaxRequests", "maxRetries")
    return [f"{key} {found[key]}" for key in keys if found.get(key)]


def seconds(duration: object) -> float:
    """A duration of Istio's in seconds (``1.5s``, ``1h30m``); 0 where there is none."""
    return sum(float(number) * _UNITS[unit] for number, unit in _DURATION.findall(str(duration or "")))
