"""
What the API server fills in: the defaults of the kinds that people have beside their services.

`kubectl describe`, `diff` and server-side apply see them, and so does whoever reads a Deployment's replicas. Source:
kubernetes, pkg/apis/*/v1/defaults.go; the registry's strategies for what is set at creation.
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any

from canaryd.lab.kubernetes.resources import Resource
from canaryd.lab.kubernetes.status import Object

_ROLLING = {"maxUnavailable": "25%", "maxSurge": "25%"}
_FILE_MODE = 0o644
_SOURCES_WITH_MODE = ("secret", "configMap", "downwardAPI", "projected")


def defaulted(resource: Resource, obj: Object) -> Object:
    """The object with what was left out filled in; a new one, other kinds as they are."""
    fill = _FILLED.get(resource.qualified)
    return fill(obj) if fill else obj


def empty(resource: Resource) -> Object:
    """What a Go struct of that kind has before anything is written: parts that nobody comes to own by creating."""
    if resource.custom:
        return {}
    hollow: Object = {"metadata": {}, "spec": {}, "status": {}}
    if resource.qualified == "pods":
        hollow["spec"] = {"containers": None}
    if resource.qualified == "jobs.batch":
        hollow["spec"] = {"template": {"metadata": {}, "spec": {"containers": None}}}
    if resource.qualified.startswith("horizontalpodautoscalers"):
        hollow["spec"] = {"scaleTargetRef": {}}
    if resource.qualified == "events":
        hollow["source"] = {}
    if resource.plural in ("deployments", "replicasets", "statefulsets", "daemonsets"):
        update = {"deployments": "strategy", "statefulsets": "updateStrategy", "daemonsets": "updateStrategy"}
        hollow["spec"] = {"template": {"metadata": {}, "spec": {"containers": None}}}
        if resource.plural in update:
            hollow["spec"][update[resource.plural]] = {}
    return hollow


def _with(obj: Object, **values: Any) -> Object:
    """`values` for what is not there."""
    return {**obj, **{key: value for key, value in values.items() if obj.get(key) is None}}


def _spec(obj: Object, fill: Callable[[Object], Object]) -> Object:
    return {**obj, "spec": fill(obj.get("spec") or {})}


def pod_spec(spec: Object) -> Object:
    """Of a pod or of a template."""
    found = _with(
        spec,
        restartPolicy="Always",
        terminationGracePeriodSeconds=30,
        dnsPolicy="ClusterFirst",
        securityContext={},
        schedulerName="default-scheduler",
    )
    for name in ("containers", "initContainers"):
        if isinstance(spec.get(name), list):
            found[name] = [_container(one) for one in spec[name]]
    if isinstance(spec.get("volumes"), list):
        found["volumes"] = [_volume(one) for one in spec["volumes"]]
    if spec.get("serviceAccountName"):
        found = _with(found, serviceAccount=spec["serviceAccountName"])
    return found


def _container(one: Object) -> Object:
    tag = str(one.get("image", "")).rpartition("/")[2].partition("@")[0].partition(":")[2]
    latest = tag in ("", "latest") and "@" not in str(one.get("image", ""))
    found = _with(
        one,
        resources={},
        terminationMessagePath="/dev/termination-log",
        terminationMessagePolicy="File",
        imagePullPolicy="Always" if latest else "IfNotPresent",
    )
    if one.get("ports"):
        found["ports"] = [_with(port, protocol="TCP") for port in one["ports"]]
    for name in ("livenessProbe", "readinessProbe", "startupProbe"):
        if one.get(name):
            found[name] = _probe(one[name])
    if one.get("env"):
        found["env"] = [_variable(variable) for variable in one["env"]]
    return found


def _probe(probe: Object) -> Object:
    found = _with(probe, timeoutSeconds=1, periodSeconds=10, successThreshold=1, failureThreshold=3)
    if probe.get("httpGet"):
        found["httpGet"] = _with(probe["httpGet"], path="/", scheme="HTTP")
    if probe.get("grpc"):
        found["grpc"] = _with(probe["grpc"], service="")
    return found


def _variable(variable: Object) -> Object:
    reference = (variable.get("valueFrom") or {}).get("fieldRef")
    if not reference:
        return variable
    return {**variable, "valueFrom": {**variable["valueFrom"], "fieldRef": _with(reference, apiVersion="v1")}}


def _volume(volume: Object) -> Object:
    if len(volume) == 1:
        return {**volume, "emptyDir": {}}
    modes = {name: _with(volume[name], defaultMode=_FILE_MODE) for name in _SOURCES_WITH_MODE if volume.get(name)}
    return {**volume, **modes}


def _template(spec: Object) -> Object:
    template = spec.get("template")
    if not isinstance(template, dict):
        return spec
    return {**spec, "template": {**template, "spec": pod_spec(template.get("spec") or {})}}


def _deployment(spec: Object) -> Object:
    strategy = _with(spec.get("strategy") or {}, type="RollingUpdate")
    if strategy["type"] == "RollingUpdate":
        strategy["rollingUpdate"] = _with(strategy.get("rollingUpdate") or {}, **_ROLLING)
    found = {**_template(spec), "strategy": strategy}
    return _with(found, replicas=1, revisionHistoryLimit=10, progressDeadlineSeconds=600)


def _stateful_set(spec: Object) -> Object:
    update = _with(spec.get("updateStrategy") or {}, type="RollingUpdate")
    if update["type"] == "RollingUpdate":
        update["rollingUpdate"] = _with(update.get("rollingUpdate") or {}, partition=0)
    retention = {"whenDeleted": "Retain", "whenScaled": "Retain"}
    found = {**_template(spec), "updateStrategy": update}
    return _with(
        found,
        replicas=1,
        revisionHistoryLimit=10,
        podManagementPolicy="OrderedReady",
        persistentVolumeClaimRetentionPolicy=retention,
    )


def _daemon_set(spec: Object) -> Object:
    update = _with(spec.get("updateStrategy") or {}, type="RollingUpdate")
    if update["type"] == "RollingUpdate":
        update["rollingUpdate"] = _with(update.get("rollingUpdate") or {}, maxUnavailable=1, maxSurge=0)
    return _with({**_template(spec), "updateStrategy": update}, revisionHistoryLimit=10)


def _service(spec: Object) -> Object:
    found = _with(spec, type="ClusterIP", sessionAffinity="None")
    if spec.get("ports"):
        found["ports"] = [_with(one, protocol="TCP", targetPort=one.get("port")) for one in spec["ports"]]
    if found["type"] == "ExternalName":
        return found
    if found["type"] in ("NodePort", "LoadBalancer"):
        found = _with(found, externalTrafficPolicy="Cluster")
    return _with(found, internalTrafficPolicy="Cluster")


def _pod(obj: Object) -> Object:
    found = {**obj, "spec": _with(pod_spec(obj.get("spec") or {}), enableServiceLinks=True)}
    status = obj.get("status") or {}
    if status.get("podIP"):
        found["status"] = _with(status, podIPs=[{"ip": status["podIP"]}])
    return found


_TOLERATED = tuple(
    {"key": f"node.kubernetes.io/{one}", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300}
    for one in ("not-ready", "unreachable")
)
_STATUSES: dict[str, Object] = {
    "deployments.apps": {},
    "replicasets.apps": {"replicas": 0},
    "statefulsets.apps": {"replicas": 0, "availableReplicas": 0},
    "daemonsets.apps": {
        "currentNumberScheduled": 0,
        "desiredNumberScheduled": 0,
        "numberMisscheduled": 0,
        "numberReady": 0,
    },
    "jobs.batch": {},
    "cronjobs.batch": {},
    "ingresses.networking.k8s.io": {"loadBalancer": {}},
    "persistentvolumeclaims": {"phase": "Pending"},
    "horizontalpodautoscalers.autoscaling": {"desiredReplicas": 0, "currentMetrics": None},
    "poddisruptionbudgets.policy": {
        "disruptionsAllowed": 0,
        "currentHealthy": 0,
        "desiredHealthy": 0,
        "expectedPods": 0,
    },
}


def _job_of_uid(obj: Object) -> Object:
    """A Job selects its pods by its own uid."""
    spec, name = obj.get("spec") or {}, obj["metadata"]["name"]
    if spec.get("selector"):
        return _with(obj, status={})
    uid = obj["metadata"]["uid"]
    labels = {
        "batch.kubernetes.io/controller-uid": uid,
        "batch.kubernetes.io/job-name": name,
        "controller-uid": uid,
        "job-name": name,
    }
    template = spec.get("template") or {}
    metadata = template.get("metadata") or {}
    metadata = {**metadata, "labels": {**labels, **(metadata.get("labels") or {})}}
    selector = {"matchLabels": {"batch.kubernetes.io/controller-uid": uid}}
    spec = {**spec, "selector": selector, "template": {**template, "metadata": metadata}}
    own = _with(obj["metadata"], labels=metadata["labels"])
    return {**_with(obj, status={}), "spec": spec, "metadata": own}


def given_by_server(resource: Resource, obj: Object) -> Object:
    """What the server adds after it has noted who wrote what: admission and the registry's strategies."""
    spec = obj.get("spec") or {}
    if resource.qualified == "services" and spec.get("type") != "ExternalName":
        return {**obj, "spec": _with(spec, ipFamilies=["IPv4"], ipFamilyPolicy="SingleStack")}
    if resource.qualified == "pods":
        spec = _with(spec, priority=0, preemptionPolicy="PreemptLowerPriority", tolerations=list(_TOLERATED))
        quality = quality_of_service(spec)
        return {**obj, "spec": spec, "status": _with(obj.get("status") or {"phase": "Pending"}, qosClass=quality)}
    if resource.qualified == "events":
        times: Object = {key: obj.get(key) for key in ("eventTime", "firstTimestamp", "lastTimestamp")}
        return _with({**obj, **times}, source={}, reportingComponent="", reportingInstance="")
    if resource.qualified == "jobs.batch":
        return _job_of_uid(obj)
    if resource.qualified in _STATUSES:
        return _with(obj, status=_STATUSES[resource.qualified])
    return obj


def quality_of_service(spec: Object) -> str:
    """Source: kubernetes, pkg/apis/core/v1/helper/qos: nothing asked, all limited to what is asked, or between."""
    resources = [one.get("resources") or {} for one in spec.get("containers") or []]
    if not any(one.get("requests") or one.get("limits") for one in resources):
        return "BestEffort"
    limits = [one.get("limits") or {} for one in resources]
    full = all({"cpu", "memory"} <= one.keys() for one in limits)
    equal = all((one.get("requests") or one.get("limits")) == one.get("limits") for one in resources)
    return "Guaranteed" if full and equal else "Burstable"


def _namespace(obj: Object) -> Object:
    metadata = obj["metadata"]
    if not metadata.get("name"):
        return obj  # it is generated later
    labels = {**(metadata.get("labels") or {}), "kubernetes.io/metadata.name": metadata["name"]}
    return {**obj, "metadata": {**metadata, "labels": labels}}


def _secret(obj: Object) -> Object:
    """`stringData` is for writing only: it is stored as `data`."""
    texts = obj.get("stringData") or {}
    found = {key: value for key, value in obj.items() if key != "stringData"}
    if texts:
        encoded = {key: base64.b64encode(str(text).encode()).decode() for key, text in texts.items()}
        found["data"] = {**(obj.get("data") or {}), **encoded}
    return _with(found, type="Opaque")


def _job(spec: Object) -> Object:
    return _with(
        _template(spec),
        backoffLimit=6,
        completionMode="NonIndexed",
        completions=1,
        parallelism=1,
        manualSelector=False,
        podReplacementPolicy="TerminatingOrFailed",
        suspend=False,
    )


def _cron_job(spec: Object) -> Object:
    template = spec.get("jobTemplate") or {}
    inner = {**template, "spec": _template(template.get("spec") or {})}
    found = {**spec, "jobTemplate": inner} if template else spec
    return _with(
        found, concurrencyPolicy="Allow", suspend=False, successfulJobsHistoryLimit=3, failedJobsHistoryLimit=1
    )


def _binding(obj: Object) -> Object:
    """People and groups are RBAC's own, service accounts the core's. Source: pkg/apis/rbac/v1/defaults.go."""
    group = "rbac.authorization.k8s.io"
    subjects = [
        one if one.get("kind") == "ServiceAccount" else _with(one, apiGroup=group) for one in obj.get("subjects") or []
    ]
    found = {**obj, "roleRef": _with(obj.get("roleRef") or {}, apiGroup=group)}
    return {**found, "subjects": subjects} if subjects else found


def _network_policy(spec: Object) -> Object:
    return _with(spec, policyTypes=["Ingress", "Egress"] if spec.get("egress") else ["Ingress"])


def _endpoint_slice(obj: Object) -> Object:
    ports = [_with(one, name="", protocol="TCP") for one in obj.get("ports") or []]
    endpoints = [_with(one, conditions={}) for one in obj.get("endpoints") or []]
    return {**obj, **({"ports": ports} if ports else {}), **({"endpoints": endpoints} if endpoints else {})}


def _autoscaler(spec: Object) -> Object:
    cpu = {"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 80}}}
    return _with(spec, minReplicas=1, metrics=[cpu])


def _definition(spec: Object) -> Object:
    names = spec.get("names") or {}
    kind = str(names.get("kind", ""))
    names = _with(names, singular=kind.lower(), listKind=f"{kind}List") if kind else names
    return _with({**spec, "names": names}, conversion={"strategy": "None"})


_FILLED: dict[str, Callable[[Object], Object]] = {
    "namespaces": _namespace,
    "pods": _pod,
    "services": lambda obj: {
        **_spec(obj, _service),
        "status": _with(obj.get("status") or {}, loadBalancer={}),
    },
    "secrets": _secret,
    "rolebindings.rbac.authorization.k8s.io": _binding,
    "clusterrolebindings.rbac.authorization.k8s.io": _binding,
    "jobs.batch": lambda obj: _spec(obj, _job),
    "cronjobs.batch": lambda obj: _spec(obj, _cron_job),
    "networkpolicies.networking.k8s.io": lambda obj: _spec(obj, _network_policy),
    "endpointslices.discovery.k8s.io": _endpoint_slice,
    "deployments.apps": lambda obj: _spec(obj, _deployment),
    "replicasets.apps": lambda obj: _spec(obj, lambda spec: _with(_template(spec), replicas=1)),
    "statefulsets.apps": lambda obj: _spec(obj, _stateful_set),
    "daemonsets.apps": lambda obj: _spec(obj, _daemon_set),
    "horizontalpodautoscalers.autoscaling": lambda obj: _spec(obj, _autoscaler),
    "customresourcedefinitions.apiextensions.k8s.io": lambda obj: _spec(obj, _definition),
}
