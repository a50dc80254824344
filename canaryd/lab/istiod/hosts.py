"""
Hosts: short names completed, patterns that cover them, and every way a client may write one.
"""

from __future__ import annotations

from typing import Any

from canaryd.lab.istiod.objects import namespace_of

Json = dict[str, Any]

DOMAIN = "svc.cluster.local"
HEADLESS = "None"


def full_host(host: str, namespace: str) -> str:
    """A short name is completed in the namespace of the object that holds it; one with a dot is taken as it is."""
    return host if "." in host or ":" in host or host == "*" else f"{host}.{namespace}.{DOMAIN}"


def covers(pattern: str, host: str) -> bool:
    return pattern == host or pattern == "*" or (pattern.startswith("*") and host.endswith(pattern[1:]))


def specificity(pattern: str) -> tuple[bool, int]:
    return (not pattern.startswith("*"), len(pattern))


def service_domains(service: Json, namespace: str, port: int | None = None) -> list[str]:
    """
    Every way to write the service's host that a client in `namespace` may use, and its addresses.

    They are without port, for a table that looks at none (`ignore_port_in_host_matching`); with `port` each stands
    there once more with it. A headless service's pods have hosts of their own below the service's. (Istio:
    generateVirtualHostDomains.)
    """
    name, home, spec = service["metadata"]["name"], namespace_of(service), service["spec"]
    names = [f"{name}.{home}.{DOMAIN}", *([name] if home == namespace else []), f"{name}.{home}.svc", f"{name}.{home}"]
    if spec.get("clusterIP") == HEADLESS:
        names += [f"*.{each}" for each in names]
    else:
        addresses = spec.get("clusterIPs") or [spec.get("clusterIP")]
        names += [f"[{each}]" if ":" in each else each for each in addresses if each]
    if port is None:
        return names
    return names + [f"{each}:{port}" for each in names if not each.startswith("*")]


def rule_host(rule: Json) -> str:
    return full_host(rule["spec"]["host"], namespace_of(rule))


def service_host(service: Json) -> str:
    return f"{service['metadata']['name']}.{namespace_of(service)}.{DOMAIN}"


def ports_of(service: Json) -> list[int]:
    return [port["port"] for port in service["spec"].get("ports", [])]
