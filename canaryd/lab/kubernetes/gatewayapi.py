"""
The Gateway API's custom resources: HTTPRoute as its definition declares it, the others as far as a route needs them.

There is no webhook; what a route may not be, its schema and rules say. Unlike a VirtualService's, a weight that is left
out is 1 (0 for VirtualServices), 0 means no traffic even for a single backend, and weights that are all 0 are accepted.
Source: kubernetes-sigs/gateway-api, apis/v1, release 1.6: the standard channel, but for parents that differ in nothing
but the port, which the experimental channel allows and routes of Services need. Left out: rules about annotations,
labels and addresses of a Gateway, and that a GatewayClass's controller never changes.
"""

from __future__ import annotations

from typing import Any

from canaryd.lab.kubernetes.declaring import FLAG, INT32, TEXT, TIME, array, choice, mapping, ruled, struct
from canaryd.lab.kubernetes.resources import AGE, Column, Resource, Schema
from canaryd.lab.kubernetes.validations import Rule, rule

GROUP = "gateway.networking.k8s.io"
_DNS_LABEL = "[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_DNS_NAME = rf"{_DNS_LABEL}(\.{_DNS_LABEL})*"


def _text(most: int, pattern: str = "", *, least: int = 1, default: str | None = None) -> Schema:
    found: dict[str, Any] = {"type": "string", "maxLength": most}
    if least:
        found["minLength"] = least
    if pattern:
        found["pattern"] = f"^{pattern}$"
    return found if default is None else {**found, "default": default}


def _whole(least: int, most: int | None = None, **more: Any) -> Schema:
    found: dict[str, Any] = {"type": "integer", "format": "int32", "minimum": least, **more}
    return found if most is None else {**found, "maximum": most}


def _list(items: Schema, most: int, **more: Any) -> Schema:
    """Lists are replaced as a whole, as in Istio; a JSON Patch is what changes one weight."""
    return {**array(items, maxItems=most), "x-kubernetes-list-type": "atomic", **more}


def _keyed(items: Schema, most: int, key: str, **more: Any) -> Schema:
    listed = {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": [key]}
    return {**array(items, maxItems=most), **listed, **more}


def _set(items: Schema, most: int) -> Schema:
    return {**array(items, maxItems=most), "x-kubernetes-list-type": "set"}


def _default(schema: Schema, value: Any) -> Schema:
    return {**schema, "default": value}


def _group(default: str | None = None) -> Schema:
    found: Schema = {"type": "string", "maxLength": 253, "pattern": f"^$|^{_DNS_NAME}$"}
    return found if default is None else {**found, "default": default}


def _kind(default: str | None = None) -> Schema:
    return _text(63, "[a-zA-Z]([-a-zA-Z0-9]*[a-zA-Z0-9])?", default=default)


OBJECT_NAME = _text(253)
NAMESPACE = _text(63, _DNS_LABEL)
SECTION = _text(253, _DNS_NAME)
HOSTNAME = _text(253, rf"(\*\.)?{_DNS_NAME}")
PRECISE_HOSTNAME = _text(253, _DNS_NAME)
PORT = _whole(1, 65535)
HEADER_NAME = _text(256, r"[A-Za-z0-9!#$%&'*+\-.^_\x60|~]+")
HEADER_VALUE = _text(4096)
DURATION: Schema = {"type": "string", "pattern": "^([0-9]{1,5}(h|m|s|ms)){1,4}$"}
CONTROLLER = _text(253, rf"{_DNS_NAME}\/[A-Za-z0-9\/\-._~%!$&'()*+,;=:]+")
LOCAL_REFERENCE = struct(required=("group", "kind", "name"), group=_group(), kind=_kind(), name=OBJECT_NAME)

PARENT_REFERENCE = struct(
    required=("name",),
    group=_group(GROUP),
    kind=_kind("Gateway"),
    namespace=NAMESPACE,
    name=OBJECT_NAME,
    sectionName=SECTION,
    port=PORT,
)
_SAME_PARENT = "when parentRefs includes 2 or more references to the same parent"
PARENT_REFERENCES = ruled(
    _list(PARENT_REFERENCE, 32),
    rule(f"sectionName or port must be specified {_SAME_PARENT}", "parents-told-apart"),
    rule(
        f"sectionName or port must be unique {_SAME_PARENT}",
        "distinct",
        *("group", "kind", "name", "namespace", "sectionName", "port"),
    ),
)
_BACKEND: dict[str, Any] = {
    "group": _group(""),
    "kind": _kind("Service"),
    "name": OBJECT_NAME,
    "namespace": NAMESPACE,
    "port": PORT,
}
_NEEDS_PORT = rule("Must have port for Service reference", "service-has-port")
_WEIGHT = _whole(0, 1_000_000, default=1)
BACKEND_REFERENCE = ruled(struct(required=("name",), **_BACKEND, weight=_WEIGHT), _NEEDS_PORT)


def _union(*fields: str) -> list[Rule]:
    """A filter's `type` names the one field that is set: ``URLRewrite`` goes with `urlRewrite`."""
    found = []
    for field in fields:
        kind = _FILTER_TYPES[field]
        found.append(
            rule(f"filter.{field} must be nil if the filter.type is not {kind}", "only-with-type", field, kind)
        )
        found.append(rule(f"filter.{field} must be specified for {kind} filter.type", "always-with-type", field, kind))
    return found


_FILTER_TYPES = {
    "requestHeaderModifier": "RequestHeaderModifier",
    "responseHeaderModifier": "ResponseHeaderModifier",
    "requestMirror": "RequestMirror",
    "requestRedirect": "RequestRedirect",
    "urlRewrite": "URLRewrite",
    "extensionRef": "ExtensionRef",
    "cors": "CORS",
}


def _once(kind: str) -> Rule:
    return rule(f"{kind} filter cannot be repeated", "once", kind)


_HEADERS = _keyed(struct(required=("name", "value"), name=HEADER_NAME, value=HEADER_VALUE), 16, "name")
HEADER_MODIFIER = struct(add=_HEADERS, set=_HEADERS, remove=_set(TEXT, 16))
MIRROR = ruled(
    struct(
        required=("backendRef",),
        backendRef=ruled(struct(required=("name",), **_BACKEND), _NEEDS_PORT),
        percent=_whole(0, 100),
        fraction=ruled(
            struct(required=("numerator",), numerator=_whole(0), denominator=_whole(1, default=100)),
            rule("numerator must be less than or equal to denominator", "fraction"),
        ),
    ),
    rule(
        "Only one of percent or fraction may be specified in HTTPRequestMirrorFilter",
        "at-most-one",
        "percent",
        "fraction",
    ),
)


def _path_change(field: str, kind: str) -> list[Rule]:
    return [
        rule(f"{field} must be specified when type is set to '{kind}'", "always-with-type", field, kind),
        rule(f"type must be '{kind}' when {field} is set", "only-with-type", field, kind),
    ]


PATH_CHANGE = ruled(
    struct(
        required=("type",),
        type=choice("ReplaceFullPath", "ReplacePrefixMatch"),
        replaceFullPath=_text(1024, least=0),
        replacePrefixMatch=_text(1024, least=0),
    ),
    *_path_change("replaceFullPath", "ReplaceFullPath"),
    *_path_change("replacePrefixMatch", "ReplacePrefixMatch"),
)
REDIRECT = struct(
    scheme=choice("http", "https"),
    hostname=PRECISE_HOSTNAME,
    path=PATH_CHANGE,
    port=PORT,
    statusCode={"type": "integer", "enum": [301, 302, 303, 307, 308], "default": 302},
)
REWRITE = struct(hostname=PRECISE_HOSTNAME, path=PATH_CHANGE)
_METHODS = ("GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH")
_ORIGIN = r"(^\*$)|(^(http(s)?):\/\/(((\*\.)?([a-zA-Z0-9\-]+\.)*[a-zA-Z0-9-]+|\*)(:([0-9]{1,5}))?)$)"
CORS = struct(
    allowCredentials=FLAG,
    allowOrigins=ruled(
        _set({"type": "string", "minLength": 1, "maxLength": 253, "pattern": _ORIGIN}, 64),
        rule("AllowOrigins cannot contain '*' alongside other origins", "star-alone"),
    ),
    allowMethods=ruled(
        _set(choice(*_METHODS, "*"), 9),
        rule("AllowMethods cannot contain '*' alongside other methods", "star-alone"),
    ),
    allowHeaders=ruled(
        _set(HEADER_NAME, 64), rule("AllowHeaders cannot contain '*' alongside other methods", "star-alone")
    ),
    exposeHeaders=_set(HEADER_NAME, 64),
    maxAge=_whole(1, default=5),
)
HTTP_FILTERS = ruled(
    _list(
        ruled(
            struct(
                required=("type",),
                type=choice(*_FILTER_TYPES.values()),
                cors=CORS,
                requestHeaderModifier=HEADER_MODIFIER,
                responseHeaderModifier=HEADER_MODIFIER,
                requestMirror=MIRROR,
                requestRedirect=REDIRECT,
                urlRewrite=REWRITE,
                extensionRef=LOCAL_REFERENCE,
            ),
            *_union(*_FILTER_TYPES),
        ),
        16,
    ),
    rule(
        "May specify either httpRouteFilterRequestRedirect or httpRouteFilterRequestRewrite, but not both",
        "not-both",
        "RequestRedirect",
        "URLRewrite",
    ),
    *map(_once, ("CORS", "RequestHeaderModifier", "ResponseHeaderModifier", "RequestRedirect", "URLRewrite")),
)

_LITERAL = "when type one of ['Exact', 'PathPrefix']"
_FORBIDDEN_IN_PATHS = ("//", "/./", "/../", "%2f", "%2F", "#")
_CHARACTERS = "^(?:[-A-Za-z0-9/._~!$&'()*+,;=:@]|[%][0-9a-fA-F]{2})+$"
_ROOT = {"type": "PathPrefix", "value": "/"}
PATH_MATCH = ruled(
    _default(
        struct(
            type=_default(choice("Exact", "PathPrefix", "RegularExpression"), "PathPrefix"),
            value=_text(1024, least=0, default="/"),
        ),
        _ROOT,
    ),
    rule(f"value must be an absolute path and start with '/' {_LITERAL}", "absolute-path"),
    *(rule(f"must not contain '{text}' {_LITERAL}", "path-without", text) for text in _FORBIDDEN_IN_PATHS),
    *(rule(f"must not end with '{text}' {_LITERAL}", "path-not-ending", text) for text in ("/..", "/.")),
    rule(
        f"must only contain valid characters (matching {_CHARACTERS}) for types ['Exact', 'PathPrefix']",
        "path-characters",
    ),
)
_HOW = _default(choice("Exact", "RegularExpression"), "Exact")
HEADER_MATCHES = _keyed(struct(required=("name", "value"), type=_HOW, name=HEADER_NAME, value=HEADER_VALUE), 16, "name")
QUERY_MATCHES = _keyed(struct(required=("name", "value"), type=_HOW, name=HEADER_NAME, value=_text(1024)), 16, "name")
_EVERYTHING = [{"path": _ROOT}]
HTTP_MATCHES = _list(
    struct(path=PATH_MATCH, headers=HEADER_MATCHES, queryParams=QUERY_MATCHES, method=choice(*_METHODS)),
    64,
    default=_EVERYTHING,
)


def _one_prefix(name: str, field: str, where: str = "") -> Rule:
    """`name` of the filter as the message writes it, which begins with where it is."""
    one = "exactly one PathPrefix match must be specified"
    return rule(f"{name} filter with path.replacePrefixMatch, {one}", "prefix-to-replace", field, where)


_TOO_MANY_MATCHES = rule(
    "While 16 rules and 64 matches per rule are allowed, the total number of matches across all rules in a route must "
    "be less than 128",
    "few-matches",
    128,
)
HTTP_RULE = ruled(
    struct(
        name=SECTION,
        matches=HTTP_MATCHES,
        filters=HTTP_FILTERS,
        backendRefs=_list(
            ruled(struct(required=("name",), **_BACKEND, weight=_WEIGHT, filters=HTTP_FILTERS), _NEEDS_PORT), 16
        ),
        timeouts=ruled(
            struct(request=DURATION, backendRequest=DURATION),
            rule("backendRequest timeout cannot be longer than request timeout", "backend-within-request"),
        ),
    ),
    rule("RequestRedirect filter must not be used together with backendRefs", "redirect-alone"),
    _one_prefix("When using RequestRedirect", "requestRedirect"),
    _one_prefix("When using URLRewrite", "urlRewrite"),
    _one_prefix("Within backendRefs, when using RequestRedirect", "requestRedirect", "backendRefs"),
    _one_prefix("Within backendRefs, When using URLRewrite", "urlRewrite", "backendRefs"),
)
HTTP_ROUTE = struct(
    parentRefs=PARENT_REFERENCES,
    hostnames=_list(HOSTNAME, 16),
    rules=ruled(_list(HTTP_RULE, 16, minItems=1, default=[{"matches": _EVERYTHING}]), _TOO_MANY_MATCHES),
)

_GRPC_FILTERS = ("requestHeaderModifier", "responseHeaderModifier", "requestMirror", "extensionRef")
GRPC_FILTERS = ruled(
    _list(
        ruled(
            struct(
                required=("type",),
                type=choice(*(_FILTER_TYPES[field] for field in _GRPC_FILTERS)),
                requestHeaderModifier=HEADER_MODIFIER,
                responseHeaderModifier=HEADER_MODIFIER,
                requestMirror=MIRROR,
                extensionRef=LOCAL_REFERENCE,
            ),
            *_union(*_GRPC_FILTERS),
        ),
        16,
    ),
    *map(_once, ("RequestHeaderModifier", "ResponseHeaderModifier")),
)
_NAME = "[A-Za-z_][A-Za-z_0-9]*"
GRPC_METHOD = ruled(
    struct(type=_HOW, service=_text(1024, least=0), method=_text(1024, least=0)),
    rule("One or both of 'service' or 'method' must be specified", "any-of", "service", "method"),
    rule(
        r"service must only contain valid characters (matching ^(?i)\.?[a-z_][a-z_0-9]*(\.[a-z_][a-z_0-9]*)*$)",
        "exact-matches",
        "service",
        rf"\.?{_NAME}(\.{_NAME})*",
    ),
    rule(f"method must only contain valid characters (matching ^{_NAME}$)", "exact-matches", "method", _NAME),
)
GRPC_ROUTE = struct(
    parentRefs=PARENT_REFERENCES,
    hostnames=_list(HOSTNAME, 16),
    rules=ruled(
        _list(
            struct(
                name=SECTION,
                matches=_list(struct(method=GRPC_METHOD, headers=HEADER_MATCHES), 64),
                filters=GRPC_FILTERS,
                backendRefs=_list(
                    ruled(struct(required=("name",), **_BACKEND, weight=_WEIGHT, filters=GRPC_FILTERS), _NEEDS_PORT),
                    16,
                ),
            ),
            16,
        ),
        _TOO_MANY_MATCHES,
    ),
)
_LAYER4_RULES = _list(
    struct(required=("backendRefs",), name=SECTION, backendRefs=_list(BACKEND_REFERENCE, 16, minItems=1)),
    1,
    minItems=1,
)
TCP_ROUTE = struct(required=("rules",), parentRefs=PARENT_REFERENCES, rules=_LAYER4_RULES)
TLS_ROUTE = struct(
    required=("hostnames", "rules"),
    parentRefs=PARENT_REFERENCES,
    hostnames=ruled(
        _list(HOSTNAME, 1024, minItems=1),
        rule("Hostnames cannot contain an IP", "no-addresses"),
        rule("Hostnames must be valid based on RFC-1123", "host-names"),
        rule(
            "Wildcards on hostnames must be the first label, and the rest of hostname must be valid based on RFC-1123",
            "wildcards-first",
        ),
    ),
    rules=_LAYER4_RULES,
)
_GRANT: dict[str, Any] = {
    "from": _list(
        struct(required=("group", "kind", "namespace"), group=_group(), kind=_kind(), namespace=NAMESPACE),
        16,
        minItems=1,
    ),
    "to": _list(struct(required=("group", "kind"), group=_group(), kind=_kind(), name=OBJECT_NAME), 16, minItems=1),
}
REFERENCE_GRANT = struct(required=("from", "to"), **_GRANT)

CONDITION = struct(
    required=("lastTransitionTime", "message", "reason", "status", "type"),
    lastTransitionTime=TIME,
    message=_text(32768, least=0),
    observedGeneration={"type": "integer", "format": "int64", "minimum": 0},
    reason=_text(1024, "[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?"),
    status=choice("True", "False", "Unknown"),
    type=_text(316, rf"({_DNS_NAME}/)?(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])", least=0),
)
CONDITIONS = _keyed(CONDITION, 8, "type")
ROUTE_STATUS = struct(
    required=("parents",),
    parents=_list(
        struct(
            required=("conditions", "controllerName", "parentRef"),
            parentRef=PARENT_REFERENCE,
            controllerName=CONTROLLER,
            conditions={**CONDITIONS, "minItems": 1},
        ),
        32,
    ),
)


def _waiting(*kinds: str) -> list[dict[str, str]]:
    """What a new object says until a controller speaks."""
    return [
        {
            "type": kind,
            "status": "Unknown",
            "reason": "Pending",
            "message": "Waiting for controller",
            "lastTransitionTime": "1970-01-01T00:00:00Z",
        }
        for kind in kinds
    ]


def _gateway_status(waiting: list[dict[str, str]], **fields: Any) -> Schema:
    return _default(struct(conditions=_default(CONDITIONS, waiting), **fields), {"conditions": waiting})


SELECTOR = struct(
    matchLabels=mapping(TEXT),
    matchExpressions=array(struct(required=("key", "operator"), key=TEXT, operator=TEXT, values=array(TEXT))),
)
OPTIONS = mapping(_text(4096, least=0), maxProperties=16)
SECRET_REFERENCE = struct(
    required=("name",), group=_group(""), kind=_kind("Secret"), name=OBJECT_NAME, namespace=NAMESPACE
)
_SAME = {"from": "Same"}
_NAMESPACES: dict[str, Any] = {"from": _default(choice("All", "Selector", "Same"), "Same"), "selector": SELECTOR}
LISTENER = struct(
    required=("name", "port", "protocol"),
    name=SECTION,
    hostname=HOSTNAME,
    port=PORT,
    protocol={
        **_text(255),
        "pattern": rf"^[a-zA-Z0-9]([-a-zA-Z0-9]*[a-zA-Z0-9])?$|{_DNS_NAME}\/[A-Za-z0-9]+$",
    },
    tls=ruled(
        struct(
            mode=_default(choice("Terminate", "Passthrough"), "Terminate"),
            certificateRefs=_list(SECRET_REFERENCE, 64),
            options=OPTIONS,
        ),
        rule("certificateRefs or options must be specified when mode is Terminate", "has-certificate"),
    ),
    allowedRoutes=_default(
        struct(
            namespaces=_default(struct(**_NAMESPACES), _SAME),
            kinds=_list(struct(required=("kind",), group=_group(GROUP), kind=_kind()), 8),
        ),
        {"namespaces": _SAME},
    ),
)
LISTENERS = ruled(
    _keyed(LISTENER, 64, "name", minItems=1),
    rule(
        "tls must not be specified for protocols ['HTTP', 'TCP', 'UDP']",
        "listener-without",
        "tls",
        "HTTP",
        "TCP",
        "UDP",
    ),
    rule("tls mode must be Terminate for protocol HTTPS", "https-terminates"),
    rule("tls mode must be set for protocol TLS", "tls-has-mode"),
    rule("hostname must not be specified for protocols ['TCP', 'UDP']", "listener-without", "hostname", "TCP", "UDP"),
    rule("Listener name must be unique within the Gateway", "distinct", "name"),
    rule(
        "Combination of port, protocol and hostname must be unique for each listener",
        "distinct",
        "port",
        "protocol",
        "hostname",
    ),
)
ANYTHING: Schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
_ADDRESS_TYPE = {
    **_text(253, default="IPAddress"),
    "pattern": rf"^Hostname|IPAddress|NamedAddress|{_DNS_NAME}\/[A-Za-z0-9\/\-._~%!$&'()*+,;=:]+$",
}
ADDRESS = struct(type=_ADDRESS_TYPE, value=_text(253, least=0))
GATEWAY = struct(
    required=("gatewayClassName", "listeners"),
    gatewayClassName=OBJECT_NAME,
    listeners=LISTENERS,
    addresses=_list(ADDRESS, 16),
    infrastructure=struct(
        annotations=mapping(_text(4096, least=0), maxProperties=16),
        labels=mapping(_text(63, "(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?", least=0), maxProperties=8),
        parametersRef=LOCAL_REFERENCE,
    ),
    allowedListeners=ANYTHING,
    tls=ANYTHING,
)
GATEWAY_STATUS = _gateway_status(
    _waiting("Accepted", "Programmed"),
    addresses=_list(struct(required=("value",), type=_ADDRESS_TYPE, value=_text(253)), 16),
    attachedListenerSets=INT32,
    listeners=_keyed(
        struct(
            required=("attachedRoutes", "conditions", "name"),
            name=SECTION,
            attachedRoutes=INT32,
            conditions=CONDITIONS,
            supportedKinds=_list(struct(required=("kind",), group=_group(GROUP), kind=_kind()), 8),
        ),
        64,
        "name",
    ),
)
GATEWAY_CLASS = struct(
    required=("controllerName",),
    controllerName=CONTROLLER,
    description=_text(64, least=0),
    parametersRef=struct(
        required=("group", "kind", "name"), group=_group(), kind=_kind(), name=OBJECT_NAME, namespace=NAMESPACE
    ),
)
GATEWAY_CLASS_STATUS = _gateway_status(
    _waiting("Accepted"), supportedFeatures=_keyed(struct(required=("name",), name=TEXT), 64, "name")
)


def _resource(
    kind: str,
    plural: str,
    spec: Schema,
    status: Schema | None,
    *columns: tuple[str, str],
    versions: tuple[str, ...] = ("v1", "v1beta1"),
    short: str = "",
    namespaced: bool = True,
) -> Resource:
    parts: dict[str, Any] = {"spec": spec} if status is None else {"spec": spec, "status": status}
    return Resource(
        group=GROUP,
        versions=versions,
        kind=kind,
        plural=plural,
        namespaced=namespaced,
        short_names=(short,) if short else (),
        categories=("gateway-api",),
        has_status=status is not None,
        has_generation=True,
        unconditional_update=False,
        schema=struct(required=("spec",), **parts),
        columns=(*(Column(name, path=path) for name, path in columns), Column("Age", "date", path=AGE)),
    )


_HOSTNAMES = ("Hostnames", ".spec.hostnames")
GATEWAY_API_RESOURCES = (
    _resource(
        "GatewayClass",
        "gatewayclasses",
        GATEWAY_CLASS,
        GATEWAY_CLASS_STATUS,
        ("Controller", ".spec.controllerName"),
        ("Accepted", '.status.conditions[?(@.type=="Accepted")].status'),
        short="gc",
        namespaced=False,
    ),
    _resource(
        "Gateway",
        "gateways",
        GATEWAY,
        GATEWAY_STATUS,
        ("Class", ".spec.gatewayClassName"),
        ("Address", ".status.addresses[*].value"),
        ("Programmed", '.status.conditions[?(@.type=="Programmed")].status'),
        short="gtw",
    ),
    _resource("HTTPRoute", "httproutes", HTTP_ROUTE, ROUTE_STATUS, _HOSTNAMES),
    _resource("GRPCRoute", "grpcroutes", GRPC_ROUTE, ROUTE_STATUS, _HOSTNAMES, versions=("v1",)),
    _resource("TCPRoute", "tcproutes", TCP_ROUTE, ROUTE_STATUS, versions=("v1",)),
    _resource("TLSRoute", "tlsroutes", TLS_ROUTE, ROUTE_STATUS, versions=("v1",)),
    _resource("ReferenceGrant", "referencegrants", REFERENCE_GRANT, None, versions=("v1beta1", "v1"), short="refgrant"),
)
