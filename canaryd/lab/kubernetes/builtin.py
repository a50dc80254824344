"""
Kubernetes' own resources, as far as canaryd, kubectl and the lab use them. Their fields are not checked.
"""

from __future__ import annotations

from canaryd.lab.kubernetes.resources import Resource

_EVENT_LABELS = (
    "involvedObject.kind",
    "involvedObject.namespace",
    "involvedObject.name",
    "involvedObject.uid",
    "involvedObject.apiVersion",
    "reason",
    "reportingComponent",
    "source",
    "type",
)

NAMESPACES = Resource(
    "", ("v1",), "Namespace", "namespaces", namespaced=False, short_names=("ns",), has_status=True,
    columns=(("Status", ".status.phase"),), field_labels=("status.phase",),
)  # fmt: skip
DEFINITIONS = Resource(
    "apiextensions.k8s.io", ("v1",), "CustomResourceDefinition", "customresourcedefinitions", namespaced=False,
    short_names=("crd", "crds"), has_status=True, has_generation=True,
)  # fmt: skip
ACCESS_REVIEWS = Resource(
    "authorization.k8s.io", ("v1",), "SelfSubjectAccessReview", "selfsubjectaccessreviews", namespaced=False,
    ephemeral=True,
)  # fmt: skip

BUILTIN_RESOURCES = (
    NAMESPACES,
    Resource(
        "", ("v1",), "Pod", "pods", short_names=("po",), categories=("all",), has_status=True,
        field_labels=("spec.nodeName", "status.phase", "status.podIP", "spec.serviceAccountName"),
    ),
    Resource("", ("v1",), "Service", "services", short_names=("svc",), categories=("all",), has_status=True),
    Resource(
        "", ("v1",), "Event", "events", short_names=("ev",), field_labels=_EVENT_LABELS,
        columns=(
            ("Type", ".type"), ("Reason", ".reason"), ("Object", ".involvedObject.name"), ("Message", ".message"),
        ),
    ),
    Resource("", ("v1",), "Endpoints", "endpoints", short_names=("ep",)),
    Resource("", ("v1",), "ConfigMap", "configmaps", short_names=("cm",)),
    Resource("", ("v1",), "ServiceAccount", "serviceaccounts", short_names=("sa",)),
    Resource("", ("v1",), "Secret", "secrets", field_labels=("type",), columns=(("Type", ".type"),)),
    Resource(
        "apps", ("v1",), "Deployment", "deployments", short_names=("deploy",), categories=("all",),
        has_status=True, has_generation=True,
        columns=(("Up-to-date", ".status.updatedReplicas"), ("Available", ".status.availableReplicas")),
    ),
    Resource(
        "apps", ("v1",), "ReplicaSet", "replicasets", short_names=("rs",), categories=("all",),
        has_status=True, has_generation=True,
        columns=(("Desired", ".spec.replicas"), ("Ready", ".status.readyReplicas")),
    ),
    Resource(
        "discovery.k8s.io", ("v1",), "EndpointSlice", "endpointslices", has_generation=True,
        columns=(("AddressType", ".addressType"),),
    ),
    Resource(
        "coordination.k8s.io", ("v1",), "Lease", "leases", unconditional_update=False,
        columns=(("Holder", ".spec.holderIdentity"),),
    ),
    Resource("events.k8s.io", ("v1",), "Event", "events", short_names=("ev",)),
    ACCESS_REVIEWS,
    DEFINITIONS,
)  # fmt: skip
