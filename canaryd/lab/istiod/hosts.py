"""
Hosts: short names completed, patterns that cover them, and every way a client may write one.
"""

from __future__ import annotations

from typing import Any

from canaryd.lab.istiod.objects import namespace_of

Json = dict[str, Any]

DOMAIN = "svc.cluster.local"


def full_host(host: str, namespace: str) -> str:
    """A short name is completed in the namespace of the object that holds it; one with a dot is taken as it is."""
    return host if "." in host or host == "*" else f"{host}.{namespace}.{DOMAIN}"


def covers(pattern: str, host: str) -> bool:
    return pattern == host or pattern == "*" or (pattern.startswith("*") and host.endswith(pattern[1:]))


def specificity(pattern: str) -> tuple[bool, int]:
    return (not pattern.startswith("*"), len(pattern))


def service_domains(service: Json, namespace: str, port: int) -> list[str]:
    """Every way to write the service's host that a client in `namespace` may use, with and without the port."""
    name, home = service["metadata"]["name"], namespace_of(service)
    names = [f"{name}.{home}.{DOMAIN}", f"{name}.{home}.svc", f"{name}.{home}"]
    if home == namespace:
        names.append(name)
    return [domain for each in names for domain in (each, f"{each}:{port}")]


def rule_host(rule: Json) -> str:
    return full_host(rule["spec"]["host"], namespace_of(rule))


def service_host(service: Json) -> str:
    return f"{service['metadata']['name']}.{namespace_of(service)}.{DOMAIN}"


def ports_of(service: Json) -> list[int]:
    return [port["port"] for port in service["spec"].get("ports", [])]
