"""
What an http entry does with a request: send it on, answer it, or send the client elsewhere.

Source: Istio pilot/pkg/networking/core/route/route.go (applyHTTPRouteDestination, ApplyRedirect, ApplyDirectResponse).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from canaryd.errors import Rejected
from canaryd.lab.istiod.clusters import hash_policy_of
from canaryd.lab.istiod.headers import header_changes, with_more
from canaryd.lab.istiod.objects import only, seconds
from canaryd.lab.istiod.percentages import of_integer, of_percent
from canaryd.lab.istiod.retries import retry_policy
from canaryd.lab.istiod.vantage import Vantage

Json = dict[str, Any]

REDIRECT_CODES = {
    301: "MOVED_PERMANENTLY",
    302: "FOUND",
    303: "SEE_OTHER",
    307: "TEMPORARY_REDIRECT",
    308: "PERMANENT_REDIRECT",
}
PREFIX = "%PREFIX()%"  # how Istio writes an HTTPRoute's ReplacePrefixMatch in a redirect
OWN_PORTS = {"http": 80, "https": 443}


def plain_action(cluster: str) -> Json:
    """What Istio does with a request to a host of which no VirtualService speaks."""
    return {"cluster": cluster, **_timeout(None, ""), "retry_policy": retry_policy(None, "")}


def apply_action(route: Json, entry: Json, vantage: Vantage, where: str, *, gateway_api: bool = False) -> None:
    """Give an Envoy route its action, and the changes to headers that belong to it."""
    changes, authority = header_changes(entry.get("headers"), where)
    with_more(route, changes)
    if entry.get("redirect") is not None:
        route["redirect"] = _redirect(entry["redirect"], vantage, f"{where}, redirect", gateway_api=gateway_api)
    elif entry.get("directResponse") is not None:
        route["direct_response"] = _direct_response(entry["directResponse"], f"{where}, directResponse")
    elif entry.get("route"):
        route["route"] = _forward(route, entry, authority, vantage, where, gateway_api=gateway_api)
    else:
        raise Rejected(f"{where}: needs one of `route`, `redirect`, `directResponse`, `delegate`")


def _forward(route: Json, entry: Json, authority: str, vantage: Vantage, where: str, *, gateway_api: bool) -> Json:
    action = _timeout(entry.get("timeout"), where)
    if gateway_api:
        action["cluster_not_found_response_code"] = "INTERNAL_SERVER_ERROR"
    authority = _rewrite(action, route["match"], entry.get("rewrite") or {}, where, gateway_api) or authority
    if authority:
        action["host_rewrite_literal"] = authority
    mirrors = list(_mirrors(entry, vantage, where))
    if mirrors:
        action["request_mirror_policies"] = mirrors
    hashed = _send(route, action, entry["route"], vantage, where)
    retry = retry_policy(entry.get("retries"), where, hashed=hashed)
    return {**action, **({"retry_policy": retry} if retry else {})}


def _timeout(timeout: str | None, where: str) -> Json:
    """No timeout unless one is asked for; a gRPC request's own deadline counts, up to that."""
    duration = seconds(timeout, f"{where}, timeout") if timeout else "0s"
    return {"timeout": duration, "max_grpc_timeout": duration}


def _rewrite(action: Json, match: Json, rewrite: Json, where: str, gateway_api: bool) -> str:
    """Put the rewrite of the path into the action; returns the new authority, if any."""
    only(rewrite, {"uri", "authority", "uriRegexRewrite"}, f"{where}, rewrite")
    by_regex, uri = rewrite.get("uriRegexRewrite"), rewrite.get("uri") or ""
    if by_regex:
        action["regex_rewrite"] = {
            "pattern": {"regex": by_regex.get("match", "")},
            "substitution": by_regex.get("rewrite", ""),
        }
    elif uri == "/" and gateway_api:
        prefix = re.escape(match.get("path_separated_prefix", ""))
        action["regex_rewrite"] = {"pattern": {"regex": f"^{prefix}(/?)(.*)"}, "substitution": r"/\2"}
    elif uri:
        action["prefix_rewrite"] = uri
    return rewrite.get("authority") or ""


def _mirrors(entry: Json, vantage: Vantage, where: str) -> Iterator[Json]:
    """Absent percentages are 100, a zero that was written means none."""
    if entry.get("mirror"):
        share = _mirror_share(entry)
        if share:
            yield _mirror(entry["mirror"], share, vantage, f"{where}, mirror")
    for index, each in enumerate(entry.get("mirrors") or []):
        here = f"{where}, mirrors[{index}]"
        only(each, {"destination", "percentage"}, here)
        percentage = each.get("percentage")
        share = of_integer(100) if percentage is None else of_percent(percentage)
        if each.get("destination") and (percentage is None or (percentage.get("value") or 0) > 0):
            yield _mirror(each["destination"], share, vantage, here)


def _mirror_share(entry: Json) -> Json | None:
    if entry.get("mirrorPercentage") is not None:
        value = entry["mirrorPercentage"].get("value") or 0
        return of_percent(entry["mirrorPercentage"]) if value > 0 else None
    for old in ("mirrorPercent", "mirror_percent"):
        if entry.get(old) is not None:
            return of_integer(entry[old]) if entry[old] > 0 else None
    return of_integer(100)


def _mirror(destination: Json, share: Json, vantage: Vantage, where: str) -> Json:
    return {
        "cluster": vantage.cluster(destination, where),
        "runtime_fraction": {"default_value": share},
        "trace_sampled": False,
    }


def _send(route: Json, action: Json, destinations: list[Json], vantage: Vantage, where: str) -> bool:
    """Choose the clusters of an action. Returns whether a consistent hash chooses the host of the only destination."""
    shares = []
    for index, each in enumerate(destinations):
        here = f"{where}.route[{index}]"
        only(each, {"destination", "weight", "headers"}, here)
        weight = each.get("weight") or 0
        if weight < 0:
            raise Rejected(f"{here}: the weight {weight} is negative")
        if len(destinations) > 1 and weight == 0:
            continue  # of several, one at 0 is left out with all that it says
        cluster = vantage.cluster(each["destination"], here)
        changes, authority = header_changes(each.get("headers"), here)
        hashed = _hash_policies(each["destination"], vantage)
        if hashed:
            action["hash_policy"] = [*action.get("hash_policy", []), *hashed]
        if len(destinations) == 1:  # it takes everything, whatever its weight
            action["cluster"] = cluster
            with_more(route, changes)
            if authority:
                action.setdefault("host_rewrite_literal", authority)
            return bool(hashed)
        rewrite = {"host_rewrite_literal": authority} if authority else {}
        shares.append({"name": cluster, "weight": weight, **changes, **rewrite})
    if not shares:
        raise Rejected(f"{where}: the weights of several destinations must not all be 0")
    action["weighted_clusters"] = {"clusters": shares}
    return False


def _hash_policies(destination: Json, vantage: Vantage) -> list[Json]:
    """Settings for a port hold only where the destination names it."""
    port = (destination.get("port") or {}).get("number") or 0
    host, subset = destination.get("host", ""), destination.get("subset") or ""
    return hash_policy_of(host, subset, port, vantage.registry, vantage.proxy)


def _redirect(redirect: Json, vantage: Vantage, where: str, *, gateway_api: bool) -> Json:
    only(redirect, {"uri", "prefixRewrite", "authority", "port", "derivePort", "scheme", "redirectCode"}, where)
    action: Json = {}
    uri = redirect.get("uri") or ""
    if redirect.get("prefixRewrite"):
        action["prefix_rewrite"] = redirect["prefixRewrite"]
    elif gateway_api and uri.startswith(PREFIX):
        action["prefix_rewrite"] = uri.removeprefix(PREFIX)
    elif uri:
        action["path_redirect"] = uri
    if redirect.get("authority"):
        action["host_redirect"] = redirect["authority"]
    if redirect.get("scheme"):
        action["scheme_redirect"] = redirect["scheme"]
    # Envoy cannot take the port from the request; Istio writes the listener's
    derived = vantage.port if redirect.get("derivePort") == "FROM_REQUEST_PORT" else 0
    port = redirect.get("port") or derived
    if port and port != OWN_PORTS.get(redirect.get("scheme") or ("https" if vantage.tls else "http")):
        action["port_redirect"] = port
    code = redirect.get("redirectCode") or 301
    if code not in REDIRECT_CODES:
        raise Rejected(f"{where}: redirectCode {code} is none of {', '.join(map(str, REDIRECT_CODES))}")
    return {**action, "response_code": REDIRECT_CODES[code]}


def _direct_response(response: Json, where: str) -> Json:
    only(response, {"status", "body"}, where)
    body = response.get("body") or {}
    only(body, {"string", "bytes"}, f"{where}.body")
    action: Json = {"status": response["status"]}
    if body.get("string") is not None:
        action["body"] = {"inline_string": body["string"]}
    elif body.get("bytes") is not None:
        action["body"] = {"inline_bytes": body["bytes"]}  # base64 in both
    return action
