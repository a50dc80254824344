"""
One entry of a VirtualService's `http`: what excludes what, and everything that is done to its requests.

Sources: Istio, pkg/config/validation/virtualservice.go (validateHTTPRoute) and validation.go.
"""

from __future__ import annotations

import base64
import re
from http import HTTPStatus
from typing import Any

from canaryd.lab.kubernetes.durations import nanoseconds
from canaryd.lab.kubernetes.status import Object
from canaryd.lab.kubernetes.webhook import headers
from canaryd.lab.kubernetes.webhook.destinations import destination, destinations, int32
from canaryd.lab.kubernetes.webhook.matches import cors_header_name, http_matches, regex, regex_match
from canaryd.lab.kubernetes.webhook.problems import Problems, listed, quoted, warning, wrong
from canaryd.lab.kubernetes.webhook.values import duration, percentage, port
from canaryd.model.failures import GRPC

_CORS_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "CONNECT", "OPTIONS", "TRACE", "*")
_RETRY_ON = {
    "5xx",
    "gateway-error",
    "reset",
    "reset-before-request",
    "connect-failure",
    "retriable-4xx",
    "refused-stream",
    "retriable-status-codes",
    "retriable-headers",
    "envoy-ratelimited",
    "http3-post-connect-failure",
    "cancelled",
    "deadline-exceeded",
    "internal",
    "resource-exhausted",
    "unavailable",
}
# Python's list is Go's. Source: Go, net/http/status.go.
_HTTP_STATUSES = {one.value for one in HTTPStatus}


def http_route(entry: Object, *, delegate: bool) -> Problems:
    """`delegate`: the VirtualService has no hosts, it is one to which others delegate."""
    matches = [one or {} for one in entry.get("match") or []]
    route = [one or {} for one in entry.get("route") or []]
    yield from _conflicts(entry, delegate=delegate)
    yield from http_matches(matches)
    yield from headers.operations(entry.get("headers"))
    yield from _cors(entry.get("corsPolicy"))
    yield from _fault(entry.get("fault"))
    yield from _mirror_percent(entry)
    yield from _mirror_percentage(entry.get("mirrorPercentage"), "mirror_percentage")
    yield from destination(entry.get("mirror"))
    yield from _mirrors(entry.get("mirrors") or [])
    yield from _redirect(entry.get("redirect"), matches)
    yield from _direct_response(entry.get("directResponse"))
    yield from _retries(entry.get("retries"))
    yield from _rewrite(entry.get("rewrite"))
    yield from headers.authority(entry.get("rewrite"), entry.get("headers"))
    yield from destinations(route)
    yield from duration(entry.get("timeout"))


def _conflicts(entry: Object, *, delegate: bool) -> Problems:
    """A root delegates and does nothing else; every other entry does exactly one of three things."""
    if entry.get("delegate") is not None and not delegate:
        name = entry.get("name") or ""
        if entry.get("redirect") is not None:
            yield wrong(f"root HTTP route {name} must not specify redirect")
        if entry.get("route"):
            yield wrong(f"root HTTP route {name} must not specify route")
        return
    if entry.get("delegate") is not None:
        yield wrong("delegate HTTP route cannot contain delegate")
    if entry.get("redirect") is not None:
        yield from _excluded(entry, "redirect")
        if entry.get("directResponse") is not None:
            yield wrong("HTTP route rule cannot contain both direct_response and redirect")
    elif entry.get("directResponse") is not None:
        yield from _excluded(entry, "direct_response")
    elif not entry.get("route"):
        yield wrong("HTTP route, redirect or direct_response is required")
    if entry.get("mirror") is not None and entry.get("mirrors"):
        yield wrong("HTTP route cannot contain both mirror and mirrors")


def _excluded(entry: Object, answer: str) -> Problems:
    if entry.get("route"):
        yield wrong(f"HTTP route cannot contain both route and {answer}")
    if entry.get("fault") is not None:
        yield wrong(f"HTTP route cannot contain both fault and {answer}")
    if entry.get("rewrite") is not None:
        yield wrong(f"HTTP route rule cannot contain both rewrite and {answer}")


def _cors(policy: Object | None) -> Problems:
    if policy is None:
        return
    for origin in policy.get("allowOrigins") or []:
        if not any((origin or {}).get(kind) for kind in ("exact", "prefix", "regex")):
            yield wrong("'' is not a valid match type for CORS allow origins")
        else:
            yield from regex_match(origin, "corsPolicy.allowOrigins")
    for method in policy.get("allowMethods") or []:
        if method not in _CORS_METHODS:
            yield wrong(f"{quoted(method)} is not a supported HTTP method")
    for field in ("allowHeaders", "exposeHeaders"):
        for name in policy.get(field) or []:
            yield from cors_header_name(name)
    if policy.get("maxAge") is not None:
        yield from duration(policy["maxAge"])
        if _fraction(nanoseconds(policy["maxAge"])) > 0:
            yield listed("max_age duration is accurate only to seconds precision")


def _fraction(length: int) -> int:
    """`nanos` of a protobuf Duration: of the sign of the whole."""
    return length % 10**9 if length >= 0 else -(-length % 10**9)


def _fault(fault: Object | None) -> Problems:
    if fault is None:
        return
    abort, delay = fault.get("abort"), fault.get("delay")
    if abort is None and delay is None:
        yield listed("HTTP fault injection must have an abort and/or a delay")
    if abort is not None:
        yield from percentage(abort.get("percentage"))
        if "grpcStatus" in abort:
            yield from _grpc_status(abort["grpcStatus"])
        elif "http2Error" in abort:
            yield wrong("HTTP/2 abort fault injection not supported yet")
        elif "httpStatus" in abort:
            yield from _http_status(int(abort["httpStatus"]))
    if delay is not None:
        yield from percentage(delay.get("percentage"))
        yield from duration(delay.get("fixedDelay"))
        if "exponentialDelay" in delay:
            yield from duration(delay["exponentialDelay"])
            yield listed("exponentialDelay not supported yet")


def _http_status(status: int) -> Problems:
    """600 passes, although the text says otherwise."""
    if not 200 <= status <= 600:
        yield wrong(f"HTTP status {status} is not in range 200-599")


def _grpc_status(status: str) -> Problems:
    if status not in GRPC:
        where = "See https://github.com/grpc/grpc/blob/master/doc/statuscodes.md for a list of supported codes"
        yield wrong(f"gRPC status {quoted(status)} is not supported. {where}, for example 'NOT_FOUND'")


def _mirror_percent(entry: Object) -> Problems:
    """The old spelling, in both its forms."""
    value = entry.get("mirrorPercent")
    value = entry.get("mirror_percent") if value is None else value
    if value is None:
        return
    if value > 100:
        yield wrong(f"mirror_percent must have a max value of 100 (it has {int(value)})")
    yield warning('using deprecated setting "mirrorPercent", use "mirrorPercentage" instead')


def _mirror_percentage(found: Object | None, name: str) -> Problems:
    value = float((found or {}).get("value") or 0)
    if value > 100:
        yield wrong(f"{name} must have a max value of 100 (it has {value:f})")
    if value < 0:
        yield wrong(f"{name} must have a min value of 0 (it has {value:f})")


def _mirrors(mirrors: list[Any]) -> Problems:
    for mirror in mirrors:
        if (mirror or {}).get("destination") is None:
            yield wrong("destination is required for mirrors")
            continue
        yield from destination(mirror["destination"])
        yield from _mirror_percentage(mirror.get("percentage"), "mirror percentage")


def _redirect(redirect: Object | None, matches: list[Object]) -> Problems:
    """Only the first thing that is wrong is told."""
    if redirect is None:
        return
    refusal = _redirect_refusal(redirect, matches)
    if refusal:
        yield wrong(refusal)
    elif redirect.get("port"):
        yield from port(int(redirect["port"]))


def _redirect_refusal(redirect: Object, matches: list[Object]) -> str:
    uri, prefix = redirect.get("uri"), redirect.get("prefixRewrite")
    if uri and prefix:
        return "redirect may only specify one of uri or prefix_rewrite"
    if prefix and any(match.get("uri") is not None and "prefix" not in match["uri"] for match in matches):
        return "redirect prefix_rewrite requires all URI matches to use prefix match type"
    to_port = "port" in redirect or "derivePort" in redirect
    if not (uri or prefix or redirect.get("authority") or to_port or redirect.get("scheme")):
        return "redirect must specify URI, authority, scheme, or port"
    code = int(redirect.get("redirectCode") or 0)
    if code and not 300 <= code <= 399:
        return f"{code} is not a valid redirect code, must be 3xx"
    if redirect.get("scheme") not in (None, "", "http", "https"):
        return 'invalid redirect scheme, must be "http" or "https"'
    return ""


_LARGE, _TOO_LARGE = 100 * 1024, 1024 * 1024


def _direct_response(response: Object | None) -> Problems:
    if response is None:
        return
    size = _body_size(response.get("body") or {})
    if size > _TOO_LARGE:
        yield wrong("large direct_responses may impact control plane performance, must be less than 1MB")
    elif size > _LARGE:
        yield warning("large direct_responses may impact control plane performance")
    yield from _http_status(int32(int(response.get("status") or 0)))


def _body_size(body: Object) -> int:
    if "bytes" in body:
        return len(base64.b64decode(body["bytes"]))
    return len((body.get("string") or "").encode())


def _retries(retries: Object | None) -> Problems:
    if retries is None:
        return
    attempts = int(retries.get("attempts") or 0)
    if attempts < 0:
        yield listed("attempts cannot be negative")
    told = retries.get("perTryTimeout") is not None or retries.get("retryOn")
    if attempts == 0 and (told or retries.get("retryRemoteLocalities") is not None):
        yield wrong("http retry policy configured when attempts are set to 0 (disabled)")
    yield from duration(retries.get("perTryTimeout"))
    for policy in (retries.get("retryOn") or "").split(",") if retries.get("retryOn") else ():
        if policy not in _RETRY_ON and not _is_http_status(policy):
            yield wrong(f"{quoted(policy)} is not a valid retryOn policy")
    yield from duration(retries.get("backoff"))


def _is_http_status(text: str) -> bool:
    return re.fullmatch(r"\+?0*[0-9]{3}", text) is not None and int(text) in _HTTP_STATUSES


def _rewrite(rewrite: Object | None) -> Problems:
    """Only the first thing that is wrong is told."""
    if rewrite is None:
        return
    by_regex = rewrite.get("uriRegexRewrite")
    if rewrite.get("uri") and by_regex is not None:
        yield wrong("rewrite may only contain one of URI or UriRegexRewrite")
    elif not rewrite.get("uri") and by_regex is None and not rewrite.get("authority"):
        one_of = "rewrite must specify at least one of URI, UriRegexRewrite, or authority."
        yield wrong(f"{one_of} Only one of URI or UriRegexRewrite may be specified")
    elif by_regex is not None:
        for problem in _regex_rewrite(by_regex):
            yield wrong(f"UriRegexRewrite has errors\n{problem.text}")


def _regex_rewrite(found: Object) -> Problems:
    if not found.get("match") or not found.get("rewrite"):
        yield wrong("UriRegexRewrite requires both Rewrite and Match fields to be specified")
        return
    yield from regex(found["match"], "HTTPRewrite.UriRegexRewrite.Match")
