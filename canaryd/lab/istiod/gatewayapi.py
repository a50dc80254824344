"""
HTTPRoutes of the Gateway API: what istiod makes of them, and what it says of them in their status.

Istio turns each into VirtualServices, one for each parent and host, and so does the lab; what is different about them
(a prefix ends at a slash, 500 where a cluster is missing) is marked by `gateway_api`. Routes of one parent and host
are merged, and their rules sorted by how much they ask for: exact paths, then prefixes, then regular expressions, the
longer first; then a method, more headers, more query parameters; then the older route.

A newcomer would get wrong: a weight that is left out is 1, not 0; an entry at 0 gets nothing even when it is the only
one, and where all are 0 the answer is 500; and a request that no rule of an attached route matches is refused with 404,
where a Service without any route would have answered.

A parent that is a Service: the route is for all its clients when both are of one namespace (the producer's), else for
the clients of the route's own namespace only, before the producer's (a consumer's).
A parent that is a Gateway: of class `istio`, listeners of HTTP and HTTPS. A cluster would start a proxy for each
Gateway; the lab's one ingress gateway plays them all.

Nothing here is Rejected but what Istio would do and the lab does not; what Istio itself refuses stands in the status.

Sources: Istio pilot/pkg/config/kube/gateway/conversion.go, route_collections.go, conditions.go,
gateway_collection.go; the Gateway API's own HTTPRoute documentation.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from canaryd.lab.istiod.hosts import DOMAIN, covers
from canaryd.lab.istiod.objects import age_of, full_name, namespace_of, only, where_of
from canaryd.lab.istiod.proxy import MESH
from canaryd.lab.istiod.registry import Registry
from canaryd.lab.istiod.virtualservices import EVERYBODY, Entry, VirtualService

Json = dict[str, Any]

GROUP = "gateway.networking.k8s.io"
CONTROLLER = "istio.io/gateway-controller"
CLASS = "istio"
SELECTOR = {"istio": "ingressgateway"}  # the one gateway of the lab
SERVERS = {"HTTP": "HTTP", "HTTPS": "HTTPS"}
RULE_FIELDS = {"name", "matches", "filters", "backendRefs", "timeouts", "retry"}
INVALID_BACKENDS = frozenset({"RefNotPermitted", "BackendNotFound", "InvalidKind"})
PARENT_REASONS = (  # the best one is what is told of a parent with several listeners
    "",
    "NotAllowedByListeners",
    "NoMatchingListenerHostname",
    "NoMatchingParent",
)


@dataclass(frozen=True, slots=True)
class Problem:
    """Why something of a route does not hold, in the words of its status."""

    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class _Listener:
    """One listener of a Gateway, or the mesh."""

    gateway: str  # the name of the Istio Gateway that it becomes, `<namespace>/<name>`, or `mesh`
    section: str = ""
    port: int = 0
    protocol: str = ""
    hostname: str = ""
    hosts: tuple[str, ...] = ()  # `<namespace>/<host>` or `*/<host>`
    kinds: tuple[str, ...] = ("HTTPRoute",)


@dataclass(frozen=True, slots=True)
class _Attachment:
    """One `parentRef` at one listener; `denied` where it does not attach."""

    reference: Json
    listener: _Listener
    denied: Problem | None
    banned: frozenset[str] = frozenset()  # hostnames of other listeners of that port, which keep what is theirs

    @property
    def is_mesh(self) -> bool:
        return self.listener.gateway == MESH


# What istiod makes of them


def gateways(registry: Registry) -> list[Json]:
    """The Gateways of class `istio` as Istio's own, one for each listener."""
    made = []
    for each in registry.kubernetes_gateways:
        for listener in _listeners(each, registry):
            namespace, _, name = listener.gateway.partition("/")
            server: Json = {
                "port": {"number": listener.port, "name": "default", "protocol": SERVERS[listener.protocol]},
                "hosts": list(listener.hosts),
            }
            if listener.protocol == "HTTPS":
                server["tls"] = {"mode": "SIMPLE"}
            about = {
                "name": name,
                "namespace": namespace,
                "creationTimestamp": each["metadata"].get("creationTimestamp"),
            }
            made.append(
                {
                    "apiVersion": "networking.istio.io/v1",
                    "kind": "Gateway",
                    "metadata": about,
                    "spec": {"selector": SELECTOR, "servers": [server]},
                }
            )
    return made


def route_services(registry: Registry) -> list[VirtualService]:
    """
    The HTTPRoutes as VirtualServices, oldest first.

    Raises Rejected, with a sentence, for what Istio does and the lab does not.
    """
    merged: dict[tuple[str, str], list[VirtualService]] = {}
    for route in sorted(registry.http_routes, key=_age):
        for key, virtual in _virtual_services(route, registry):
            merged.setdefault((key, virtual.hosts[0]), []).append(virtual)
    return [_merged(key, virtuals) for key, virtuals in merged.items()]


def _merged(key: tuple[str, str], virtuals: list[VirtualService]) -> VirtualService:
    first = virtuals[0]  # the oldest
    entries = sorted((entry for each in virtuals for entry in each.entries), key=lambda each: _rank(each.spec))
    return VirtualService(
        name="~".join((*key[0].split("/"), key[1])),
        namespace=first.namespace,
        hosts=first.hosts,
        gateways=first.gateways,
        exported=first.exported,
        entries=tuple(entries),
        age=first.age,
        gateway_api=True,
    )


def _age(route: Json) -> tuple[str, tuple[str, str]]:
    """The Gateway API breaks ties by namespace and name, where Istio's own kinds look at the name first."""
    return (str(route["metadata"].get("creationTimestamp") or ""), full_name(route))


def _rank(entry: Json) -> tuple[int, ...]:
    """Sorts what asks for more before what asks for less; equals stay in their order."""
    match = (entry.get("match") or [{}])[0]
    if not match.keys() - {"port"}:
        return (1,)
    kind, path = next(iter(match["uri"].items()), ("", ""))
    exactness = {"exact": 0, "prefix": 1, "regex": 2}.get(kind, 3)
    more = (len(match.get("headers") or {}), len(match.get("queryParams") or {}))
    return (0, exactness, -len(path), int("method" not in match), -more[0], -more[1])


def _virtual_services(route: Json, registry: Registry) -> Iterator[tuple[str, VirtualService]]:
    namespace, where = namespace_of(route), where_of(route)
    for index, rule in enumerate(route["spec"].get("rules") or []):
        only(rule, RULE_FIELDS, f"{where}, rules[{index}]")
    for each in _attachments(route, registry):
        if each.denied is not None:
            continue
        entries, _ = _entries(route, registry, in_mesh=each.is_mesh)
        if not entries:
            continue
        key = each.listener.gateway
        hosts = [str(one).lower() for one in route["spec"].get("hostnames") or [EVERYBODY]]
        if each.is_mesh:
            key, hosts = namespace, [_service_host(each.reference, namespace)]
            port = each.reference.get("port")
            if port is not None:
                key, entries = f"{namespace}/{port}", [_at_port(entry, port) for entry in entries]
        for host in hosts:
            if _is_own(host, each):
                yield (
                    key,
                    VirtualService(
                        name=str(route["metadata"]["name"]),
                        namespace=namespace,
                        hosts=(host,),
                        gateways=(each.listener.gateway,),
                        exported=frozenset({EVERYBODY}),
                        entries=tuple(entries),
                        age=age_of(route),
                        gateway_api=True,
                    ),
                )


def _at_port(entry: Entry, port: int) -> Entry:
    matches = [{**match, "port": port} for match in entry.spec.get("match") or [{}]]
    return Entry({**entry.spec, "match": matches}, entry.where)


def _is_own(host: str, attached: _Attachment) -> bool:
    """Whether a host of the route is this listener's, and not that of a more specific one of the same port."""
    own = attached.listener.hostname
    if own and not own.startswith("*"):
        return True
    if own and not _meet(host, own):
        return False
    return not any(len(own) <= len(other) and covers(other or EVERYBODY, host) for other in attached.banned)


# Parents


def _service_host(reference: Json, namespace: str) -> str:
    return f"{reference['name']}.{reference.get('namespace') or namespace}.{DOMAIN}"


def _attachments(route: Json, registry: Registry) -> list[_Attachment]:
    """Each parent that is ours, at each of its listeners. One that is not there, or another controller's, has none."""
    found = []
    for reference in route["spec"].get("parentRefs") or []:
        kind = (reference.get("group", GROUP), reference.get("kind", "Gateway"))
        if kind in (("", "Service"), ("core", "Service")):
            found.append(_Attachment(reference, _Listener(MESH), _service_denied(reference, route, registry)))
        elif kind == (GROUP, "Gateway"):
            place = (reference.get("namespace") or namespace_of(route), reference["name"])
            parent = next((each for each in registry.kubernetes_gateways if full_name(each) == place), None)
            listeners = [] if parent is None else _listeners(parent, registry)
            for each in listeners:
                others = {one.hostname for one in listeners if (one.port, one.protocol) == (each.port, each.protocol)}
                denied = _denied(reference, each, route)
                found.append(_Attachment(reference, each, denied, frozenset(others - {each.hostname})))
    return found


def _service_denied(reference: Json, route: Json, registry: Registry) -> Problem | None:
    if _service_host(reference, namespace_of(route)) in registry.by_host:
        return None
    return Problem("NoMatchingParent", f'parent service: "{reference["name"]}" not found')


def _denied(reference: Json, listener: _Listener, route: Json) -> Problem | None:
    port, section = reference.get("port"), reference.get("sectionName")
    if port and port != listener.port:
        return Problem("NoMatchingParent", f"port {port} not found")
    if section and section != listener.section:
        return Problem("NoMatchingParent", f'sectionName "{section}" not found')
    own = namespace_of(route)
    meeting = [
        namespace
        for host in route["spec"].get("hostnames") or [EVERYBODY]
        for namespace, _, parent in (each.partition("/") for each in listener.hosts)
        if _meet(parent, str(host).lower())
    ]
    if not meeting:
        return Problem("NoMatchingListenerHostname", f'no hostnames matched parent hostname "{listener.hostname}"')
    if not {EVERYBODY, own} & set(meeting):
        return Problem(
            "NotAllowedByListeners",
            f'hostnames matched parent hostname "{listener.hostname}", '
            f'but namespace "{own}" is not allowed by the parent',
        )
    if "HTTPRoute" not in listener.kinds:
        return Problem("NotAllowedByListeners", f"kind {GROUP}/v1/HTTPRoute is not allowed")
    return None


def _meet(one: str, other: str) -> bool:
    return covers(one, other) or covers(other, one)


def _listeners(gateway: Json, registry: Registry) -> list[_Listener]:
    """Those of HTTP and HTTPS; none of a Gateway that is another controller's."""
    if gateway["spec"].get("gatewayClassName") != CLASS:
        return []
    namespace, name = full_name(gateway)
    found = []
    for each in gateway["spec"].get("listeners") or []:
        if each.get("protocol") not in SERVERS:
            continue
        hostname = str(each.get("hostname") or "").lower()
        allowed = each.get("allowedRoutes") or {}
        namespaces = _allowed(allowed.get("namespaces") or {}, namespace, registry)
        kinds = tuple(
            one["kind"] for one in allowed.get("kinds") or [{"kind": "HTTPRoute"}] if one.get("group", GROUP) == GROUP
        )
        hosts = tuple(f"{one}/{hostname or EVERYBODY}" for one in namespaces or ["~"])
        made = f"{namespace}/{name}-istio-autogenerated-k8s-gateway-{each['name']}"
        found.append(_Listener(made, each["name"], each["port"], each["protocol"], hostname, hosts, kinds))
    return found


def _allowed(namespaces: Json, own: str, registry: Registry) -> list[str]:
    source = namespaces.get("from", "Same")
    if source == "All":
        return [EVERYBODY]
    if source != "Selector":
        return [own]
    return [
        str(each["metadata"]["name"])
        for each in registry.namespaces
        if _selects(namespaces.get("selector") or {}, each["metadata"].get("labels") or {})
    ]


def _selects(selector: Json, labels: dict[str, str]) -> bool:
    for each in selector.get("matchExpressions") or []:
        key, operator, values = each["key"], each["operator"], each.get("values") or []
        fits = {
            "In": labels.get(key) in values,
            "NotIn": labels.get(key) not in values,
            "Exists": key in labels,
            "DoesNotExist": key not in labels,
        }
        if not fits.get(operator, False):
            return False
    return (selector.get("matchLabels") or {}).items() <= labels.items()


# Rules


def _entries(route: Json, registry: Registry, *, in_mesh: bool) -> tuple[list[Entry], Problem | None]:
    """
    The rules as http entries of a VirtualService, one for each match, and the last thing that is wrong with them.

    A backend that is not there keeps its share; anything else that is wrong leaves no entry at all.
    """
    entries: list[Entry] = []
    problem: Problem | None = None
    for index, rule in enumerate(route["spec"].get("rules") or []):
        where = f"{where_of(route)}, rules[{index}]"
        name = rule.get("name") or f"{'.'.join(full_name(route))}.{index}"
        for match in rule.get("matches") or [None]:
            made = _entry(rule, match, route, registry, in_mesh=in_mesh)
            if isinstance(made, Problem):
                return [], made
            spec, wrong = made
            problem = wrong or problem
            entries.append(Entry({"name": name, **spec}, where))
    return entries, problem


def _entry(
    rule: Json, match: Json | None, route: Json, registry: Registry, *, in_mesh: bool
) -> tuple[Json, Problem | None] | Problem:
    entry: Json = {}
    if match is not None:
        wanted = _match(match)
        if isinstance(wanted, Problem):
            return wanted
        entry["match"] = [wanted]
    wrong: dict[str, Problem] = {}  # of the backends and of the mirrors, the last of each
    for each in rule.get("filters") or []:
        failed = _apply(entry, each, route, registry, wrong, in_mesh=in_mesh)
        if failed:
            return failed
    _apply_retry(entry, rule)
    _apply_timeouts(entry, rule.get("timeouts") or {})
    backends = rule.get("backendRefs") or []
    if not sum(each.get("weight", 1) for each in backends) and "redirect" not in entry:
        entry["directResponse"] = {"status": 500}
        return entry, _joined(wrong)
    shares: list[Json] = []
    for each in backends:
        if each.get("weight", 1) == 0:
            continue
        destination, problem = _destination(each, route, registry, in_mesh=in_mesh)
        if destination is None:
            return problem or Problem("InvalidDestination", "")
        if problem:
            wrong["backends"] = problem
        share: Json = {"destination": destination, "weight": each.get("weight", 1)}
        for one in each.get("filters") or []:
            if one["type"] not in HEADER_FILTERS:
                return _unsupported(one)
            _change_headers(share, one)
        shares.append(share)
    if "redirect" not in entry:
        entry["route"] = shares
    return entry, _joined(wrong)


def _joined(wrong: dict[str, Problem]) -> Problem | None:
    told = [wrong[key] for key in ("backends", "mirrors") if key in wrong]
    return Problem(told[0].reason, "; ".join(each.message for each in told)) if told else None


def _match(match: Json) -> Json | Problem:
    path = match.get("path") or {}
    kind, value = path.get("type", "PathPrefix"), path.get("value", "/")
    if kind not in PATHS:
        return Problem("InvalidConfiguration", f'unknown type: "{kind}" is not supported Path match type')
    if kind == "PathPrefix" and value != "/":
        value = value.removesuffix("/")
    made: Json = {"uri": {PATHS[kind]: value}}
    for field, target, noun in (("headers", "headers", "HeaderMatch"), ("queryParams", "queryParams", "QueryParams")):
        values: dict[str, Json] = {}
        for each in match.get(field) or []:
            how = each.get("type", "Exact")
            if how not in VALUES:
                return Problem("InvalidConfiguration", f'unknown type: "{how}" is not supported {noun} type')
            values.setdefault(each["name"], {VALUES[how]: each["value"]})  # of two of one name the first counts
        if values:
            made[target] = values
    if match.get("method"):
        made["method"] = {"exact": match["method"]}
    return made


PATHS = {"PathPrefix": "prefix", "Exact": "exact", "RegularExpression": "regex"}
VALUES = {"Exact": "exact", "RegularExpression": "regex"}
HEADER_FILTERS = {
    "RequestHeaderModifier": ("request", "requestHeaderModifier"),
    "ResponseHeaderModifier": ("response", "responseHeaderModifier"),
}


def _apply(
    entry: Json, chosen: Json, route: Json, registry: Registry, wrong: dict[str, Problem], *, in_mesh: bool
) -> Problem | None:
    """Put one filter of a rule into the entry; a mirror that leads nowhere is noted in `wrong` and left out."""
    kind = chosen["type"]
    if kind in HEADER_FILTERS:
        _change_headers(entry, chosen)
    elif kind == "RequestRedirect":
        entry["redirect"] = _redirect(chosen["requestRedirect"])
    elif kind == "URLRewrite":
        rewrite = _rewrite(chosen["urlRewrite"])
        if rewrite:
            entry["rewrite"] = rewrite
    elif kind == "CORS":
        entry["corsPolicy"] = _cors(chosen["cors"])
    elif kind == "RequestMirror":
        mirror = chosen["requestMirror"]
        destination, problem = _destination(mirror["backendRef"], route, registry, in_mesh=in_mesh)
        if problem:
            wrong["mirrors"] = problem
        else:
            entry.setdefault("mirrors", []).append({"destination": destination, **_mirrored(mirror)})
    else:
        return _unsupported(chosen)
    return None


def _unsupported(chosen: Json) -> Problem:
    return Problem("InvalidFilter", f'unsupported filter type "{chosen["type"]}"')


def _change_headers(target: Json, chosen: Json) -> None:
    side, field = HEADER_FILTERS[chosen["type"]]
    said = chosen[field]
    changes = {
        "add": _by_name(said.get("add") or []),
        "set": _by_name(said.get("set") or []),
        "remove": said.get("remove") or [],
    }
    target.setdefault("headers", {})[side] = {key: value for key, value in changes.items() if value}


def _by_name(headers: Iterable[Json]) -> dict[str, str]:
    named: dict[str, str] = {}
    for each in headers:
        named.setdefault(str(each["name"]).lower(), each["value"])  # of two of one name the first counts
    return named


def _redirect(said: Json) -> Json:
    made: Json = {}
    if said.get("statusCode"):
        made["redirectCode"] = said["statusCode"]
    if said.get("hostname"):
        made["authority"] = said["hostname"]
    if said.get("scheme"):
        made["scheme"] = said["scheme"]
    if said.get("port"):
        made["port"] = said["port"]
    else:
        made["derivePort"] = "FROM_PROTOCOL_DEFAULT" if said.get("scheme") else "FROM_REQUEST_PORT"
    path = said.get("path") or {}
    if path.get("type") == "ReplaceFullPath":
        made["uri"] = path["replaceFullPath"]
    elif path.get("type") == "ReplacePrefixMatch":
        made["uri"] = f"%PREFIX()%{path['replacePrefixMatch']}"
    return made


def _rewrite(said: Json) -> Json:
    made: Json = {}
    path = said.get("path") or {}
    if path.get("type") == "ReplacePrefixMatch":
        made["uri"] = path["replacePrefixMatch"].removesuffix("/") or "/"  # `/` takes the prefix away
    elif path.get("type") == "ReplaceFullPath":
        made["uriRegexRewrite"] = {"match": "/.*", "rewrite": path["replaceFullPath"]}
    if said.get("hostname"):
        made["authority"] = said["hostname"]
    return made


def _cors(said: Json) -> Json:
    made: Json = {
        "allowOrigins": [{"exact": each} for each in said.get("allowOrigins") or []],
        "allowMethods": said.get("allowMethods") or [],
        "allowHeaders": said.get("allowHeaders") or [],
        "exposeHeaders": said.get("exposeHeaders") or [],
    }
    if said.get("allowCredentials"):
        made["allowCredentials"] = True
    if said.get("maxAge"):
        made["maxAge"] = f"{said['maxAge']}s"
    return {key: value for key, value in made.items() if value}


def _mirrored(mirror: Json) -> Json:
    fraction = mirror.get("fraction")
    if fraction:
        return {"percentage": {"value": 100 * fraction["numerator"] / fraction.get("denominator", 100)}}
    return {"percentage": {"value": mirror["percent"]}} if mirror.get("percent") is not None else {}


def _apply_retry(entry: Json, rule: Json) -> None:
    retry = rule.get("retry")
    if retry is None:
        return
    attempts = retry.get("attempts", 2)
    made: Json = {"attempts": attempts}
    if attempts:
        codes = [str(each) for each in retry.get("codes") or []]
        made["retryOn"] = ",".join(["connect-failure", "refused-stream", "unavailable", "cancelled", *codes])
    if retry.get("backoff"):
        made["backoff"] = retry["backoff"]
    entry["retries"] = made


def _apply_timeouts(entry: Json, timeouts: Json) -> None:
    """`backendRequest` bounds each attempt where there are retries of the rule's own, else the whole request."""
    request, backend = timeouts.get("request"), timeouts.get("backendRequest")
    if _is_time(request):
        entry["timeout"] = request
    if _is_time(backend):
        if "retries" in entry:
            entry["retries"] = {**entry["retries"], "perTryTimeout": backend}
        else:
            entry["timeout"] = backend


def _is_time(duration: str | None) -> bool:
    """`0s` is no timeout."""
    return bool(duration) and any(digit in "123456789" for digit in str(duration))


def _destination(
    reference: Json, route: Json, registry: Registry, *, in_mesh: bool
) -> tuple[Json | None, Problem | None]:
    """
    Where a backend leads, and what is wrong with it; no destination where the whole route is.

    One that is not there, or not allowed, is a destination without a cluster: its share is answered with 500.
    A grant is asked for at a Gateway; in the mesh a client may call any namespace anyway.
    """
    own = namespace_of(route)
    namespace, name = reference.get("namespace") or own, str(reference["name"])
    if namespace != own and not in_mesh and not _granted(own, namespace, name, registry):
        return {}, Problem(
            "RefNotPermitted",
            f"backendRef {name}/{namespace} not accessible to a HTTPRoute "
            f'in namespace "{own}" (missing a ReferenceGrant?)',
        )
    kind = (reference.get("group", ""), reference.get("kind", "Service"))
    if kind == ("", "Service"):
        if "." in name:
            return None, Problem(
                "InvalidDestination",
                "service name invalid; the name of the Service must be used, not the hostname.",
            )
        host = f"{name}.{namespace}.{DOMAIN}"
        there = host in registry.by_host
    elif kind == ("networking.istio.io", "Hostname"):
        if reference.get("namespace"):
            return None, Problem("InvalidDestination", "namespace may not be set with Hostname type")
        host, there = name, name in registry.by_host
    else:
        return {}, Problem("InvalidKind", f'referencing unsupported backendRef: group "{kind[0]}" kind "{kind[1]}"')
    if not reference.get("port"):
        return None, Problem("InvalidDestination", "port is required in backendRef")
    problem = None if there else Problem("BackendNotFound", f"backend({host}) not found")
    return {"host": host, "port": {"number": reference["port"]}}, problem


def _granted(source: str, target: str, name: str, registry: Registry) -> bool:
    return any(
        namespace_of(grant) == target
        and any(
            (each.get("group"), each.get("kind"), each.get("namespace")) == (GROUP, "HTTPRoute", source)
            for each in grant["spec"].get("from") or []
        )
        and any(
            (each.get("group", ""), each.get("kind")) == ("", "Service") and each.get("name", name) == name
            for each in grant["spec"].get("to") or []
        )
        for grant in registry.reference_grants
    )


# Status


def route_statuses(registry: Registry, now: str) -> dict[tuple[str, str], Json]:
    """
    The status of each HTTPRoute that has to be written, by namespace and name; those that are right are left out.

    `now` is the time in RFC 3339 (`2026-01-01T00:00:00Z`), for conditions that change. What other controllers wrote
    stays. `observedGeneration` is the route's generation: only where they are equal the words are about what is there.
    """
    changed = {}
    for route in registry.http_routes:
        former = route.get("status") or {}
        parents = _parents(route, registry, former.get("parents") or [], now)
        if parents != (former.get("parents") or []):
            changed[full_name(route)] = {**former, "parents": parents}
    return changed


def _parents(route: Json, registry: Registry, former: list[Json], now: str) -> list[Json]:
    attached = _attachments(route, registry)
    wrong = {in_mesh: _entries(route, registry, in_mesh=in_mesh)[1] for in_mesh in {each.is_mesh for each in attached}}
    told: list[tuple[Json, list[_Attachment]]] = []
    for each in attached:
        group = next((group for reference, group in told if reference == each.reference), None)
        if group is None:
            told.append((each.reference, [each]))
        else:
            group.append(each)
    parents = [each for each in former if each.get("controllerName") != CONTROLLER]
    for reference, group in told:
        best = min((_reason(each) for each in group), key=PARENT_REASONS.index)
        relevant = [each for each in group if _reason(each) == best]
        old = next(
            (
                each.get("conditions") or []
                for each in former
                if each.get("controllerName") == CONTROLLER and each.get("parentRef") == reference
            ),
            [],
        )
        conditions = _conditions(relevant, wrong[group[0].is_mesh])
        generation = route["metadata"].get("generation", 0)
        parents.append(
            {
                "parentRef": reference,
                "controllerName": CONTROLLER,
                "conditions": [_dated(each, old, generation, now) for each in conditions],
            }
        )
    return sorted(parents, key=lambda each: _as_text(each.get("parentRef") or {}, route), reverse=True)


def _reason(attached: _Attachment) -> str:
    return attached.denied.reason if attached.denied else ""


def _conditions(attached: list[_Attachment], wrong: Problem | None) -> list[Json]:
    valid = "Route was valid" if len(attached) == 1 else f"Route was valid, bound to {len(attached)} parents"
    denied = [each.denied for each in attached if each.denied]
    joined = Problem(denied[0].reason, "; ".join(each.message for each in denied)) if denied else None
    return [
        _condition("Accepted", joined, "Accepted", valid),
        _condition("ResolvedRefs", wrong, "ResolvedRefs", "All references resolved"),
    ]


def _condition(kind: str, problem: Problem | None, reason: str, message: str) -> Json:
    told = problem or Problem(reason, message)
    return {"type": kind, "status": "False" if problem else "True", "reason": told.reason, "message": told.message}


def _dated(condition: Json, former: list[Json], generation: int, now: str) -> Json:
    """A condition keeps the time of its last change of status."""
    old = next((each for each in former if each.get("type") == condition["type"]), {})
    since = old.get("lastTransitionTime", now) if old.get("status") == condition["status"] else now
    return {**condition, "observedGeneration": generation, "lastTransitionTime": since}


def _as_text(reference: Json, route: Json) -> str:
    parts = (
        reference.get("group", GROUP),
        reference.get("kind", "Gateway"),
        reference.get("name", ""),
        reference.get("sectionName", ""),
        str(reference.get("port", 0)),
    )
    return f"{'/'.join(parts)}.{reference.get('namespace') or namespace_of(route)}"
