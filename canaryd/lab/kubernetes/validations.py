"""
What a schema demands beyond types and bounds: alternatives (`oneOf` and its kin), sizes of maps, and rules.

Real definitions write rules as CEL expressions in `x-kubernetes-validations`. Here a rule names a predicate of this
file in `x-lab-rules`, because only those of Istio and of the Gateway API are needed; messages are those of the real
definitions. Defaults are in place by the time that rules are looked at.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from typing import Any

from canaryd.lab.kubernetes.durations import MILLISECOND, nanoseconds
from canaryd.lab.kubernetes.resources import Schema
from canaryd.lab.kubernetes.status import Cause

Rule = dict[str, Any]  # `holds`: the predicate's name, `of`: its arguments after the value, `message`


NOT_CHECKED = Cause(
    "FieldValueInvalid",
    "Invalid value: null: some validation rules were not checked because the object was invalid; "
    "correct the existing errors to complete validation",
    "<nil>",
)
_BLOCKING = (
    "FieldValueNotSupported",
    "FieldValueRequired",
    "FieldValueTooLong",
    "FieldValueTooMany",
    "FieldValueTypeInvalid",
)


def all_causes(schema: Schema, value: Any, found: list[Cause]) -> list[Cause]:
    """
    Everything that is wrong with a value, given what types and bounds `found`.

    Rules are left alone, and it is said so, when a value is not even what they take for granted.
    Source: apiextensions-apiserver, pkg/registry/customresource/strategy.go (hasBlockingErr).
    """
    found = [*found, *alternatives(schema, value)]
    if not any(one.reason in _BLOCKING for one in found):
        return [*found, *broken_rules(schema, value)]
    return [*found, NOT_CHECKED] if _has_rules(schema) else found


def alternatives(schema: Schema, value: Any, path: str = "") -> list[Cause]:
    """
    What is wrong with `value` as far as `oneOf`, `anyOf`, `allOf`, `not` and sizes of maps go.

    Source: kube-openapi, pkg/validation/validate/schema_props.go; apiextensions-apiserver names no field for the first
    four (pkg/apiserver/validation/validation.go), which prints as ``<nil>``.
    """
    return list(_alternatives(schema, value, path))


def broken_rules(schema: Schema, value: Any, path: str = "") -> list[Cause]:
    """
    The rules that `value` breaks; its types have to be right.

    Source: apiextensions-apiserver, pkg/apiserver/schema/cel/validation.go: plain values are shown, others are not,
    and where an expression fails the type is.
    """
    return list(_broken_rules(schema, value, path))


class UnevaluatedError(Exception):
    """The expression of the real rule fails on this value, which refuses it, too; says how."""


def _has_rules(schema: Schema) -> bool:
    below = [*(schema.get("properties") or {}).values(), schema.get("items"), schema.get("additionalProperties")]
    own = schema.get("x-lab-rules") or schema.get("x-kubernetes-validations")
    return bool(own) or any(_has_rules(one) for one in below if isinstance(one, dict))


def _below(schema: Schema, value: Any, path: str, key_path: str) -> Iterator[tuple[Schema, Any, str]]:
    """The parts of a value, each with its schema and its path; `key_path` is how a key of a map is written."""
    if isinstance(value, list):
        for index, item in enumerate(value):
            yield schema.get("items") or {}, item, f"{path}[{index}]"
    elif isinstance(value, dict):
        properties, rest = schema.get("properties") or {}, schema.get("additionalProperties")
        for key, item in value.items():
            if key in properties:
                yield properties[key], item, f"{path}.{key}" if path else key
            elif isinstance(rest, dict):
                yield rest, item, key_path.format(path, key)


def _alternatives(schema: Schema, value: Any, path: str) -> Iterator[Cause]:
    for part, item, where in _below(schema, value, path, "{}.{}"):
        yield from _alternatives(part, item, where)
    if isinstance(value, dict):
        yield from _sizes(schema, value, path)
        for refusal in _refusals(schema, value, path):
            yield Cause("FieldValueInvalid", f'Invalid value: "": "{path}" {refusal}', "<nil>")
            if "(oneOf). Found none" in refusal or "(anyOf)" in refusal:  # why the first alternative does not fit
                first = (schema.get("oneOf") or schema.get("anyOf") or [{}])[0]
                for key in first.get("required") or ():
                    if key not in value:
                        yield Cause("FieldValueRequired", "Required value", f"{path}.{key}" if path else key)


def _sizes(schema: Schema, value: dict[str, Any], path: str) -> Iterator[Cause]:
    size = len(value)
    if size < schema.get("minProperties", 0):
        least = f"{path} in body should have at least {schema['minProperties']} properties"
        yield Cause("FieldValueInvalid", f"Invalid value: {size}: {least}", path)
    if size > schema.get("maxProperties", size):
        most = f"must have at most {schema['maxProperties']} items"
        yield Cause("FieldValueTooMany", f"Too many: {size}: {most}", path)


def _refusals(schema: Schema, value: dict[str, Any], path: str) -> Iterator[str]:
    one_of = schema.get("oneOf") or []
    valid = sum(1 for one in one_of if _holds(one, value))
    if one_of and valid != 1:
        found = f"Found {valid} valid alternatives" if valid else "Found none valid"
        yield f"must validate one and only one schema (oneOf). {found}"
    if schema.get("anyOf") and not any(_holds(one, value) for one in schema["anyOf"]):
        yield "must validate at least one schema (anyOf)"
    all_of = schema.get("allOf") or []
    for one in all_of:
        yield from _refusals(one, value, path)
    if not all(_holds(one, value) for one in all_of):
        none = "" if any(_holds(one, value) for one in all_of) else ". None validated"
        yield f"must validate all the schemas (allOf){none}"
    if "not" in schema and _holds(schema["not"], value):
        yield "must not validate the schema (not)"


def _holds(schema: Schema, value: dict[str, Any]) -> bool:
    """Whether an alternative fits; in structural schemas these only ask for the presence of fields."""
    present = all(key in value for key in schema.get("required") or ())
    return present and not any(_refusals(schema, value, ""))


def _broken_rules(schema: Schema, value: Any, path: str) -> Iterator[Cause]:
    if value is None:
        return
    for rule in schema.get("x-lab-rules") or ():
        try:
            if not PREDICATES[rule["holds"]](value, *rule["of"]):
                yield Cause("FieldValueInvalid", f"Invalid value: {_shown(value)}{rule['message']}", path)
        except UnevaluatedError as failure:
            kind = "string" if isinstance(value, str) else "object"
            message = f'Invalid value: "{kind}": {failure} evaluating rule: {rule["message"]}'
            yield Cause("FieldValueInvalid", message, path)
    for part, item, where in _below(schema, value, path, "{}[{}]"):
        yield from _broken_rules(part, item, where)


def _shown(value: Any) -> str:
    if isinstance(value, dict | list):
        return ""
    return f"{json.dumps(value, ensure_ascii=False)}: "


def rule(message: str, holds: str, *of: Any) -> Rule:
    """One entry of `x-lab-rules`. Raises KeyError for a predicate that there is not."""
    if holds not in PREDICATES:
        raise KeyError(holds)
    return {"holds": holds, "of": list(of), "message": message}


# -- of any kind


def _at_most_one(value: Any, *fields: str) -> bool:
    return sum(1 for field in fields if field in value) <= 1


def _no_wildcard(value: Any) -> bool:
    return "*" not in value


def _no_wildcard_keys(value: Any) -> bool:
    return not any("*" in key for key in value)


def _no_empty_keys(value: Any) -> bool:
    return "" not in value


def _other_than(value: Any, refused: Any) -> bool:
    return bool(value != refused)


def _port(value: Any) -> bool:
    return 0 < int(value) <= 65535


def _ports_as_keys(value: Any) -> bool:
    numbers = [key for key in value if re.fullmatch(r"[+-]?[0-9]{1,18}", key)]
    if all(_port(key) for key in numbers) and len(numbers) < len(value):
        raise UnevaluatedError("type conversion error from 'string' to 'int'")
    return all(_port(key) for key in numbers)


_PORT_NAME = re.compile(r"[a-zA-Z0-9](?:[-a-zA-Z0-9]*[a-zA-Z0-9])?")


def _port_names(value: Any) -> bool:
    return all(len(key) < 63 and _PORT_NAME.fullmatch(key) for key in value)


def _distinct(value: Any, *fields: str) -> bool:
    found = [tuple(item.get(field) or "" for field in fields) for item in value]
    return len(set(found)) == len(found)


def _duration(value: Any) -> bool:
    """At least a millisecond; `0s` is none."""
    try:
        return nanoseconds(value) >= MILLISECOND
    except ValueError:
        raise UnevaluatedError("type conversion error from 'string' to 'google.protobuf.Duration'") from None


# -- of Istio


def _levels_need_selector(value: Any) -> bool:
    return "portLevelMtls" not in value or bool((value.get("selector") or {}).get("matchLabels"))


def _has_address(value: Any) -> bool:
    return "address" in value or "network" in value


def _socket_without_ports(value: Any) -> bool:
    return not value.get("address", "").startswith("unix://") or "ports" not in value


def _socket_path(value: Any) -> bool:
    return not value.startswith("unix://") or value[7:8] in ("/", "@")


def _socket_file(value: Any) -> bool:
    return not value.startswith("unix://") or not value.endswith("/")


def _ranges_are_static(value: Any) -> bool:
    ranges = any("/" in one for one in value.get("addresses") or [])
    return not ranges or value.get("resolution", "NONE") in ("NONE", "STATIC")


def _none_has_no_endpoints(value: Any) -> bool:
    return value.get("resolution", "NONE") != "NONE" or "endpoints" not in value


def _round_robin_of_one(value: Any) -> bool:
    return value.get("resolution") != "DNS_ROUND_ROBIN" or len(value.get("endpoints") or []) <= 1


# -- of the Gateway API


def _service_has_port(value: Any) -> bool:
    return bool(value.get("group")) or value.get("kind") != "Service" or "port" in value


def _only_with_type(value: Any, field: str, kind: str) -> bool:
    return field not in value or value.get("type") == kind


def _always_with_type(value: Any, field: str, kind: str) -> bool:
    return field in value or value.get("type") != kind


def _once(value: Any, kind: str) -> bool:
    return sum(1 for one in value if one.get("type") == kind) <= 1


def _not_both(value: Any, *kinds: str) -> bool:
    return not {one.get("type") for one in value}.issuperset(kinds)


def _redirect_alone(value: Any) -> bool:
    return not value.get("backendRefs") or not any("requestRedirect" in one for one in value.get("filters") or [])


def _prefix_to_replace(value: Any, kind: str, where: str) -> bool:
    """A prefix that a filter replaces needs exactly one match, by prefix. `where`: the rule or its `backendRefs`."""
    owners = value.get("backendRefs") or [] if where == "backendRefs" else [value]
    paths = [(one.get(kind) or {}).get("path") or {} for owner in owners for one in owner.get("filters") or []]
    if not any(path.get("type") == "ReplacePrefixMatch" and "replacePrefixMatch" in path for path in paths):
        return True
    matches = value.get("matches") or []
    return len(matches) == 1 and bool((matches[0].get("path") or {}).get("type") == "PathPrefix")


def _few_matches(value: Any, most: int) -> bool:
    return sum(len(one.get("matches") or []) for one in value) <= most


def _is_pattern(value: Any) -> bool:
    """A regular expression may look like anything; other paths are matched as they are."""
    return value.get("type") not in ("Exact", "PathPrefix")


def _absolute_path(value: Any) -> bool:
    return _is_pattern(value) or value.get("value", "").startswith("/")


def _path_without(value: Any, text: str) -> bool:
    return _is_pattern(value) or text not in value.get("value", "")


def _path_not_ending(value: Any, text: str) -> bool:
    return _is_pattern(value) or not value.get("value", "").endswith(text)


_PATH = re.compile(r"(?:[-A-Za-z0-9/._~!$&'()*+,;=:@]|%[0-9a-fA-F]{2})+")


def _path_characters(value: Any) -> bool:
    return _is_pattern(value) or _PATH.fullmatch(value.get("value", "")) is not None


def _parent(one: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(one.get(field) or "" for field in ("group", "kind", "name", "namespace"))


def _parents_told_apart(value: Any) -> bool:
    """Of two references to one parent both or none name a section, and both or none a port."""
    return all(
        bool(one.get(field)) == bool(other.get(field))
        for one in value
        for other in value
        if _parent(one) == _parent(other)
        for field in ("sectionName", "port")
    )


def _fraction(value: Any) -> bool:
    return bool(value.get("numerator", 0) <= value.get("denominator", 100))


_SECONDS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}


def _seconds(text: str) -> float:
    return sum(int(number) * _SECONDS[unit] for number, unit in re.findall(r"([0-9]+)(ms|h|m|s)", text))


def _backend_within_request(value: Any) -> bool:
    """A request timeout of 0s is none."""
    request, backend = _seconds(value.get("request", "")), _seconds(value.get("backendRequest", ""))
    return not request or backend <= request


def _any_of(value: Any, *fields: str) -> bool:
    return any(field in value for field in fields)


def _exact_matches(value: Any, field: str, pattern: str) -> bool:
    exact = value.get("type", "Exact") == "Exact" and field in value
    return not exact or re.fullmatch(pattern, value[field]) is not None


def _no_addresses(value: Any) -> bool:
    return not any(re.fullmatch(r"[0-9]+(\.[0-9]+){3}", one) for one in value)


_HOST = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")


def _host_names(value: Any) -> bool:
    return all(_HOST.fullmatch(one) for one in value if "*" not in one)


def _wildcards_first(value: Any) -> bool:
    return all(one.startswith("*.") and _HOST.fullmatch(one[2:]) for one in value if "*" in one)


def _listener_without(value: Any, field: str, *protocols: str) -> bool:
    return not any(one.get("protocol") in protocols and one.get(field) for one in value)


def _https_terminates(value: Any) -> bool:
    return all((one.get("tls") or {}).get("mode") != "Passthrough" for one in value if one.get("protocol") == "HTTPS")


def _tls_has_mode(value: Any) -> bool:
    return all((one.get("tls") or {}).get("mode") for one in value if one.get("protocol") == "TLS")


def _has_certificate(value: Any) -> bool:
    if value.get("mode") != "Terminate" or value.get("certificateRefs") or value.get("options"):
        return True
    for field in ("certificateRefs", "options"):
        if field not in value:
            raise UnevaluatedError(f"no such key: {field}")
    return False


def _star_alone(value: Any) -> bool:
    return "*" not in value or len(value) == 1


PREDICATES: dict[str, Callable[..., bool]] = {
    "at-most-one": _at_most_one,
    "no-wildcard": _no_wildcard,
    "no-wildcard-keys": _no_wildcard_keys,
    "no-empty-keys": _no_empty_keys,
    "other-than": _other_than,
    "port": _port,
    "ports-as-keys": _ports_as_keys,
    "port-names": _port_names,
    "distinct": _distinct,
    "duration": _duration,
    "levels-need-selector": _levels_need_selector,
    "has-address": _has_address,
    "socket-without-ports": _socket_without_ports,
    "socket-path": _socket_path,
    "socket-file": _socket_file,
    "ranges-are-static": _ranges_are_static,
    "none-has-no-endpoints": _none_has_no_endpoints,
    "round-robin-of-one": _round_robin_of_one,
    "service-has-port": _service_has_port,
    "only-with-type": _only_with_type,
    "always-with-type": _always_with_type,
    "once": _once,
    "not-both": _not_both,
    "redirect-alone": _redirect_alone,
    "prefix-to-replace": _prefix_to_replace,
    "few-matches": _few_matches,
    "absolute-path": _absolute_path,
    "path-without": _path_without,
    "path-not-ending": _path_not_ending,
    "path-characters": _path_characters,
    "parents-told-apart": _parents_told_apart,
    "fraction": _fraction,
    "backend-within-request": _backend_within_request,
    "any-of": _any_of,
    "exact-matches": _exact_matches,
    "no-addresses": _no_addresses,
    "host-names": _host_names,
    "wildcards-first": _wildcards_first,
    "listener-without": _listener_without,
    "https-terminates": _https_terminates,
    "tls-has-mode": _tls_has_mode,
    "has-certificate": _has_certificate,
    "star-alone": _star_alone,
}
