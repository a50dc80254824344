"""
What a Kubernetes API server says no with: `Status` objects as exceptions.

Clients tell errors apart by ``reason`` and ``code``, people by ``message``; all three are those of a real API server
(apimachinery: pkg/api/errors/errors.go), because canaryd's own error handling is tested against them. A failed JSON
Patch `test` for example says nothing but "the server rejected our request due to an error in our request".
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from canaryd.lab.kubernetes.resources import Resource

Object = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Cause:
    """One field that is wrong: `reason` is for machines, `field` a dotted path, `message` without the path."""

    reason: str
    message: str
    field: str = ""

    def as_object(self) -> Object:
        found = {"reason": self.reason, "message": self.message, "field": self.field}
        return {key: value for key, value in found.items() if value}


class ApiError(Exception):
    """A request refused: HTTP `code`, and `status()` for the body."""

    def __init__(
        self,
        code: int,
        reason: str,
        message: str,
        *,
        details: Object | None = None,
        causes: tuple[Cause, ...] = (),
        retry_after: int = 0,
        told: bool = False,
    ) -> None:
        super().__init__(message)
        self._told = told
        self.warnings: tuple[str, ...] = ()  # of what was found before the request was refused
        self.code = code
        self.reason = reason
        self.message = message
        self.retry_after = retry_after
        self.details = dict(details or {})
        if causes:
            self.details["causes"] = [cause.as_object() for cause in causes]
        if retry_after:
            self.details["retryAfterSeconds"] = retry_after

    def status(self) -> Object:
        found: Object = {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": self.message,
            "code": self.code,
        }
        if self.reason:
            found["reason"] = self.reason
        if self.details or self._told:
            found["details"] = self.details
        return found


def details(resource: Resource, name: str = "", *, by_kind: bool = False) -> Object:
    """`details` of a Status: most errors put the plural into `kind`, Invalid puts the kind there."""
    found = {"name": name, "group": resource.group, "kind": resource.kind if by_kind else resource.plural}
    return {key: value for key, value in found.items() if value}


def bad_request(message: str) -> ApiError:
    return ApiError(400, "BadRequest", message)


def not_found(resource: Resource, name: str) -> ApiError:
    return ApiError(404, "NotFound", f'{resource.qualified} "{name}" not found', details=details(resource, name))


def no_such_path() -> ApiError:
    return ApiError(404, "NotFound", "the server could not find the requested resource", told=True)


def method_not_allowed() -> ApiError:
    message = "the server does not allow this method on the requested resource"
    return ApiError(405, "MethodNotAllowed", message, told=True)


def already_exists(resource: Resource, name: str) -> ApiError:
    message = f'{resource.qualified} "{name}" already exists'
    return ApiError(409, "AlreadyExists", message, details=details(resource, name))


MODIFIED = "the object has been modified; please apply your changes to the latest version and try again"


def conflict(resource: Resource, name: str, why: str = MODIFIED) -> ApiError:
    message = f'Operation cannot be fulfilled on {resource.qualified} "{name}": {why}'
    return ApiError(409, "Conflict", message, details=details(resource, name))


def apply_conflict(message: str, causes: tuple[Cause, ...]) -> ApiError:
    return ApiError(409, "Conflict", message, causes=causes)


def expired(message: str) -> ApiError:
    return ApiError(410, "Expired", message)


def unsupported_media_type(accepted: tuple[str, ...]) -> ApiError:
    listed = ", ".join(accepted)
    message = f"the body of the request was in an unknown format - accepted media types include: {listed}"
    return ApiError(415, "UnsupportedMediaType", message)


def invalid(resource: Resource, name: str, causes: tuple[Cause, ...]) -> ApiError:
    """422: the object is well-formed and breaks its schema; names every field at once."""
    told = [f"{cause.field}: {cause.message}" if cause.field else cause.message for cause in causes]
    listed = told[0] if len(told) == 1 else f"[{', '.join(told)}]"
    kind = resource.kind if not resource.group else f"{resource.kind}.{resource.group}"
    message = f'{kind} "{name}" is invalid: {listed}'
    return ApiError(422, "Invalid", message, details=details(resource, name, by_kind=True), causes=causes)


def unprocessable() -> ApiError:
    """A JSON Patch that does not apply. Source: apiserver, endpoints/handlers/patch.go: the cause is not told."""
    message = "the server rejected our request due to an error in our request"
    return ApiError(422, "Invalid", message, told=True)


def without_version(resource: Resource, name: str) -> ApiError:
    """A PUT that does not say what it replaces; it is named by its plural, which other 422s are not."""
    cause = Cause("FieldValueInvalid", "Invalid value: 0: must be specified for an update", "metadata.resourceVersion")
    message = f'{resource.qualified} "{name}" is invalid: {cause.field}: {cause.message}'
    return ApiError(422, "Invalid", message, details=details(resource, name), causes=(cause,))


def bad_option(kind: str, field: str, given: str, supported: tuple[str, ...]) -> ApiError:
    """A query parameter that a request of `kind` (``CreateOptions``) cannot have."""
    listed = ", ".join(f'"{one}"' for one in supported)
    told = f"Unsupported value: {given}: supported values: {listed}"
    message = f'{kind}.meta.k8s.io "" is invalid: {field}: {told}'
    where = {"group": "meta.k8s.io", "kind": kind}
    return ApiError(422, "Invalid", message, details=where, causes=(Cause("FieldValueNotSupported", told, field),))


def required_option(kind: str, field: str, told: str) -> ApiError:
    """A query parameter that a request of `kind` must have."""
    cause = Cause("FieldValueRequired", f"Required value: {told}", field)
    message = f'{kind}.meta.k8s.io "" is invalid: {field}: {cause.message}'
    return ApiError(422, "Invalid", message, details={"group": "meta.k8s.io", "kind": kind}, causes=(cause,))


def empty_review(resource: Resource) -> ApiError:
    """A review that asks nothing."""
    told = "Invalid value: null: exactly one of nonResourceAttributes or resourceAttributes must be specified"
    cause = Cause("FieldValueInvalid", told, "spec.resourceAttributes")
    message = f'.{resource.group} "" is invalid: {cause.field}: {told}'
    return ApiError(422, "Invalid", message, details={"group": resource.group}, causes=(cause,))


def forbidden_option(field: str, told: str) -> ApiError:
    """A combination of a list's or watch's parameters that makes no sense."""
    message = f'ListOptions.meta.k8s.io "" is invalid: {field}: Forbidden: {told}'
    where = {"group": "meta.k8s.io", "kind": "ListOptions"}
    return ApiError(
        422, "Invalid", message, details=where, causes=(Cause("FieldValueForbidden", f"Forbidden: {told}", field),)
    )


def too_large_version(version: int, newest: int) -> ApiError:
    """A version that nobody has given out yet. Source: apiserver, storage/errors.go."""
    message = f"Timeout: Too large resource version: {version}, current: {newest}"
    cause = Cause("ResourceVersionTooLarge", "Too large resource version")
    return ApiError(504, "Timeout", message, causes=(cause,), retry_after=1)


def precondition_failed(resource: Resource, name: str, field: str, wanted: str, found: str) -> ApiError:
    """A delete that was meant for another object. Source: apiserver, registry/generic/registry/store.go."""
    ends = {"UID": "deleted and then recreated", "ResourceVersion": "modified"}
    why = (
        f"the {field} in the precondition ({wanted}) does not match the {field} in record ({found}). "
        f"The object might have been {ends[field]}"
    )
    told = f"{resource.kind}.{resource.group}" if resource.group else resource.kind
    message = f'Operation cannot be fulfilled on {told} "{name}": {why}'
    return ApiError(409, "Conflict", message, details=details(resource, name, by_kind=True))


def forbidden(resource: Resource, name: str, why: str) -> ApiError:
    subject = f'{resource.qualified} "{name}"' if name else resource.qualified
    return ApiError(403, "Forbidden", f"{subject} is forbidden: {why}", details=details(resource, name))
