"""
Routes: an http entry of a VirtualService as Envoy's routes, one for each of its matches.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from canaryd.errors import Rejected
from canaryd.lab.istiod.hosts import full_host, ports_of
from canaryd.lab.istiod.matches import catches_all, match_of
from canaryd.lab.istiod.objects import namespace_of, only, seconds, where_of
from canaryd.lab.istiod.proxy import Proxy, Wiring, meant_for
from canaryd.lab.istiod.registry import Registry

Json = dict[str, Any]

ENTRY_FIELDS = {"name", "match", "route", "timeout", "retries"}
DEFAULT_RETRY_ON = "connect-failure,refused-stream,unavailable,cancelled"  # Istio since 1.24: without 503


@dataclass(frozen=True, slots=True)
class _Names:
    """How one proxy's listener names the cluster of a destination."""

    registry: Registry
    proxy: Proxy
    port: int  # of the listener
    wiring: Wiring

    def of(self, destination: Json, virtual: Json) -> str:
        """Without `port`: the service's only port, else the listener's (route.go, GetDestinationCluster)."""
        host = full_host(destination["host"], namespace_of(virtual))
        port = (destination.get("port") or {}).get("number")
        if port is None:
            service = self.registry.by_host.get(host)
            ports = ports_of(service) if service else []
            port = ports[0] if len(ports) == 1 else self.port
        return self.wiring.cluster(self.proxy, port, destination.get("subset", ""), host)


def routes_of(virtual: Json, registry: Registry, proxy: Proxy, port: int, wiring: Wiring) -> list[Json]:
    """The routes of a VirtualService's http entries for a sidecar's outbound `port`, in order."""
    where = where_of(virtual)
    for protocol in ("tls", "tcp"):
        if virtual["spec"].get(protocol):
            raise Rejected(f"{where}: {protocol} routes are not translated by the lab, only http routes are")
    routes: list[Json] = []
    for index, entry in enumerate(virtual["spec"].get("http") or []):
        here = f"{where}, http[{index}]"
        matches = [each for each in entry.get("match") or [{}] if meant_for(each, virtual, proxy, port)]
        if not matches:
            continue
        only(entry, ENTRY_FIELDS, here)
        action = _action(entry, virtual, _Names(registry, proxy, port, wiring), here)
        for each in matches:
            name = ".".join(part for part in (entry.get("name"), each.get("name")) if part)
            match = match_of(each, here)
            routes.append({**({"name": name} if name else {}), "match": match, "route": action})
            if catches_all(match):
                return routes  # Istio drops what comes after
    return routes


def plain_route(cluster: str) -> Json:
    """What Istio makes for a host of which no VirtualService speaks."""
    action = {"cluster": cluster, "timeout": "0s", "retry_policy": retry_policy(2)}
    return {"name": "default", "match": {"prefix": "/"}, "route": action}


def _action(entry: Json, virtual: Json, names: _Names, where: str) -> Json:
    destinations = entry.get("route") or []
    if not destinations:
        raise Rejected(f"{where}: an entry without `route` is not translated by the lab")
    weighted = []
    for index, each in enumerate(destinations):
        only(each, {"destination", "weight"}, f"{where}.route[{index}]")
        weighted.append((names.of(each["destination"], virtual), each.get("weight", 0)))
    action: Json = {"timeout": seconds(entry.get("timeout", "0s"), where)}
    if len(weighted) == 1:
        action["cluster"] = weighted[0][0]
    else:
        kept = [{"name": name, "weight": weight} for name, weight in weighted if weight != 0]
        if not kept or any(each["weight"] < 0 for each in kept):
            raise Rejected(f"{where}: the weights of several destinations must not be negative nor all 0")
        action["weighted_clusters"] = {"clusters": kept}
    retry = retry_of(entry.get("retries"), where)
    return {**action, **({"retry_policy": retry} if retry else {})}


def retry_of(retries: Json | None, where: str) -> Json:
    if retries is None:
        return retry_policy(2)
    only(retries, {"attempts", "perTryTimeout", "retryOn"}, f"{where}, retries")
    attempts = retries.get("attempts", 0)
    if attempts == 0:
        return {}
    conditions = [each.strip() for each in (retries.get("retryOn") or DEFAULT_RETRY_ON).split(",") if each.strip()]
    codes = [int(each) for each in conditions if each.isdigit()]
    words = [each for each in conditions if not each.isdigit()]
    if codes and "retriable-status-codes" not in words:
        words.append("retriable-status-codes")
    policy = retry_policy(attempts, ",".join(words))
    if codes:
        policy["retriable_status_codes"] = codes
    if retries.get("perTryTimeout"):
        policy["per_try_timeout"] = seconds(retries["perTryTimeout"], where)
    return policy


def retry_policy(attempts: int, retry_on: str = DEFAULT_RETRY_ON) -> Json:
    """Istio: pilot/pkg/networking/core/route/retry/retry.go, DefaultPolicy: another host of the same cluster first."""
    previous = "type.googleapis.com/envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate"
    return {
        "retry_on": retry_on,
        "num_retries": attempts,
        "host_selection_retry_max_attempts": 5,
        "retry_host_predicate": [
            {"name": "envoy.retry_host_predicates.previous_hosts", "typed_config": {"@type": previous}}
        ],
    }
