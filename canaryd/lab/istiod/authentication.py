"""
PeerAuthentications: what a pod accepts, and what a client therefore sends.

STRICT takes only mutual TLS, PERMISSIVE takes both, DISABLE takes plain text. A client does not ask: it sends mutual
TLS to every pod that has a sidecar, unless its DestinationRule says otherwise (auto mTLS). So only two things go wrong:
a client without sidecar, and a DestinationRule with `tls: {mode: DISABLE}`, both toward STRICT (503, flags UF or UC).

Sources: Istio pilot/pkg/security/authn/policy_applier.go (ComposePeerAuthentication),
pilot/pkg/model/push_context.go (BestEffortInferServiceMTLSMode), pilot/pkg/model/authentication.go.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from canaryd.lab.istiod.objects import has_labels, labels_of, namespace_of
from canaryd.lab.istiod.proxy import ROOT_NAMESPACE
from canaryd.lab.istiod.registry import Registry

Json = dict[str, Any]

STRICT, PERMISSIVE, DISABLE = "STRICT", "PERMISSIVE", "DISABLE"
UNSET = (None, "", "UNSET")
TLS_LABEL = "security.istio.io/tlsMode"


def mtls_mode(registry: Registry, pod: Json, port: int) -> str:
    """
    STRICT, PERMISSIVE or DISABLE: what the pod's sidecar takes on `port`, a port of the pod (not of a Service).

    The workload's policy beats its namespace's, which beats the mesh's (that of the root namespace without selector);
    within a level the oldest holds; what is unset is inherited. `portLevelMtls` counts in the workload's policy only.
    """
    home = namespace_of(pod)
    mode = namespace_mode(registry, home)
    own = _oldest(
        each
        for each in registry.peer_authentications
        if home != ROOT_NAMESPACE
        and namespace_of(each) == home
        and (labels := _selector(each))
        and has_labels(pod, labels)
    )
    mode = _mode_of(own.get("mtls")) or mode
    ports = own.get("portLevelMtls") or {}
    return _mode_of(ports.get(str(port), ports.get(port))) or mode


def namespace_mode(registry: Registry, namespace: str) -> str:
    """The mode of a whole namespace; all that a client looks at when it has no `tls` in its DestinationRule."""
    mode = PERMISSIVE
    for level in dict.fromkeys((ROOT_NAMESPACE, namespace)):
        policies = (each for each in registry.peer_authentications if namespace_of(each) == level)
        mode = _mode_of(_oldest(each for each in policies if not _selector(each)).get("mtls")) or mode
    return mode


def speaks_tls(registry: Registry, pod: Json, port: int) -> bool:
    """Whether a client may send mutual TLS to this port of the pod: it has a sidecar, and that does not refuse it."""
    return labels_of(pod).get(TLS_LABEL) == "istio" and mtls_mode(registry, pod, port) != DISABLE


def _selector(policy: Json) -> dict[str, str]:
    return ((policy["spec"].get("selector") or {}) if policy.get("spec") else {}).get("matchLabels") or {}


def _oldest(policies: Iterable[Json]) -> Json:
    """The specification of the first; a registry holds each kind oldest first."""
    return next((each.get("spec") or {} for each in policies), {})


def _mode_of(mtls: Json | None) -> str | None:
    mode = (mtls or {}).get("mode")
    return None if mode in UNSET else str(mode)
