"""
Gateways: servers, their ports and their certificates. A Gateway's own name may not contain dots.

Source: Istio, pkg/config/validation/validation.go (ValidateGateway, validateServer, validateTLSOptions).
"""

from __future__ import annotations

from canaryd.lab.kubernetes.status import Object
from canaryd.lab.kubernetes.webhook.hosts import namespaced_host
from canaryd.lab.kubernetes.webhook.problems import Problem, Problems, quoted, warning, wrong
from canaryd.lab.kubernetes.webhook.values import UNIX_PREFIX, ip_address, is_label, port, unix_address

PROTOCOLS = ("tcp", "udp", "grpc", "grpc-web", "http", "http_proxy", "http2", "https", "tls", "mongo", "redis", "mysql")
HTTP_PROTOCOLS = ("http", "http2", "http_proxy", "grpc", "grpc-web")
TLS_PROTOCOLS = ("https", "tls")
_CIPHERS = {
    "ECDHE-ECDSA-AES128-GCM-SHA256",
    "ECDHE-RSA-AES128-GCM-SHA256",
    "ECDHE-ECDSA-AES256-GCM-SHA384",
    "ECDHE-RSA-AES256-GCM-SHA384",
    "ECDHE-ECDSA-CHACHA20-POLY1305",
    "ECDHE-RSA-CHACHA20-POLY1305",
    "ECDHE-ECDSA-AES128-SHA",
    "ECDHE-RSA-AES128-SHA",
    "ECDHE-ECDSA-AES256-SHA",
    "ECDHE-RSA-AES256-SHA",
    "AES128-GCM-SHA256",
    "AES256-GCM-SHA384",
    "AES128-SHA",
    "AES256-SHA",
    "DES-CBC3-SHA",
}
_PASSING = ("PASSTHROUGH", "AUTO_PASSTHROUGH")
_TERMINATING = ("SIMPLE", "MUTUAL", "OPTIONAL_MUTUAL")


def gateway(spec: Object, metadata: Object) -> Problems:
    name = metadata.get("name") or ""
    if not is_label(name):
        yield wrong(f"invalid gateway name: {quoted(name)}")
    servers = [one or {} for one in spec.get("servers") or []]
    if not servers:
        yield wrong("gateway must have at least one server")
    for server in servers:
        yield from _server(server)
    yield from _port_names(servers)


def _port_names(servers: list[Object]) -> Problems:
    seen: set[str] = set()
    for server in servers:
        if server.get("port") is None:
            continue
        name = server["port"].get("name") or ""
        if name in seen:
            yield wrong(f"port names in servers must be unique: duplicate name {name}")
        seen.add(name)
        if protocol(server["port"]) not in HTTP_PROTOCOLS and (server.get("tls") or {}).get("httpsRedirect"):
            yield warning("tls.httpsRedirect should only be used with http servers")


def protocol(found: Object) -> str:
    """The protocol of a port in lower case: Istio does not mind case."""
    return str(found.get("protocol") or "").lower()


def _server(server: Object) -> Problems:
    hosts, bind = server.get("hosts") or [], server.get("bind") or ""
    if not hosts:
        yield wrong("server config must contain at least one host")
    for host in hosts:
        yield from namespaced_host(host, gateway=True)
    unfit = list(_port(server.get("port"), bind))
    yield from unfit
    yield from _bind(server.get("port"), bind)
    yield from tls_options(server.get("tls"))
    if not unfit:
        yield from _tls_where_it_belongs(protocol(server["port"]), server.get("tls"))


def _port(found: Object | None, bind: str) -> Problems:
    if found is None:
        yield wrong("port is required")
        return
    if protocol(found) not in PROTOCOLS:
        known = "HTTP, HTTP2, GRPC, GRPC-WEB, MONGO, REDIS, MYSQL, TCP"
        yield wrong(f"invalid protocol {quoted(found.get('protocol') or '')}, supported protocols are {known}")
    number = int(found.get("number") or 0)
    if number > 0 or not bind.startswith(UNIX_PREFIX):
        yield from port(number)
    if found.get("targetPort"):
        yield wrong("targetPort has no impact on Gateways")
    if not found.get("name"):
        yield wrong(f"port name must be set: {_shown(found)}")


def _shown(found: Object) -> str:
    """A port as protobuf for Go prints it. (Go doubles the spaces in some builds, so that nobody parses this.)"""
    fields = []
    if found.get("number"):
        fields.append(f"number:{int(found['number'])}")
    fields += [f"{name}:{quoted(found[name])}" for name in ("protocol", "name") if found.get(name)]
    if found.get("targetPort"):
        fields.append(f"target_port:{int(found['targetPort'])}")
    return " ".join(fields)


def _bind(found: Object | None, bind: str) -> Problems:
    if not bind:
        return
    if not bind.startswith(UNIX_PREFIX):
        yield from ip_address(bind)
        return
    yield from unix_address(bind.removeprefix(UNIX_PREFIX))
    if found is not None and found.get("number"):
        yield wrong(f"port number must be 0 for unix domain socket: {_shown(found)}")


def _tls_where_it_belongs(spoken: str, tls: Object | None) -> Problems:
    if spoken in TLS_PROTOCOLS:
        if tls is None:
            yield wrong("server must have TLS settings for HTTPS/TLS protocols")
    elif tls is not None and spoken in HTTP_PROTOCOLS:
        certificates = any(tls.get(field) for field in ("caCertificates", "privateKey", "serverCertificate"))
        if certificates or _mode(tls) not in _PASSING:
            yield wrong("server cannot have TLS settings for plain text HTTP ports")
    elif tls is not None:
        yield wrong("server cannot have TLS settings for non HTTPS/TLS ports")


def _mode(tls: Object) -> str:
    return str(tls.get("mode") or "PASSTHROUGH")


def tls_options(tls: Object | None) -> Problems:
    """`tls` of a server, or of a Sidecar's ingress listener."""
    if tls is None:
        return
    yield from _ciphers(tls)
    mode = _mode(tls)
    if mode == "ISTIO_MUTUAL":
        yield from _istio_mutual(tls)
        return
    if mode in _PASSING and any(tls.get(field) for field in ("caCrl", *_CERTIFICATE_FIELDS)):
        yield warning(f"{mode} mode does not use certificates, they will be ignored")
    by_name = bool(tls.get("credentialName") or tls.get("credentialNames"))
    by_file = bool(tls.get("serverCertificate") and tls.get("privateKey"))
    sources = (tls.get("credentialName"), tls.get("credentialNames"), by_file, tls.get("tlsCertificates"))
    if sum(1 for one in sources if one) > 1:
        known = "credential_name, credential_names, server_certificate/private_key, tls_certificates"
        yield wrong(f"only one of {known} should be specified")
    if mode in _TERMINATING and by_name:
        return
    if mode in _TERMINATING:
        yield from _certificates(tls, "SIMPLE TLS" if mode == "SIMPLE" else "MUTUAL TLS")
    if tls.get("caCrl"):
        if tls.get("credentialName"):
            yield wrong("CRL is not supported with credentialName. CRL has to be specified in the credential")
        if mode == "SIMPLE":
            yield wrong("CRL is not supported with SIMPLE TLS")


_CERTIFICATE_FIELDS = {
    "serverCertificate": "server certificate",
    "privateKey": "private key",
    "caCertificates": "CA bundle",
    "tlsCertificates": "tlsCertificates",
    "credentialName": "credentialName",
    "credentialNames": "credentialNames",
}


def _istio_mutual(tls: Object) -> Problems:
    for field, name in _CERTIFICATE_FIELDS.items():
        if tls.get(field):
            yield wrong(f"ISTIO_MUTUAL TLS cannot have associated {name}")


def _ciphers(tls: Object) -> Problems:
    suites = tls.get("cipherSuites") or []
    if tls.get("minProtocolVersion") in ("TLSV1_0", "TLSV1_1") and not suites:
        compatible = "require setting compatible ciphers as by default they no longer include compatible ciphers."
        yield warning(f"TLS version below TLSV1_2 {compatible}")
    invalid = {one for one in suites if not _is_cipher(one)}
    if invalid:
        yield _ignored("invalid", invalid)
    twice = {one for one in suites if one not in invalid and suites.count(one) > 1}
    if twice:
        yield _ignored("duplicate", twice)


def _ignored(why: str, suites: set[str]) -> Problem:
    return warning(f"ignoring {why} cipher suites: [{' '.join(sorted(suites))}]")


def _is_cipher(suite: str) -> bool:
    """What begins with an operator (``-``, ``+``, ``!``) is taken as it is."""
    return suite in ("", "ALL") or not suite[0].isalnum() or suite in _CIPHERS


def _certificates(tls: Object, name: str) -> Problems:
    if name == "MUTUAL TLS" and not tls.get("caCertificates"):
        yield wrong(f"{name} requires a client CA bundle")
    pairs = [one or {} for one in tls.get("tlsCertificates") or []]
    if len(pairs) > 2:
        yield warning(f"{name} can support up to 2 server certificates")
    for pair in pairs or [tls]:
        if not pair.get("serverCertificate"):
            yield wrong(f"{name} requires a server certificate")
        if not pair.get("privateKey"):
            yield wrong(f"{name} requires a private key")
