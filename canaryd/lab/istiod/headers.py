"""
Changes to headers, of an entry or of one destination.

Source: Istio pilot/pkg/networking/core/route/route.go (TranslateHeadersOperations, translateAppendHeaders).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from canaryd.lab.istiod.objects import only

Json = dict[str, Any]
OVERWRITE, APPEND = "OVERWRITE_IF_EXISTS_OR_ADD", "APPEND_IF_EXISTS_OR_ADD"


def header_changes(headers: Json | None, where: str) -> tuple[Json, str]:
    """
    Envoy's members for `headers`, and the authority that they set (or nothing).

    `set` comes before `add`, each in the order of the names. Names that begin with a colon, and `host`, are Envoy's
    own: they are not changed as headers, `host` and `:authority` of a request become a rewrite of the host.
    """
    changes: Json = {}
    authority = ""
    only(headers or {}, {"request", "response"}, f"{where}, headers")
    for side in ("request", "response"):
        operations = (headers or {}).get(side) or {}
        only(operations, {"set", "add", "remove"}, f"{where}, headers.{side}")
        setting, adding = operations.get("set") or {}, operations.get("add") or {}
        added = [*_added(setting, OVERWRITE), *_added(adding, APPEND)]
        removed = [name for name in operations.get("remove") or [] if not _internal(name)]
        if added:
            changes[f"{side}_headers_to_add"] = added
        if removed:
            changes[f"{side}_headers_to_remove"] = removed
        if side == "request":
            authority = _authority(setting) or _authority(adding)
    return changes, authority


def with_more(route: Json, changes: Json) -> None:
    """Put the changes of a destination after those that the route has of its entry."""
    for member, values in changes.items():
        route[member] = [*route.get(member, []), *values]


def _added(values: Mapping[str, str], action: str) -> Iterable[Json]:
    return [
        {"header": {"key": name, "value": value}, "append_action": action}
        for name, value in sorted(values.items())
        if not _internal(name)
    ]


def _authority(values: Mapping[str, str]) -> str:
    found = [value for name, value in values.items() if name.lower() in (":authority", "host")]
    return found[-1] if found else ""


def _internal(name: str) -> bool:
    return name.startswith(":") or name.lower() == "host"
