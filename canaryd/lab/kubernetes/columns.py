"""
What `kubectl get` shows of Kubernetes' own kinds, and with ``-o wide`` (columns of priority 1).

Source: kubernetes, pkg/printers/internalversion/printers.go; the texts of empty cells are its texts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from canaryd.lab.kubernetes.resources import Column, Resource
from canaryd.lab.kubernetes.selectors import value_at
from canaryd.lab.kubernetes.status import Object

__all__ = ["Column", "age", "cells", "of"]

_MOST_LISTED = 3


@dataclass(frozen=True, slots=True)
class Shown:
    """A column and what it shows of an object."""

    column: Column
    value: Callable[[Object], Any]


def of(resource: Resource) -> list[Column]:
    return [one.column for one in _SHOWN.get(resource.qualified, _PLAIN)]


def cells(resource: Resource, obj: Object) -> list[Any]:
    return [one.value(obj) for one in _SHOWN.get(resource.qualified, _PLAIN)]


def age(timestamp: Any) -> str:
    """How long ago, as people read it. Source: apimachinery, pkg/util/duration/duration.go."""
    if not timestamp:
        return "<unknown>"
    try:
        since = datetime.fromisoformat(str(timestamp))
    except ValueError:
        return "<invalid>"
    return duration((datetime.now(UTC) - since).total_seconds())


def duration(seconds: float) -> str:
    """Two minutes in seconds, three hours in minutes, and so on, with a smaller unit where it still tells something."""
    total = int(seconds)
    if total < -1:
        return "<invalid>"
    minutes, hours, days = total // 60, total // 3600, total // 86400
    years = days // 365
    steps = (
        (total < 120, max(total, 0), "s", 0, ""),
        (minutes < 10, minutes, "m", total % 60, "s"),
        (hours < 3, minutes, "m", 0, ""),
        (hours < 8, hours, "h", minutes % 60, "m"),
        (hours < 48, hours, "h", 0, ""),
        (hours < 192, days, "d", hours % 24, "h"),
        (years < 2, days, "d", 0, ""),
        (years < 8, years, "y", days % 365, "d"),
        (True, years, "y", 0, ""),
    )
    whole, unit, rest, smaller = next(step[1:] for step in steps if step[0])
    return f"{whole}{unit}" + (f"{rest}{smaller}" if rest else "")


def _at(path: str, otherwise: Any = None) -> Callable[[Object], Any]:
    def value(obj: Object) -> Any:
        found = value_at(obj, path)
        return otherwise if found in (None, "") else found

    return value


def _shown(name: str, value: Callable[[Object], Any], kind: str = "string", wide: int = 0) -> Shown:
    return Shown(Column(name, type=kind, priority=wide), value)


def _count(name: str, path: str) -> Shown:
    return _shown(name, _at(path, 0), "integer")


_NAME = Shown(Column("Name", format="name"), _at("metadata.name"))
_AGE = _shown("Age", lambda obj: age(value_at(obj, "metadata.creationTimestamp")))
_CREATED = _shown("Created At", _at("metadata.creationTimestamp"), "date")
_PLAIN = (_NAME, _CREATED)


def _selector_text(selector: Any) -> str:
    """A label selector in one line. Source: apimachinery, metav1.FormatLabelSelector."""
    if not isinstance(selector, dict):
        return "<none>"
    parts = [f"{key}={value}" for key, value in sorted((selector.get("matchLabels") or {}).items())]
    for one in selector.get("matchExpressions") or []:
        key, values = one.get("key"), ",".join(sorted(one.get("values") or []))
        words = {"In": f"{key} in ({values})", "NotIn": f"{key} notin ({values})", "Exists": f"{key}"}
        parts.append(words.get(one.get("operator"), f"!{key}"))
    return ",".join(sorted(parts)) or "<none>"


def _labels_text(labels: Any) -> str:
    return ",".join(f"{key}={value}" for key, value in sorted((labels or {}).items())) or "<none>"


def _with_more(listed: list[str]) -> str:
    shown = ",".join(listed[:_MOST_LISTED])
    rest = len(listed) - _MOST_LISTED
    return f"{shown} + {rest} more..." if rest > 0 else shown


def _containers(path: str) -> tuple[Shown, Shown]:
    def joined(key: str) -> Callable[[Object], str]:
        return lambda obj: ",".join(str(one.get(key, "")) for one in value_at(obj, path) or [])

    return _shown("Containers", joined("name"), wide=1), _shown("Images", joined("image"), wide=1)


_TEMPLATE = _containers("spec.template.spec.containers")
_SELECTOR = _shown("Selector", lambda obj: _selector_text(value_at(obj, "spec.selector")), wide=1)


def _ready(obj: Object) -> str:
    wanted = value_at(obj, "spec.replicas")
    return f"{value_at(obj, 'status.readyReplicas') or 0}/{1 if wanted is None else wanted}"


# -- pods


def _states(obj: Object, of_init: bool) -> list[Object]:
    return value_at(obj, "status.initContainerStatuses" if of_init else "status.containerStatuses") or []


def _sidecars(obj: Object) -> set[str]:
    """Init containers that go on running."""
    listed = value_at(obj, "spec.initContainers") or []
    return {one["name"] for one in listed if one.get("restartPolicy") == "Always"}


def _pod_ready(obj: Object) -> str:
    sidecars = _sidecars(obj)
    total = len(value_at(obj, "spec.containers") or []) + len(sidecars)
    init = sum(1 for one in _states(obj, True) if one.get("name") in sidecars and one.get("ready"))
    initialized = not _initializing(obj)
    ready = sum(1 for one in _states(obj, False) if one.get("ready") and "running" in (one.get("state") or {}))
    return f"{init + (ready if initialized else 0)}/{total}"


def _initializing(obj: Object) -> str:
    """Why the pod is still initializing, empty when it is not."""
    sidecars = _sidecars(obj)
    for number, one in enumerate(_states(obj, True)):
        state = one.get("state") or {}
        ended, waiting = state.get("terminated"), state.get("waiting") or {}
        if (ended and not ended.get("exitCode")) or (one.get("name") in sidecars and one.get("started")):
            continue
        if ended:
            return f"Init:{_ended(ended)}"
        if waiting.get("reason") not in (None, "", "PodInitializing"):
            return f"Init:{waiting['reason']}"
        return f"Init:{number}/{len(value_at(obj, 'spec.initContainers') or [])}"
    return ""


def _ended(state: Object) -> str:
    if state.get("reason"):
        return str(state["reason"])
    return f"Signal:{state['signal']}" if state.get("signal") else f"ExitCode:{state.get('exitCode', 0)}"


def _pod_status(obj: Object) -> str:
    phase = str(value_at(obj, "status.phase") or "")
    reason = str(value_at(obj, "status.reason") or phase)
    reason = _initializing(obj) or _containers_reason(obj, reason)
    if value_at(obj, "metadata.deletionTimestamp") and phase not in ("Succeeded", "Failed"):
        return "Terminating"
    return reason


def _containers_reason(obj: Object, reason: str) -> str:
    running, failed = False, ""
    for one in reversed(_states(obj, False)):
        state = one.get("state") or {}
        if (state.get("waiting") or {}).get("reason"):
            reason = state["waiting"]["reason"]
        elif ended := state.get("terminated"):
            reason = _ended(ended)
            failed = reason if ended.get("exitCode") else failed
        elif one.get("ready") and "running" in state:
            running = True
    if reason != "Completed":
        return reason
    conditions = value_at(obj, "status.conditions") or []
    if running and any(one.get("type") == "Ready" and one.get("status") == "True" for one in conditions):
        return "Running"
    return failed or ("NotReady" if running else reason)


def _pod_restarts(obj: Object) -> str:
    sidecars = _sidecars(obj)
    counted = [one for one in _states(obj, True) if _initializing(obj) or one.get("name") in sidecars]
    counted += [] if _initializing(obj) else _states(obj, False)
    total = sum(int(one.get("restartCount") or 0) for one in counted)
    last = max((str(value_at(one, "lastState.terminated.finishedAt") or "") for one in counted), default="")
    return f"{total} ({age(last)} ago)" if total and last else str(total)


def _readiness_gates(obj: Object) -> str:
    gates = value_at(obj, "spec.readinessGates") or []
    states = {one.get("type"): one.get("status") for one in value_at(obj, "status.conditions") or []}
    passed = sum(1 for one in gates if states.get(one.get("conditionType")) == "True")
    return f"{passed}/{len(gates)}" if gates else "<none>"


# -- services and endpoints


def _cluster_ip(obj: Object) -> str:
    return str(value_at(obj, "spec.clusterIP") or "<none>")


def _external_ip(obj: Object) -> str:
    kind, listed = value_at(obj, "spec.type") or "ClusterIP", value_at(obj, "spec.externalIPs") or []
    if kind == "ExternalName":
        return str(value_at(obj, "spec.externalName"))
    if kind == "LoadBalancer":
        given = value_at(obj, "status.loadBalancer.ingress") or []
        listed = [*sorted(one.get("ip") or one.get("hostname", "") for one in given), *listed]
        return ",".join(listed) or "<pending>"
    return ",".join(listed) or "<none>"


def _ports(obj: Object) -> str:
    def text(one: Object) -> str:
        number = f"{one.get('port')}:{one['nodePort']}" if one.get("nodePort") else f"{one.get('port')}"
        return f"{number}/{one.get('protocol', 'TCP')}"

    return ",".join(text(one) for one in value_at(obj, "spec.ports") or []) or "<none>"


def _endpoints(obj: Object) -> str:
    listed: list[str] = []
    for subset in obj.get("subsets") or []:
        addresses = [one["ip"] for one in subset.get("addresses") or []]
        ports = subset.get("ports") or []
        listed += [f"{ip}:{port['port']}" for port in ports for ip in addresses] if ports else addresses
    return _with_more(listed) if obj.get("subsets") else "<none>"


def _slice_ports(obj: Object) -> str:
    listed = [str(one.get("port") or one.get("name") or "*") for one in obj.get("ports") or []]
    return _with_more(listed) or "<unset>"


def _slice_endpoints(obj: Object) -> str:
    return _with_more([ip for one in obj.get("endpoints") or [] for ip in one.get("addresses") or []]) or "<unset>"


# -- events


def _first_seen(obj: Object) -> str:
    first = obj.get("firstTimestamp") or obj.get("deprecatedFirstTimestamp")
    return age(first or obj.get("eventTime"))


def _last_seen(obj: Object) -> str:
    if series := obj.get("series"):
        return age(series.get("lastObservedTime"))
    last = obj.get("lastTimestamp") or obj.get("deprecatedLastTimestamp")
    return age(last) if last else _first_seen(obj)


def _about(obj: Object) -> Object:
    return obj.get("involvedObject") or obj.get("regarding") or {}


def _event_object(obj: Object) -> str:
    about = _about(obj)
    kind = str(about.get("kind", "")).lower()
    return f"{kind}/{about['name']}" if about.get("name") else kind


def _event_source(obj: Object) -> str:
    source = obj.get("source") or obj.get("deprecatedSource") or {}
    component = source.get("component") or obj.get("reportingComponent") or obj.get("reportingController") or ""
    instance = source.get("host") or obj.get("reportingInstance") or ""
    return f"{component}, {instance}" if instance else str(component)


def _event_count(obj: Object) -> int:
    series = obj.get("series") or {}
    return int(series.get("count") or obj.get("count") or obj.get("deprecatedCount") or 1)


_EVENTS = (
    _shown("Last Seen", _last_seen),
    _shown("Type", _at("type", "")),
    _shown("Reason", _at("reason", "")),
    _shown("Object", _event_object),
    _shown("Subobject", lambda obj: _about(obj).get("fieldPath", ""), wide=1),
    _shown("Source", _event_source, wide=1),
    _shown("Message", lambda obj: str(obj.get("message") or obj.get("note") or "").strip()),
    _shown("First Seen", _first_seen, wide=1),
    _shown("Count", _event_count, wide=1),
    Shown(Column("Name", format="name", priority=1), _at("metadata.name")),
)


# -- the rest


def _sizes(*fields: str) -> Callable[[Object], int]:
    return lambda obj: sum(len(obj.get(name) or {}) for name in fields)


def _hpa_targets(obj: Object) -> str:
    listed = []
    current = value_at(obj, "status.currentMetrics") or []
    for number, one in enumerate(value_at(obj, "spec.metrics") or []):
        resource = one.get("resource") or {}
        if not resource:
            listed.append("<unknown>")
            continue
        seen = current[number].get("resource", {}).get("current", {}) if number < len(current) else {}
        target = resource.get("target") or {}
        if target.get("averageValue") is not None:
            listed.append(f"{resource['name']}: {seen.get('averageValue', '<unknown>')}/{target['averageValue']}")
            continue
        use, wanted = seen.get("averageUtilization"), target.get("averageUtilization")
        now, goal = ("<unknown>" if use is None else f"{use}%"), ("<auto>" if wanted is None else f"{wanted}%")
        listed.append(f"{resource['name']}: {now}/{goal}")
    if not listed:
        return "<none>"
    rest = len(listed) - 2
    return ", ".join(listed[:2]) + (f" + {rest} more..." if rest > 0 else "")


def _hosts(obj: Object) -> str:
    listed = [one["host"] for one in value_at(obj, "spec.rules") or [] if one.get("host")]
    return _with_more(listed) or "*"


def _addresses(obj: Object) -> str:
    given = value_at(obj, "status.loadBalancer.ingress") or []
    return ",".join(sorted(one.get("ip") or one.get("hostname", "") for one in given))


def _job_status(obj: Object) -> str:
    true = {one.get("type") for one in value_at(obj, "status.conditions") or [] if one.get("status") == "True"}
    words = (("Complete", "Complete"), ("Failed", "Failed"), ("", "Terminating"), ("Suspended", "Suspended"))
    for condition, word in words:
        if condition in true or (not condition and value_at(obj, "metadata.deletionTimestamp")):
            return word
    return "Running"


def _job_completions(obj: Object) -> str:
    done, wanted = value_at(obj, "status.succeeded") or 0, value_at(obj, "spec.completions")
    if wanted is not None:
        return f"{done}/{wanted}"
    parallel = value_at(obj, "spec.parallelism") or 0
    return f"{done}/1 of {parallel}" if parallel > 1 else f"{done}/1"


def _job_duration(obj: Object) -> str:
    began, ended = value_at(obj, "status.startTime"), value_at(obj, "status.completionTime")
    if not began:
        return ""
    if not ended:
        return age(began)
    return duration((datetime.fromisoformat(ended) - datetime.fromisoformat(began)).total_seconds())


def _subjects(kind: str) -> Callable[[Object], str]:
    def value(obj: Object) -> str:
        names: Iterable[Object] = (one for one in obj.get("subjects") or [] if one.get("kind") == kind)
        if kind == "ServiceAccount":
            return ", ".join(f"{one.get('namespace', '')}/{one['name']}" for one in names)
        return ", ".join(one["name"] for one in names)

    return value


def _param_kind(obj: Object) -> str:
    kind = value_at(obj, "spec.paramKind")
    return f"{kind.get('apiVersion')}/{kind.get('kind')}" if kind else "<unset>"


def _param_ref(obj: Object) -> str:
    reference = value_at(obj, "spec.paramRef") or {}
    if reference.get("name"):
        return f"{reference.get('namespace') or '*'}/{reference['name']}"
    return "<unset>"


_BINDING = (
    _NAME,
    _shown("Role", lambda obj: f"{value_at(obj, 'roleRef.kind')}/{value_at(obj, 'roleRef.name')}"),
    _AGE,
    _shown("Users", _subjects("User"), wide=1),
    _shown("Groups", _subjects("Group"), wide=1),
    _shown("ServiceAccounts", _subjects("ServiceAccount"), wide=1),
)
_WEBHOOKS = (_NAME, _shown("Webhooks", lambda obj: len(obj.get("webhooks") or []), "integer"), _AGE)

_SHOWN: dict[str, tuple[Shown, ...]] = {
    "pods": (
        _NAME,
        _shown("Ready", _pod_ready),
        _shown("Status", _pod_status),
        _shown("Restarts", _pod_restarts),
        _AGE,
        _shown("IP", _at("status.podIP", "<none>"), wide=1),
        _shown("Node", _at("spec.nodeName", "<none>"), wide=1),
        _shown("Nominated Node", _at("status.nominatedNodeName", "<none>"), wide=1),
        _shown("Readiness Gates", _readiness_gates, wide=1),
    ),
    "services": (
        _NAME,
        _shown("Type", _at("spec.type", "ClusterIP")),
        _shown("Cluster-IP", _cluster_ip),
        _shown("External-IP", _external_ip),
        _shown("Port(s)", _ports),
        _AGE,
        _shown("Selector", lambda obj: _labels_text(value_at(obj, "spec.selector")), wide=1),
    ),
    "namespaces": (_NAME, _shown("Status", _at("status.phase", "")), _AGE),
    "events": _EVENTS,
    "events.events.k8s.io": _EVENTS,
    "endpoints": (_NAME, _shown("Endpoints", _endpoints), _AGE),
    "configmaps": (_NAME, _shown("Data", _sizes("data", "binaryData")), _AGE),
    "secrets": (_NAME, _shown("Type", _at("type", "")), _shown("Data", _sizes("data")), _AGE),
    "serviceaccounts": (_NAME, _AGE),
    "deployments.apps": (
        _NAME,
        _shown("Ready", _ready),
        _shown("Up-to-date", _at("status.updatedReplicas", 0)),
        _shown("Available", _at("status.availableReplicas", 0)),
        _AGE,
        *_TEMPLATE,
        _SELECTOR,
    ),
    "replicasets.apps": (
        _NAME,
        _count("Desired", "spec.replicas"),
        _count("Current", "status.replicas"),
        _count("Ready", "status.readyReplicas"),
        _AGE,
        *_TEMPLATE,
        _SELECTOR,
    ),
    "statefulsets.apps": (_NAME, _shown("Ready", _ready), _AGE, *_TEMPLATE),
    "daemonsets.apps": (
        _NAME,
        _count("Desired", "status.desiredNumberScheduled"),
        _count("Current", "status.currentNumberScheduled"),
        _count("Ready", "status.numberReady"),
        _count("Up-to-date", "status.updatedNumberScheduled"),
        _count("Available", "status.numberAvailable"),
        _shown("Node Selector", lambda obj: _labels_text(value_at(obj, "spec.template.spec.nodeSelector"))),
        _AGE,
        *_TEMPLATE,
        _SELECTOR,
    ),
    "jobs.batch": (
        _NAME,
        _shown("Status", _job_status),
        _shown("Completions", _job_completions),
        _shown("Duration", _job_duration),
        _AGE,
        *_TEMPLATE,
        _SELECTOR,
    ),
    "endpointslices.discovery.k8s.io": (
        _NAME,
        _shown("AddressType", _at("addressType", "")),
        _shown("Ports", _slice_ports),
        _shown("Endpoints", _slice_endpoints),
        _AGE,
    ),
    "leases.coordination.k8s.io": (_NAME, _shown("Holder", _at("spec.holderIdentity", "")), _AGE),
    "horizontalpodautoscalers.autoscaling": (
        _NAME,
        _shown(
            "Reference",
            lambda obj: f"{value_at(obj, 'spec.scaleTargetRef.kind')}/{value_at(obj, 'spec.scaleTargetRef.name')}",
        ),
        _shown("Targets", _hpa_targets),
        _shown("MinPods", lambda obj: str(_at("spec.minReplicas", "<unset>")(obj))),
        _shown("MaxPods", _at("spec.maxReplicas", 0)),
        _shown("Replicas", _at("status.currentReplicas", 0)),
        _AGE,
    ),
    "poddisruptionbudgets.policy": (
        _NAME,
        _shown("Min Available", lambda obj: str(_at("spec.minAvailable", "N/A")(obj))),
        _shown("Max Unavailable", lambda obj: str(_at("spec.maxUnavailable", "N/A")(obj))),
        _count("Allowed Disruptions", "status.disruptionsAllowed"),
        _AGE,
    ),
    "ingresses.networking.k8s.io": (
        _NAME,
        _shown("Class", _at("spec.ingressClassName", "<none>")),
        _shown("Hosts", _hosts),
        _shown("Address", _addresses),
        _shown("Ports", lambda obj: "80, 443" if value_at(obj, "spec.tls") else "80"),
        _AGE,
    ),
    "networkpolicies.networking.k8s.io": (
        _NAME,
        _shown("Pod-Selector", lambda obj: _selector_text(value_at(obj, "spec.podSelector"))),
        _AGE,
    ),
    "rolebindings.rbac.authorization.k8s.io": _BINDING,
    "clusterrolebindings.rbac.authorization.k8s.io": _BINDING,
    "validatingadmissionpolicies.admissionregistration.k8s.io": (
        _NAME,
        _shown("Validations", lambda obj: len(value_at(obj, "spec.validations") or []), "integer"),
        _shown("ParamKind", _param_kind),
        _AGE,
    ),
    "validatingadmissionpolicybindings.admissionregistration.k8s.io": (
        _NAME,
        _shown("PolicyName", _at("spec.policyName", "")),
        _shown("ParamRef", _param_ref),
        _AGE,
    ),
    "validatingwebhookconfigurations.admissionregistration.k8s.io": _WEBHOOKS,
    "mutatingwebhookconfigurations.admissionregistration.k8s.io": _WEBHOOKS,
}
