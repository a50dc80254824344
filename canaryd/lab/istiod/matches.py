"""
Matches: what a request must be for an entry of a VirtualService to take it.

Source: Istio pilot/pkg/networking/core/route/route.go (TranslateRouteMatch, sourceMatchHTTP, IsCatchAllRoute).
"""

from __future__ import annotations

from typing import Any

from canaryd.errors import Rejected
from canaryd.lab.istiod.objects import only
from canaryd.lab.istiod.vantage import Vantage

Json = dict[str, Any]

MATCH_FIELDS = {
    "name",
    "uri",
    "ignoreUriCase",
    "method",
    "authority",
    "scheme",
    "headers",
    "withoutHeaders",
    "queryParams",
    "port",
    "sourceLabels",
    "sourceNamespace",
    "gateways",
    "statPrefix",  # statistics of Envoy's own, no traffic
}
CLAIMS = "@request.auth.claims"  # not a header: what a JWT says


def meant_for(match: Json, vantage: Vantage) -> bool:
    """
    Whether a match is for this listener: `port`, `gateways`, `sourceLabels` and `sourceNamespace` choose proxies.

    They are no conditions on requests. With `gateways` Istio does not look at the labels and the namespace.
    """
    if match.get("port") and match["port"] != vantage.port:
        return False
    if match.get("gateways"):
        return vantage.gateway in match["gateways"]
    labels = match.get("sourceLabels") or {}
    proxy = vantage.proxy
    return (
        labels.items() <= proxy.labels.items() and (match.get("sourceNamespace") or proxy.namespace) == proxy.namespace
    )


def match_of(match: Json, where: str, *, gateway_api: bool = False) -> Json:
    """
    Envoy's route match. With `gateway_api` a prefix ends at a slash, as the Gateway API wants it.

    Raises Rejected for a field that is not translated.
    """
    only(match, MATCH_FIELDS, f"{where}, match")
    result: Json = _path(match.get("uri"), where, gateway_api=gateway_api)
    if match.get("ignoreUriCase"):
        result["case_sensitive"] = False
    headers, claims = [], []
    for field, inverted in (("headers", False), ("withoutHeaders", True)):
        for name, value in (match.get(field) or {}).items():
            path = _claim(name)
            if path:
                claims.append(_metadata(path, value or {}, where, inverted=inverted))
            else:
                matcher = _header(name, value, where)
                headers.append(_inverted(matcher) if inverted else matcher)
    headers.sort(key=lambda each: str(each["name"]))
    pseudo = (each for each in ("method", "authority", "scheme") if match.get(each) is not None)
    headers += [_header(f":{each}", match[each], where) for each in pseudo]
    queries = [_query(name, value, where) for name, value in sorted((match.get("queryParams") or {}).items())]
    more = {"headers": headers, "query_parameters": queries, "dynamic_metadata": claims}
    return {**result, **{field: values for field, values in more.items() if values}}


def _path(uri: Json | None, where: str, *, gateway_api: bool) -> Json:
    if not uri:
        return {"prefix": "/"}
    kind, value = _string(uri, f"{where}, uri")
    if kind == "prefix" and gateway_api and value != "/":
        return {"path_separated_prefix": value.removesuffix("/")}
    return {"safe_regex": {"regex": value}} if kind == "regex" else {{"exact": "path", "prefix": "prefix"}[kind]: value}


def _is_presence(value: Json | None) -> bool:
    """`{}` asks for presence, and so does the regex `*`, which is none."""
    return not value or value in ({"prefix": ""}, {"regex": "*"})


def _header(name: str, value: Json | None, where: str) -> Json:
    if value is None or _is_presence(value):
        return {"name": name, "present_match": True}
    return {"name": name, "string_match": string_matcher(value, f"{where}, header {name}")}


def _inverted(matcher: Json) -> Json:
    missing = {} if "present_match" in matcher else {"treat_missing_header_as_empty": True}
    return {**matcher, "invert_match": True, **missing}


def _query(name: str, value: Json | None, where: str) -> Json:
    if value is None or _is_presence(value):
        return {"name": name, "present_match": True}
    return {"name": name, "string_match": string_matcher(value, f"{where}, query parameter {name}")}


def string_matcher(value: Json, where: str) -> Json:
    """Envoy's matcher for `{exact: …}`, `{prefix: …}` or `{regex: …}`; the last must fit the whole string (RE2)."""
    kind, text = _string(value, where)
    return {"safe_regex": {"regex": text}} if kind == "regex" else {kind: text}


def _string(value: Json, where: str) -> tuple[str, str]:
    if len(value) != 1 or next(iter(value)) not in ("exact", "prefix", "regex"):
        raise Rejected(f"{where}: expected one of exact, prefix, regex, got {', '.join(value)}")
    return next(iter(value.items()))


def _claim(header: str) -> list[str]:
    """The path of a JWT's claim: `@request.auth.claims.group.id` or `@request.auth.claims[group][id]`."""
    if not header.lower().startswith(CLAIMS):
        return []
    rest = header[len(CLAIMS) :]
    if rest.startswith(".") and len(rest) > 1:
        return rest[1:].split(".")
    if rest.startswith("[") and rest.endswith("]") and len(rest) > 2:
        return rest[1:-1].split("][")
    return []


def _metadata(claim: list[str], value: Json, where: str, *, inverted: bool) -> Json:
    """What the JWT filter would have found. The lab has none, so that no request has any claim."""
    text = {"string_match": string_matcher(value, f"{where}, claim {'.'.join(claim)}")}
    return {
        "filter": "envoy.filters.http.jwt_authn",
        "path": [{"key": key} for key in ("payload", *claim)],
        "value": {"or_match": {"value_matchers": [{"list_match": {"one_of": text}}, text]}},
        **({"invert": True} if inverted else {}),
    }


def catches_all(match: Json) -> bool:
    """Whether every request fits, as Istio sees it: `/` as prefix or `.*` as regex, and no other condition."""
    path = match.get("prefix") == "/" or match.get("safe_regex", {}).get("regex") == ".*"
    return path and not any(match.get(more) for more in ("headers", "query_parameters", "dynamic_metadata"))
