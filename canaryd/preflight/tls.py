"""
TLS: what callers send against what the pods accept.

A caller without a `tls` block sends mutual TLS to every pod that has a sidecar and plain text to the others (auto
mTLS), which always fits. What breaks is a DestinationRule that knows better. A PeerAuthentication for the workload
beats the namespace's, and that the mesh's; within a level the oldest holds; ports count in the workload's one only.

Sources: Istio, pilot/pkg/security/authn/policy_applier.go ComposePeerAuthentication, pilot/pkg/networking/core
cluster_tls.go, pkg/kube/inject/webhook.go (applyPrometheusMerge).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from canaryd.kube import DESTINATION_RULES
from canaryd.mesh.pods import has_sidecar
from canaryd.model.finding import Code, Finding
from canaryd.model.traffic import Version
from canaryd.preflight.behind import Behind, behind_versions, retemplate
from canaryd.preflight.destinations import Destined, destined, pod_port
from canaryd.preflight.kinds import PEER_AUTHENTICATIONS
from canaryd.preflight.rules import Block, root_of
from canaryd.preflight.saying import some
from canaryd.preflight.sidecars import is_ambient, namespace_labels
from canaryd.preflight.subsets import views
from canaryd.preflight.survey import Object, Survey, labels_of, marks_of, name_of, selects, spec_of

TITLE = "Mutual TLS"

STRICT, PERMISSIVE, DISABLE = "STRICT", "PERMISSIVE", "DISABLE"
AUTO, MUTUAL, ISTIO_MUTUAL, SIMPLE = "auto", "MUTUAL", "ISTIO_MUTUAL", "SIMPLE"
NO_SIDECAR = "no sidecar"
MERGE = "prometheus.istio.io/merge-metrics"
SCRAPE, SCRAPE_PORT = "prometheus.io/scrape", "prometheus.io/port"
ALWAYS_PLAIN = ("15020", "15090")
"""The sidecar's own ports, which are never captured: scraping them works whatever the mode."""

PLAIN_TOWARD_STRICT = Code(
    "PlainTowardStrict",
    "error",
    "A DestinationRule makes callers send plain text, or TLS without a certificate, to pods that accept mutual TLS "
    "only: 503 (UF, UC) for each request (Kiali: KIA0206, KIA0207, KIA0501, KIA0505).",
    "Take the `tls` block out of the rule: callers then send what each pod accepts.",
)
MUTUAL_TOWARD_PLAIN = Code(
    "MutualTowardPlain",
    "error",
    "A DestinationRule makes callers send mutual TLS to pods that do not speak it, for they have no sidecar or a "
    "PeerAuthentication disables it: 503 (UF, UC) for each request (Kiali: KIA0205, KIA0208, KIA0506).",
    "Take the `tls` block out of the rule: callers then send what each pod accepts.",
)
OWN_CERTIFICATES = Code(
    "OwnCertificates",
    "warning",
    "A DestinationRule makes callers show certificates of its own (`tls.mode: MUTUAL`) to pods that accept the mesh's "
    "only; unless both are of one authority, each request fails with 503.",
    "Use `ISTIO_MUTUAL`, or take the `tls` block out.",
)
METRICS_BEHIND_STRICT = Code(
    "MetricsBehindStrict",
    "info",
    "The application's own metrics are scraped at a port that accepts mutual TLS only, because they are not merged "
    "into the sidecar's (`enablePrometheusMerge` or the pods' annotation): Prometheus gets none of them. Istio's "
    "metrics are not concerned, for ports 15020 and 15090 are always open. A warning where a check of the plan asks "
    "PromQL.",
    "Merge the metrics, or leave the port out with a PeerAuthentication for it.",
)

CODES = (PLAIN_TOWARD_STRICT, MUTUAL_TOWARD_PLAIN, OWN_CERTIFICATES, METRICS_BEHIND_STRICT)


@dataclass(frozen=True, slots=True)
class Accepted:
    """What a pod accepts: a mode or NO_SIDECAR, and the PeerAuthentication that says so, if one does."""

    mode: str
    policy: str = ""

    def __str__(self) -> str:
        return f"{self.mode} by PeerAuthentication {self.policy}" if self.policy else self.mode


def check(survey: Survey) -> Iterator[Finding]:
    """Each side's pods against each caller's DestinationRule; then the application's own metrics."""
    if {PEER_AUTHENTICATIONS, DESTINATION_RULES} & survey.unread.keys():
        return
    versions = behind_versions(survey)
    yield from _callers(survey, versions)
    yield from _metrics(survey, versions)


def accepted(survey: Survey, pod: Object, port: int | None) -> Accepted:
    """What the pod accepts on ``port``, a port of the pod and not of a Service."""
    if not has_sidecar(pod):
        return Accepted(NO_SIDECAR)
    home, root = pod["metadata"].get("namespace") or "", root_of(survey)
    found = Accepted(PERMISSIVE)
    for level in dict.fromkeys((root, home)):
        found = _said(_oldest(one for one in survey.all(PEER_AUTHENTICATIONS, level) if not _selector(one))) or found
    mine = [one for one in survey.all(PEER_AUTHENTICATIONS, home) if _selector(one) and home != root]
    own = _oldest(one for one in mine if selects(_selector(one), labels_of(pod)))
    if own is None:
        return found
    found = _said(own) or found
    ports = spec_of(own).get("portLevelMtls") or {}
    return _said(own, ports.get(str(port), ports.get(port)) or {}) or found


def _said(policy: Object | None, mtls: Mapping[str, Any] | None = None) -> Accepted | None:
    """The mode that is said; None where it is inherited."""
    if policy is None:
        return None
    mode = ((spec_of(policy).get("mtls") or {}) if mtls is None else mtls).get("mode")
    return None if mode in (None, "", "UNSET") else Accepted(str(mode), name_of(policy))


def _selector(policy: Object) -> Mapping[str, str]:
    return (spec_of(policy).get("selector") or {}).get("matchLabels") or {}


def _oldest(policies: Iterable[Object]) -> Object | None:
    return min(policies, key=lambda one: (one["metadata"].get("creationTimestamp") or "", name_of(one)), default=None)


# Callers


@dataclass(frozen=True, slots=True)
class Door:
    """What pods of one side accept at a port of their Service."""

    side: Behind
    version: Version
    port: int
    met: Accepted


@dataclass(frozen=True, slots=True)
class Clash:
    """What callers send to pods that do not take it, where that is written, and the command that takes it away."""

    code: Code
    side: str
    met: Accepted
    mode: str
    where: str
    remedy: str


def _callers(survey: Survey, versions: tuple[Behind, ...]) -> Iterator[Finding]:
    doors = list(_doors(survey, versions))
    clashes: dict[Clash, list[str]] = {}
    for view in views(survey):
        for door in doors:
            block = view.seen[door.version].block("tls", door.version.subset, door.port)
            mode = _mode(survey, block)
            if code := _breaks(mode, door.met.mode):
                where, remedy = _written(block)
                clash = Clash(code, door.side.side, door.met, mode, where, remedy)
                clashes.setdefault(clash, []).append(view.caller)
    for clash, callers in clashes.items():
        who = some(dict.fromkeys(callers))
        fails = (
            "503 unless both are of one authority" if clash.code is OWN_CERTIFICATES else "each request fails with 503"
        )
        yield clash.code.at(
            clash.where,
            f"has {who} send {_SENT[clash.mode]} (tls mode {clash.mode}) to {clash.side}, whose pods have {clash.met}: "
            f"{fails}",
            clash.remedy,
        )


_SENT = {
    DISABLE: "plain text",
    SIMPLE: "TLS without a certificate",
    MUTUAL: "certificates of its own",
    ISTIO_MUTUAL: "mutual TLS",
}


def _doors(survey: Survey, versions: tuple[Behind, ...]) -> Iterator[Door]:
    """Each once; pods in ambient mode are left out, whose node takes and gives what is needed."""
    ways = list(destined(survey))
    seen: set[tuple[str, int, Accepted]] = set()
    for side in versions:
        labels = namespace_labels(survey, side.namespace)
        pods = [pod for pod in side.pods if not is_ambient(pod, labels)]
        for port in (port for way in ways if way.version == side.version for port in _meant(way)):
            for pod in pods:
                door = side.side, int(port.get("port") or 0), accepted(survey, pod, pod_port(port, pod))
                if side.version and door not in seen:
                    seen.add(door)
                    yield Door(side, side.version, *door[1:])


def _meant(way: Destined) -> Iterable[Mapping[str, Any]]:
    return [way.port] if way.port else way.ports


def _mode(survey: Survey, block: Block | None) -> str:
    if block is None:
        return DISABLE if survey.mesh.get("enableAutoMtls") is False else AUTO
    return str(block.content.get("mode") or DISABLE)


def _breaks(mode: str, met: str) -> Code | None:
    if met == STRICT and mode in (DISABLE, SIMPLE):
        return PLAIN_TOWARD_STRICT
    if met == STRICT and mode == MUTUAL:
        return OWN_CERTIFICATES
    if met in (NO_SIDECAR, DISABLE) and mode == ISTIO_MUTUAL:
        return MUTUAL_TOWARD_PLAIN
    return None


def _written(block: Block | None) -> tuple[str, str]:
    """Where it is said, and the command that takes it away."""
    if block is None:
        return "the mesh's configuration (enableAutoMtls: false)", ""
    remedy = block.without()
    return f"DestinationRule {name_of(block.rule)}", remedy


# The application's own metrics


def _metrics(survey: Survey, versions: tuple[Behind, ...]) -> Iterator[Finding]:
    asked = any(check.query for check in survey.plan.spec.analysis.checks)
    for side in versions:
        hidden = {port for pod in side.pods if (port := _hidden_port(survey, pod))}
        if not hidden:
            continue
        yield METRICS_BEHIND_STRICT.at(
            str(side),
            f"have their own metrics at port {some(sorted(hidden))}, which accepts mutual TLS only, and do not merge "
            "them into the sidecar's: Prometheus gets none of them",
            retemplate(side.namespace, side.workloads, {"annotations": {MERGE: "true"}}),
            level="warning" if asked else "info",
        )


def _hidden_port(survey: Survey, pod: Object) -> str:
    """The port of the application that Prometheus is told to scrape and cannot; empty where it can."""
    marks = marks_of(pod)
    port = marks.get(SCRAPE_PORT) or ""
    merged = marks.get(MERGE) == "true" if MERGE in marks else survey.mesh.get("enablePrometheusMerge") is not False
    left_out = (marks.get("traffic.sidecar.istio.io/excludeInboundPorts") or "").split(",")
    if marks.get(SCRAPE) != "true" or merged or not port.isdigit() or port in (*ALWAYS_PLAIN, *left_out):
        return ""
    return port if accepted(survey, pod, int(port)).mode == STRICT else ""
