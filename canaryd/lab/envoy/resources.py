"""Small parts from which Envoy's configuration is put together."""

from __future__ import annotations

from typing import Any

Json = dict[str, Any]
TYPES = "type.googleapis.com/envoy"
MANAGER = "envoy.filters.network.http_connection_manager"


def extension(name: str, message: str, **settings: Any) -> Json:
    """An extension by its name, configured by the protobuf message `envoy.<message>`."""
    return {"name": name, "typed_config": {"@type": f"{TYPES}.{message}", **settings}}


def router() -> Json:
    return extension("envoy.filters.http.router", "extensions.filters.http.router.v3.Router")


def http_connection_manager(**settings: Any) -> Json:
    message = "extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
    return extension(MANAGER, message, **settings)


def from_file(path: str) -> Json:
    """A subscription to one file: Envoy looks at it again when another is renamed onto it."""
    return {"resource_api_version": "V3", "path_config_source": {"path": path}}


def loopback() -> Json:
    """A TCP address whose port is the kernel's choice; it stays when the listener is updated."""
    return {"socket_address": {"address": "127.0.0.1", "port_value": 0}}


def internal(listener: str, endpoint: str = "") -> Json:
    """The address of an internal listener; `endpoint` tells hosts apart that share one."""
    place = {"server_listener_name": listener, **({"endpoint_id": endpoint} if endpoint else {})}
    return {"envoy_internal_address": place}


def header(name: str, value: str) -> Json:
    """A header to add in place of whatever stands there."""
    return {"header": {"key": name, "value": value}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}
