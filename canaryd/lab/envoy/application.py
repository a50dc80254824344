"""
What a pod's container does: it answers, and may call other services first.

The application is Envoy too, so no request waits for Python. It answers `{"app": ..., "version": ...}` and says in
headers what reached it (`x-lab-path`, `x-lab-method`, `x-lab-authority`; with `x-lab-echo` in the request also
`x-lab-request-headers`, all of them as a JSON object). What it calls is told by an annotation on its pods, carried out
by Envoy's Lua filter through the pod's own sidecar, one call after the other as Bookinfo's applications do, and told
in `x-lab-calls` (`details=v1:200,reviews=v3:200,ratings=v1:200`).

A request with `x-lab-alone` is answered without a call: so an application can be asked for itself, and two versions be
the same though one of them calls somebody.

The annotation holds URLs, separated by spaces: `http://reviews:9080/reviews/0#tries=2` is called once more when it
fails; `#required` fails the answer with it (503), otherwise a failure is hidden, as Bookinfo hides it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from canaryd.errors import Rejected
from canaryd.lab.envoy.resources import extension, header
from canaryd.lab.envoy.statistics import Peer

Json = dict[str, Any]

CALLS = "lab.canaryd.io/calls"  # the annotation
CALLS_HEADER = "x-lab-calls"
ALONE_HEADER = "x-lab-alone"
PATIENCE = 3000  # ms that Bookinfo's productpage waits for a service
LUA = "envoy.filters.http.lua"
# What Bookinfo's applications hand on. Source: samples/bookinfo/src/productpage/productpage.py, getForwardHeaders
HANDED_ON = (
    "x-request-id",
    "x-ot-span-context",
    "x-datadog-trace-id",
    "x-datadog-parent-id",
    "x-datadog-sampling-priority",
    "traceparent",
    "tracestate",
    "x-cloud-trace-context",
    "grpc-trace-bin",
    "x-b3-traceid",
    "x-b3-spanid",
    "x-b3-parentspanid",
    "x-b3-sampled",
    "x-b3-flags",
    "b3",
    "sw8",
    "user-agent",
    "end-user",
    "cookie",
    "authorization",
    "jwt",
)


@dataclass(frozen=True, slots=True)
class Call:
    """One call of an application: GET `path` of `host:port`, at most `tries` times."""

    host: str
    port: int
    path: str
    tries: int = 1
    required: bool = False


def calls_of(annotation: str, where: str) -> tuple[Call, ...]:
    """Read the annotation. Raises Rejected with `where` it stands and what is wrong."""
    return tuple(_call(each, where) for each in annotation.split())


def _call(url: str, where: str) -> Call:
    try:
        parts = urlsplit(url)
        options = dict(each.partition("=")[::2] for each in parts.fragment.split("&") if each)
        tries = int(options.pop("tries", "1"))
        required = options.pop("required", None) == ""
        port = parts.port or 80
        fine = parts.scheme == "http" and parts.hostname and 1 <= tries <= 5 and not options
    except ValueError:
        fine = False
    if not fine or not parts.hostname:
        raise Rejected(
            f"{where}, annotation {CALLS}: {url!r} is not a call such as http://reviews:9080/reviews/0#tries=2"
        )
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return Call(parts.hostname, port, path, tries, required)


def names(told: Mapping[str, str]) -> Json:
    """The filter that puts headers on every answer, on those of the fault filters too."""
    mutations = {"response_mutations": [{"append": header(name, value)} for name, value in told.items() if value]}
    return extension(
        "envoy.filters.http.header_mutation",
        "extensions.filters.http.header_mutation.v3.HeaderMutation",
        mutations=mutations,
    )


def scripts() -> Json:
    """The Lua filter, asleep until a route of `routes` wakes it."""
    return {**extension(LUA, "extensions.filters.http.lua.v3.Lua"), "disabled": True}


def answer(peer: Peer) -> str:
    """What an application says of itself."""
    return json.dumps({"app": peer.app or peer.workload, "version": peer.version})


def routes(peer: Peer, calls: Iterable[Call], cluster: Callable[[Call], str]) -> Json:
    """The application as a RouteConfiguration. `cluster`: a call -> the way to the pod's own sidecar."""
    called = list(calls)
    plainly: Json = {
        "match": {"prefix": "/"},
        "direct_response": {"status": 200, "body": {"inline_string": answer(peer)}},
        "response_headers_to_add": [
            header("x-lab-path", "%REQ(:PATH)%"),
            header("x-lab-method", "%REQ(:METHOD)%"),
            header("x-lab-authority", "%REQ(:AUTHORITY)%"),
            header("content-type", "application/json"),
        ],
    }
    echoing = {**plainly, "match": _with_header("x-lab-echo"), "typed_per_filter_config": _script(ECHO)}
    alone = {**plainly, "match": _with_header(ALONE_HEADER)}
    plain = {**plainly, "typed_per_filter_config": _script(calling(peer, called, cluster))} if called else plainly
    return {
        "virtual_hosts": [
            {
                "name": "application",
                "domains": ["*"],
                "routes": [
                    # Envoy turns a local reply to a gRPC request into "HTTP 200, grpc-status 2": make it OK.
                    {
                        "match": {"prefix": "/", "grpc": {}},
                        "direct_response": {"status": 200},
                        "response_headers_to_add": [header("grpc-status", "0")],
                    },
                    echoing,
                    *([alone] if called else []),
                    plain,
                ],
            }
        ]
    }


def _with_header(name: str) -> Json:
    return {"prefix": "/", "headers": [{"name": name, "present_match": True}]}


def calling(peer: Peer, calls: Iterable[Call], cluster: Callable[[Call], str]) -> str:
    """The Lua of an application that calls others before it answers."""
    targets = ",\n".join(
        f"  {{service={_lua(each.host.partition('.')[0])}, cluster={_lua(cluster(each))}, path={_lua(each.path)}, "
        f"authority={_lua(f'{each.host}:{each.port}')}, tries={each.tries}, required={str(each.required).lower()}}}"
        for each in calls
    )
    handed_on = ", ".join(map(_lua, HANDED_ON))
    start = answer(peer)[:-1]
    return (
        f"local targets = {{\n{targets}\n}}\nlocal handed_on = {{{handed_on}}}\nlocal patience = {PATIENCE}\n"
        f"local start = {_lua(start)}\n{CALLER}"
    )


CALLER = """
function envoy_on_request(handle)
  local came = handle:headers()
  local carried = {}
  for _, name in ipairs(handed_on) do
    carried[name] = came:get(name)
  end
  -- read before the first call: what the filter lends is void after it
  local path, method, authority = came:get(":path"), came:get(":method"), came:get(":authority")
  local took, errors, status = {}, {}, "200"
  for _, target in ipairs(targets) do
    local answer
    for _ = 1, target.tries do
      local sent = {[":method"] = "GET", [":path"] = target.path, [":authority"] = target.authority}
      for name, value in pairs(carried) do sent[name] = value end
      answer = handle:httpCall(target.cluster, sent, nil, patience)
      table.insert(took, target.service .. "=" .. (answer["x-lab-version"] or "-") .. ":" .. answer[":status"])
      if answer["x-lab-calls"] then table.insert(took, answer["x-lab-calls"]) end
      if answer[":status"] == "200" then break end
    end
    if answer[":status"] ~= "200" then
      table.insert(errors, '"' .. target.service .. '"')
      if target.required then status = "503" end
    end
  end
  local calls = table.concat(took, ",")
  local body = start .. ', "calls": "' .. calls .. '", "unavailable": [' .. table.concat(errors, ", ") .. "]}"
  handle:respond({
    [":status"] = status,
    ["content-type"] = "application/json",
    ["x-lab-calls"] = calls,
    ["x-lab-path"] = path,
    ["x-lab-method"] = method,
    ["x-lab-authority"] = authority,
  }, body)
end
"""

ECHO = r"""
function envoy_on_request(handle)
  local seen, names = {}, {}
  for name, value in pairs(handle:headers()) do
    if name:sub(1, 13) ~= "x-lab-source-" then
      if seen[name] then seen[name] = seen[name] .. "," .. value else
        seen[name] = value
        table.insert(names, name)
      end
    end
  end
  table.sort(names)
  local told = {}
  for _, name in ipairs(names) do
    table.insert(told, string.format('"%s": "%s"', name, (seen[name]:gsub('[\\"]', "\\%0"))))
  end
  handle:streamInfo():dynamicMetadata():set("lab", "headers", "{" .. table.concat(told, ", ") .. "}")
end
function envoy_on_response(handle)
  local told = handle:streamInfo():dynamicMetadata():get("lab")
  if told then handle:headers():add("x-lab-request-headers", told["headers"]) end
end
"""


def _script(source: str) -> Json:
    message = "type.googleapis.com/envoy.extensions.filters.http.lua.v3.LuaPerRoute"
    return {LUA: {"@type": message, "source_code": {"inline_string": source}}}


def _lua(text: str) -> str:
    """A Lua string literal: JSON's escapes are Lua's for what stands in names and URLs."""
    return json.dumps(text)
