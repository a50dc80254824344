"""
Istio's validating webhook: what istiod refuses although the schema allows it, and what it warns of.

    istio.schema -> admit -> metadata -> the kind's validator -> Problems -> a refusal in Istio's words, or warnings

Verdict, text and order are Istio's (read at 86c9f01fd735, version 1.32). One file per concern; a validator is a
generator of `Problem`s in the order in which Istio tells them. HTTPRoutes and the like never come here: the Gateway API
has no webhook, its rules are all in its schemas.
"""

from __future__ import annotations

from collections.abc import Callable

from canaryd.lab.kubernetes.status import ApiError, Object
from canaryd.lab.kubernetes.webhook.destination_rules import destination_rule
from canaryd.lab.kubernetes.webhook.gateways import gateway
from canaryd.lab.kubernetes.webhook.problems import Problem, Problems, told, wrong
from canaryd.lab.kubernetes.webhook.service_entries import service_entry
from canaryd.lab.kubernetes.webhook.sidecars import peer_authentication, sidecar
from canaryd.lab.kubernetes.webhook.virtual_services import virtual_service

GROUPS = ("networking.istio.io", "security.istio.io")
VALIDATORS: dict[str, Callable[[Object, Object], Problems]] = {
    "VirtualService": virtual_service,
    "DestinationRule": destination_rule,
    "Gateway": gateway,
    "ServiceEntry": service_entry,
    "Sidecar": sidecar,
    "PeerAuthentication": peer_authentication,
}
_FORBIDDEN_ANNOTATIONS = {
    "internal.istio.io/webhook-always-reject": "annotation found, rejecting",
    "internal.istio.io/parent-namespace": "annotation found, this may not be set by users",
    "internal.istio.io/parents": "annotation found, this may not be set by users",
}


def admit(obj: Object) -> tuple[str, ...]:
    """
    What the webhook warns of, the same text only once, as an API server passes it on. Other kinds pass unseen.

    Raises ApiError 400 without a reason for an object that istiod would not take.
    """
    problems = validate(obj)
    errors = [one for one in problems if not one.warning]
    if errors:
        text = f"configuration is invalid: {told(errors)}"
        raise ApiError(400, "", f'admission webhook "rev.validation.istio.io" denied the request: {text}')
    return tuple(dict.fromkeys(one.text for one in problems))


def validate(obj: Object) -> list[Problem]:
    """Everything that Istio says about an object, in its order; a problem with the metadata stands alone."""
    validator = VALIDATORS.get(obj["kind"])
    if validator is None or obj["apiVersion"].split("/")[0] not in GROUPS:
        return []
    metadata = obj["metadata"]
    refusal = _metadata_refusal(metadata)
    return [wrong(refusal)] if refusal else list(validator(obj.get("spec") or {}, metadata))


def _metadata_refusal(metadata: Object) -> str:
    """Source: Istio, pkg/config/validation/validation.go (validateMetadata)."""
    annotations = metadata.get("annotations") or {}
    if "istio.io/dry-run" in annotations:  # for authorization policies only
        name = f"{metadata.get('namespace') or ''}/{metadata.get('name') or ''}"
        return f"{name} has unsupported annotation istio.io/dry-run, please remove the annotation"
    for annotation, why in _FORBIDDEN_ANNOTATIONS.items():
        if annotation in annotations:
            return f'"{annotation}" {why}'
    return ""
