"""
Kubernetes' own resources, as far as canaryd, kubectl and the lab use them, or people have them beside their services.
"""

from __future__ import annotations

from canaryd.lab.kubernetes.resources import Resource

_EVENT_LABELS = (
    "involvedObject.kind",
    "involvedObject.namespace",
    "involvedObject.name",
    "involvedObject.uid",
    "involvedObject.apiVersion",
    "involvedObject.resourceVersion",
    "involvedObject.fieldPath",
    "reason",
    "reportingComponent",
    "source",
    "type",
)
_ALL = ("all",)
_RBAC = "rbac.authorization.k8s.io"
_ADMISSION = "admissionregistration.k8s.io"
_NO_RBAC = (
    "the lab's API server stores roles and their bindings but does not evaluate RBAC: everybody may do everything "
    "unless the server was told otherwise"
)
_NO_POLICIES = "the lab's API server stores admission policies but does not evaluate CEL: nothing is refused by this"
_NO_WEBHOOKS = "the lab's API server stores webhook configurations but calls no webhook: nothing is refused by this"

NAMESPACES = Resource(
    "", ("v1",), "Namespace", "namespaces", namespaced=False, short_names=("ns",), has_status=True,
    field_labels=("status.phase",), model="V1Namespace",
)  # fmt: skip
DEFINITIONS = Resource(
    "apiextensions.k8s.io", ("v1",), "CustomResourceDefinition", "customresourcedefinitions", namespaced=False,
    short_names=("crd", "crds"), categories=("api-extensions",), has_status=True, has_generation=True,
    unconditional_update=False, model="V1CustomResourceDefinition",
)  # fmt: skip
ACCESS_REVIEWS = Resource(
    "authorization.k8s.io", ("v1",), "SelfSubjectAccessReview", "selfsubjectaccessreviews", namespaced=False,
    ephemeral=True, model="V1SelfSubjectAccessReview",
)  # fmt: skip
RULES_REVIEWS = Resource(
    "authorization.k8s.io", ("v1",), "SelfSubjectRulesReview", "selfsubjectrulesreviews", namespaced=False,
    ephemeral=True, model="V1SelfSubjectRulesReview",
)  # fmt: skip
SUBJECT_REVIEWS = Resource(
    "authentication.k8s.io", ("v1",), "SelfSubjectReview", "selfsubjectreviews", namespaced=False,
    ephemeral=True, model="V1SelfSubjectReview",
)  # fmt: skip

BUILTIN_RESOURCES = (
    NAMESPACES,
    Resource(
        "", ("v1",), "Pod", "pods", short_names=("po",), categories=_ALL, has_status=True, has_generation=True,
        field_labels=(
            "spec.nodeName", "spec.restartPolicy", "spec.schedulerName", "spec.serviceAccountName",
            "spec.hostNetwork", "status.phase", "status.podIP", "status.podIPs", "status.nominatedNodeName",
        ),
        model="V1Pod",
    ),
    Resource(
        "", ("v1",), "Service", "services", short_names=("svc",), categories=_ALL, has_status=True,
        create_on_update=True, field_labels=("spec.clusterIP", "spec.type"), model="V1Service",
    ),
    Resource(
        "", ("v1",), "Event", "events", short_names=("ev",), field_labels=_EVENT_LABELS, create_on_update=True,
        model="CoreV1Event",
    ),
    Resource("", ("v1",), "Endpoints", "endpoints", short_names=("ep",), create_on_update=True, model="V1Endpoints"),
    Resource("", ("v1",), "ConfigMap", "configmaps", short_names=("cm",), model="V1ConfigMap"),
    Resource("", ("v1",), "ServiceAccount", "serviceaccounts", short_names=("sa",), model="V1ServiceAccount"),
    Resource("", ("v1",), "Secret", "secrets", field_labels=("type",), model="V1Secret"),
    Resource(
        "", ("v1",), "PersistentVolumeClaim", "persistentvolumeclaims", short_names=("pvc",), has_status=True,
        model="V1PersistentVolumeClaim",
    ),
    Resource("", ("v1",), "Node", "nodes", namespaced=False, short_names=("no",), has_status=True,
             field_labels=("spec.unschedulable",), model="V1Node"),
    Resource(
        "apps", ("v1",), "Deployment", "deployments", short_names=("deploy",), categories=_ALL,
        has_status=True, has_generation=True, scales=True, model="V1Deployment",
    ),
    Resource(
        "apps", ("v1",), "ReplicaSet", "replicasets", short_names=("rs",), categories=_ALL,
        has_status=True, has_generation=True, scales=True, field_labels=("status.replicas",), model="V1ReplicaSet",
    ),
    Resource(
        "apps", ("v1",), "StatefulSet", "statefulsets", short_names=("sts",), categories=_ALL,
        has_status=True, has_generation=True, scales=True, model="V1StatefulSet",
    ),
    Resource(
        "apps", ("v1",), "DaemonSet", "daemonsets", short_names=("ds",), categories=_ALL,
        has_status=True, has_generation=True, model="V1DaemonSet",
    ),
    Resource("apps", ("v1",), "ControllerRevision", "controllerrevisions", model="V1ControllerRevision"),
    Resource(
        "batch", ("v1",), "Job", "jobs", categories=_ALL, has_status=True, has_generation=True,
        field_labels=("status.successful",), model="V1Job",
    ),
    Resource(
        "batch", ("v1",), "CronJob", "cronjobs", short_names=("cj",), categories=_ALL, has_status=True,
        has_generation=True, model="V1CronJob",
    ),
    Resource(
        "autoscaling", ("v2",), "HorizontalPodAutoscaler", "horizontalpodautoscalers", short_names=("hpa",),
        categories=_ALL, has_status=True, model="V2HorizontalPodAutoscaler",
    ),
    Resource(
        "policy", ("v1",), "PodDisruptionBudget", "poddisruptionbudgets", short_names=("pdb",), has_status=True,
        has_generation=True, unconditional_update=False, model="V1PodDisruptionBudget",
    ),
    Resource(
        "networking.k8s.io", ("v1",), "Ingress", "ingresses", short_names=("ing",), has_status=True,
        has_generation=True, model="V1Ingress",
    ),
    Resource(
        "networking.k8s.io", ("v1",), "NetworkPolicy", "networkpolicies", short_names=("netpol",),
        has_generation=True, model="V1NetworkPolicy",
    ),
    Resource(
        "discovery.k8s.io", ("v1",), "EndpointSlice", "endpointslices", has_generation=True, model="V1EndpointSlice",
    ),
    Resource(
        "coordination.k8s.io", ("v1",), "Lease", "leases", unconditional_update=False, create_on_update=True,
        model="V1Lease",
    ),
    Resource(
        "events.k8s.io", ("v1",), "Event", "events", short_names=("ev",), create_on_update=True,
        model="EventsV1Event",
    ),
    Resource(_RBAC, ("v1",), "Role", "roles", create_on_update=True, model="V1Role", unevaluated=_NO_RBAC),
    Resource(
        _RBAC, ("v1",), "RoleBinding", "rolebindings", create_on_update=True, model="V1RoleBinding",
        unevaluated=_NO_RBAC,
    ),
    Resource(
        _RBAC, ("v1",), "ClusterRole", "clusterroles", namespaced=False, create_on_update=True, model="V1ClusterRole",
        unevaluated=_NO_RBAC,
    ),
    Resource(
        _RBAC, ("v1",), "ClusterRoleBinding", "clusterrolebindings", namespaced=False, create_on_update=True,
        model="V1ClusterRoleBinding", unevaluated=_NO_RBAC,
    ),
    Resource(
        _ADMISSION, ("v1",), "ValidatingAdmissionPolicy", "validatingadmissionpolicies", namespaced=False,
        categories=("api-extensions",), has_status=True, has_generation=True, unconditional_update=False,
        model="V1ValidatingAdmissionPolicy", unevaluated=_NO_POLICIES,
    ),
    Resource(
        _ADMISSION, ("v1",), "ValidatingAdmissionPolicyBinding", "validatingadmissionpolicybindings",
        namespaced=False, categories=("api-extensions",), has_generation=True, unconditional_update=False,
        model="V1ValidatingAdmissionPolicyBinding", unevaluated=_NO_POLICIES,
    ),
    Resource(
        _ADMISSION, ("v1",), "ValidatingWebhookConfiguration", "validatingwebhookconfigurations", namespaced=False,
        categories=("api-extensions",), has_generation=True, unconditional_update=False,
        model="V1ValidatingWebhookConfiguration", unevaluated=_NO_WEBHOOKS,
    ),
    Resource(
        _ADMISSION, ("v1",), "MutatingWebhookConfiguration", "mutatingwebhookconfigurations", namespaced=False,
        categories=("api-extensions",), has_generation=True, unconditional_update=False,
        model="V1MutatingWebhookConfiguration", unevaluated=_NO_WEBHOOKS,
    ),
    ACCESS_REVIEWS,
    RULES_REVIEWS,
    SUBJECT_REVIEWS,
    DEFINITIONS,
)  # fmt: skip
