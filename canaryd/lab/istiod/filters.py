"""
What an entry tells the client's HTTP filters before its request is routed: faults and CORS.

Faults come before the router, therefore an aborted request is never retried, and a delay counts against no timeout.

Source: Istio pilot/pkg/networking/core/route/route.go (TranslateFault, TranslateCORSPolicy).
"""

from __future__ import annotations

from typing import Any

from canaryd.errors import Rejected
from canaryd.lab.istiod.matches import string_matcher
from canaryd.lab.istiod.objects import only, seconds
from canaryd.lab.istiod.percentages import of_integer, of_percent
from canaryd.model.failures import GRPC

Json = dict[str, Any]

FAULT, CORS = "envoy.filters.http.fault", "envoy.filters.http.cors"
TYPES = "type.googleapis.com/envoy.extensions.filters.http"
CORS_FIELDS = {
    "allowOrigins",
    "allowOrigin",
    "allowMethods",
    "allowHeaders",
    "exposeHeaders",
    "maxAge",
    "allowCredentials",
    "unmatchedPreflights",
}


def per_filter_config(entry: Json, where: str) -> Json:
    """`typed_per_filter_config` of an entry's routes."""
    config: Json = {}
    if entry.get("fault") is not None:
        config[FAULT] = {"@type": f"{TYPES}.fault.v3.HTTPFault", **_fault(entry["fault"], where)}
    if entry.get("corsPolicy") is not None:
        config[CORS] = {"@type": f"{TYPES}.cors.v3.CorsPolicy", **_cors(entry["corsPolicy"], where)}
    return config


def _fault(fault: Json, where: str) -> Json:
    """Without a percentage nothing is injected: Istio's default is none, not all."""
    only(fault, {"delay", "abort"}, f"{where}, fault")
    result: Json = {}
    if fault.get("delay") is not None:
        delay = fault["delay"]
        only(delay, {"fixedDelay", "percentage", "percent"}, f"{where}, fault.delay")
        result["delay"] = {
            "fixed_delay": seconds(str(delay.get("fixedDelay")), f"{where}, fault.delay.fixedDelay"),
            "percentage": _share(delay),
        }
    if fault.get("abort") is not None:
        abort = fault["abort"]
        only(abort, {"httpStatus", "grpcStatus", "percentage"}, f"{where}, fault.abort")
        result["abort"] = {**_status(abort, where), "percentage": _share(abort)}
    return result


def _share(fault: Json) -> Json:
    if fault.get("percentage") is not None:
        return of_percent(fault["percentage"])
    return of_integer(fault.get("percent") or 0)


def _status(abort: Json, where: str) -> Json:
    if abort.get("grpcStatus"):
        name = abort["grpcStatus"]
        if name not in GRPC:
            raise Rejected(f"{where}, fault.abort.grpcStatus: {name!r} is none of {', '.join(GRPC)}")
        return {"grpc_status": GRPC.index(name)}
    if not abort.get("httpStatus"):
        raise Rejected(f"{where}, fault.abort: needs `httpStatus` or `grpcStatus`")
    return {"http_status": abort["httpStatus"]}


def _cors(policy: Json, where: str) -> Json:
    here = f"{where}, corsPolicy"
    only(policy, CORS_FIELDS, here)
    origins = [string_matcher(each, f"{here}.allowOrigins") for each in policy.get("allowOrigins") or []]
    result: Json = {
        "allow_origin_string_match": origins or [{"exact": each} for each in policy.get("allowOrigin") or []],
        "allow_methods": ",".join(policy.get("allowMethods") or []),
        "allow_headers": ",".join(policy.get("allowHeaders") or []),
        "expose_headers": ",".join(policy.get("exposeHeaders") or []),
        "filter_enabled": {"default_value": of_integer(100)},
        # Istio's default: a preflight that fits no origin is the application's to answer
        "forward_not_matching_preflights": policy.get("unmatchedPreflights") != "IGNORE",
    }
    if policy.get("maxAge"):
        result["max_age"] = str(int(float(seconds(policy["maxAge"], f"{here}.maxAge").rstrip("s"))))
    if policy.get("allowCredentials") is not None:
        result["allow_credentials"] = policy["allowCredentials"]
    return {key: value for key, value in result.items() if value not in ("", [])}
