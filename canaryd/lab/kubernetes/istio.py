"""
Istio's custom resources as the CRDs declare them.

Written from the API's documentation (istio/api: networking/v1alpha3/*.proto, security/v1beta1/*.proto), in the shape of
its generated CRDs: served as v1 (stored), v1beta1 and v1alpha3 with one schema, status as a subresource, *every list
atomic* but the ports of a ServiceEntry. No bounds on `weight`: a negative one passes here, the webhook stops it.
A `oneof` of the protobuf is a `oneOf` here: none or one of its fields.
"""

from __future__ import annotations

from typing import Any

from canaryd.lab.kubernetes.declaring import (
    DURATION,
    FLAG,
    INT32,
    INT_OR_TEXT,
    NUMBER,
    TEXT,
    TIME,
    UINT32,
    UINT64,
    array,
    choice,
    mapping,
    nullable,
    one_of,
    ruled,
    struct,
)
from canaryd.lab.kubernetes.resources import AGE, Column, Resource, Schema
from canaryd.lab.kubernetes.validations import rule

TEXTS = array(TEXT)
LABELS = mapping(TEXT)
PERCENT = struct(value=NUMBER)
PORT = struct(number=UINT32)
STRING_MATCH = one_of(struct(exact=TEXT, prefix=TEXT, regex=TEXT), "exact", "prefix", "regex")
DESTINATION = struct(required=("host",), host=TEXT, subset=TEXT, port=PORT)
HEADER_OPERATIONS = struct(set=LABELS, add=LABELS, remove=TEXTS)
HEADERS = struct(request=HEADER_OPERATIONS, response=HEADER_OPERATIONS)
MATCH_LABELS = ruled(
    mapping(
        ruled({"type": "string", "maxLength": 63}, rule("wildcard not allowed in label value match", "no-wildcard")),
        maxProperties=4096,
    ),
    rule("wildcard not allowed in label key match", "no-wildcard-keys"),
    rule("key must not be empty", "no-empty-keys"),
)
ALPHA_SELECTOR = struct(
    labels=mapping(
        ruled({"type": "string", "maxLength": 63}, rule("wildcard is not supported in selector", "no-wildcard")),
        maxProperties=256,
    )
)

HTTP_MATCH = struct(
    name=TEXT,
    uri=STRING_MATCH,
    scheme=STRING_MATCH,
    method=STRING_MATCH,
    authority=STRING_MATCH,
    headers=mapping(STRING_MATCH),
    withoutHeaders=mapping(STRING_MATCH),
    queryParams=mapping(STRING_MATCH),
    ignoreUriCase=FLAG,
    port=UINT32,
    sourceLabels=LABELS,
    sourceNamespace=TEXT,
    gateways=TEXTS,
    statPrefix=TEXT,
)
ROUTE_DESTINATIONS = array(struct(required=("destination",), destination=DESTINATION, weight=INT32))
HTTP_ROUTE_DESTINATIONS = array(
    struct(required=("destination",), destination=DESTINATION, weight=INT32, headers=HEADERS)
)
HTTP_ROUTE = struct(
    name=TEXT,
    match=array(HTTP_MATCH),
    route=HTTP_ROUTE_DESTINATIONS,
    redirect=one_of(
        struct(
            uri=TEXT,
            authority=TEXT,
            scheme=TEXT,
            port=UINT32,
            derivePort=choice("FROM_PROTOCOL_DEFAULT", "FROM_REQUEST_PORT"),
            redirectCode=UINT32,
            prefixRewrite=TEXT,
        ),
        "port",
        "derivePort",
    ),
    directResponse=struct(
        required=("status",),
        status=UINT32,
        body=one_of(struct(string=TEXT, bytes={"type": "string", "format": "byte"}), "string", "bytes"),
    ),
    delegate=struct(name=TEXT, namespace=TEXT),
    rewrite=struct(uri=TEXT, authority=TEXT, uriRegexRewrite=struct(match=TEXT, rewrite=TEXT)),
    timeout=DURATION,
    retries=struct(
        attempts=INT32,
        perTryTimeout=DURATION,
        retryOn=TEXT,
        backoff=DURATION,
        retryRemoteLocalities=nullable(FLAG),
        retryIgnorePreviousHosts=nullable(FLAG),
    ),
    fault=struct(
        delay=one_of(
            struct(fixedDelay=DURATION, exponentialDelay=DURATION, percent=INT32, percentage=PERCENT),
            "fixedDelay",
            "exponentialDelay",
        ),
        abort=one_of(
            struct(httpStatus=INT32, grpcStatus=TEXT, http2Error=TEXT, percentage=PERCENT),
            "httpStatus",
            "grpcStatus",
            "http2Error",
        ),
    ),
    mirror=DESTINATION,
    mirrors=array(struct(required=("destination",), destination=DESTINATION, percentage=PERCENT)),
    mirrorPercentage=PERCENT,
    mirrorPercent=nullable(UINT32),
    mirror_percent=nullable(UINT32),
    corsPolicy=struct(
        allowOrigin=TEXTS,
        allowOrigins=array(STRING_MATCH),
        allowMethods=TEXTS,
        allowHeaders=TEXTS,
        exposeHeaders=TEXTS,
        maxAge=DURATION,
        allowCredentials=nullable(FLAG),
        unmatchedPreflights=choice("UNSPECIFIED", "FORWARD", "IGNORE"),
    ),
    headers=HEADERS,
)
TLS_ROUTE = struct(
    required=("match",),
    match=array(
        struct(
            required=("sniHosts",),
            sniHosts=TEXTS,
            destinationSubnets=TEXTS,
            port=UINT32,
            sourceLabels=LABELS,
            gateways=TEXTS,
            sourceNamespace=TEXT,
        )
    ),
    route=ROUTE_DESTINATIONS,
)
TCP_ROUTE = struct(
    match=array(
        struct(
            destinationSubnets=TEXTS,
            port=UINT32,
            sourceSubnet=TEXT,
            sourceLabels=LABELS,
            gateways=TEXTS,
            sourceNamespace=TEXT,
        )
    ),
    route=ROUTE_DESTINATIONS,
)
VIRTUAL_SERVICE = struct(
    hosts=TEXTS,
    gateways=TEXTS,
    exportTo=TEXTS,
    http=array(HTTP_ROUTE),
    tls=array(TLS_ROUTE),
    tcp=array(TCP_ROUTE),
)

CONNECTION_POOL = struct(
    http=struct(
        h2UpgradePolicy=choice("DEFAULT", "DO_NOT_UPGRADE", "UPGRADE"),
        http1MaxPendingRequests=INT32,
        http2MaxRequests=INT32,
        http2KeepAlive=struct(interval=DURATION, timeout=DURATION),
        idleTimeout=DURATION,
        maxConcurrentStreams=INT32,
        maxRequestsPerConnection=INT32,
        maxRetries=INT32,
        useClientProtocol=FLAG,
    ),
    tcp=struct(
        connectTimeout=DURATION,
        idleTimeout=TEXT,  # 0s switches it off
        maxConnectionDuration=DURATION,
        maxConnections=INT32,
        tcpKeepalive=struct(interval=DURATION, probes=UINT32, time=DURATION),
    ),
)
FROM_TO: dict[str, Any] = {"from": TEXT, "to": TEXT}
FAILOVER = array(struct(**FROM_TO))
CONSISTENT_HASH = one_of(
    one_of(
        struct(
            httpHeaderName=TEXT,
            httpCookie=struct(
                required=("name",),
                name=TEXT,
                path=TEXT,
                ttl=TEXT,
                attributes=array(struct(required=("name",), name=TEXT, value=TEXT)),
            ),
            useSourceIp=FLAG,
            httpQueryParameterName=TEXT,
            minimumRingSize=UINT64,
            ringHash=struct(minimumRingSize=UINT64),
            maglev=struct(tableSize=UINT64),
        ),
        "httpHeaderName",
        "httpCookie",
        "useSourceIp",
        "httpQueryParameterName",
    ),
    "ringHash",
    "maglev",
)
LOAD_BALANCER = one_of(
    struct(
        simple=choice("UNSPECIFIED", "LEAST_CONN", "RANDOM", "PASSTHROUGH", "ROUND_ROBIN", "LEAST_REQUEST"),
        consistentHash=CONSISTENT_HASH,
        localityLbSetting=struct(
            distribute=array(struct(**{**FROM_TO, "to": mapping(UINT32)})),
            enabled=nullable(FLAG),
            failover=FAILOVER,
            failoverPriority=TEXTS,
        ),
        zoneAwareLbSetting=struct(
            enabled=nullable(FLAG),
            failover=FAILOVER,
            failoverPriority=TEXTS,
            minClusterSize=nullable(UINT32, minimum=1),
        ),
        warmup=struct(
            required=("duration",),
            duration=DURATION,
            aggression=nullable(NUMBER, minimum=0),
            minimumPercent=nullable(NUMBER, minimum=0, maximum=100),
        ),
        warmupDurationSecs=DURATION,
    ),
    "simple",
    "consistentHash",
)
OUTLIER_DETECTION = struct(
    baseEjectionTime=DURATION,
    consecutive5xxErrors=nullable(UINT32),
    consecutiveErrors=INT32,
    consecutiveGatewayErrors=nullable(UINT32),
    consecutiveLocalOriginFailures=nullable(UINT32),
    interval=DURATION,
    maxEjectionPercent=INT32,
    minHealthPercent=INT32,
    outlierDetectionHttpErrorCodes=array({"type": "integer", "minimum": 100, "maximum": 599}),
    splitExternalLocalOriginErrors=FLAG,
)
CLIENT_TLS = struct(
    mode=choice("DISABLE", "SIMPLE", "MUTUAL", "ISTIO_MUTUAL"),
    caCertificates=TEXT,
    caCrl=TEXT,
    clientCertificate=TEXT,
    credentialName=TEXT,
    insecureSkipVerify=nullable(FLAG),
    privateKey=TEXT,
    sni=TEXT,
    subjectAltNames=TEXTS,
)
PORT_POLICY: dict[str, Any] = {
    "connectionPool": CONNECTION_POOL,
    "loadBalancer": LOAD_BALANCER,
    "outlierDetection": OUTLIER_DETECTION,
    "tls": CLIENT_TLS,
}
TRAFFIC_POLICY = struct(
    **PORT_POLICY,
    portLevelSettings=array(struct(port=PORT, **PORT_POLICY), maxItems=4096),
    proxyProtocol=struct(version=choice("V1", "V2")),
    retryBudget=struct(
        budgetInterval=TEXT, minRetryConcurrency=UINT32, percent=nullable(NUMBER, minimum=0, maximum=100)
    ),
    tunnel=struct(required=("targetHost", "targetPort"), protocol=TEXT, targetHost=TEXT, targetPort=UINT32),
)
DESTINATION_RULE = struct(
    required=("host",),
    host=TEXT,
    trafficPolicy=TRAFFIC_POLICY,
    subsets=array(struct(required=("name",), name=TEXT, labels=LABELS, trafficPolicy=TRAFFIC_POLICY)),
    exportTo=TEXTS,
    workloadSelector=struct(matchLabels=MATCH_LABELS),
)

TLS_VERSION = choice("TLS_AUTO", "TLSV1_0", "TLSV1_1", "TLSV1_2", "TLSV1_3")
SERVER_TLS = ruled(
    struct(
        mode=choice("PASSTHROUGH", "SIMPLE", "MUTUAL", "AUTO_PASSTHROUGH", "ISTIO_MUTUAL", "OPTIONAL_MUTUAL"),
        caCertCredentialName=TEXT,
        caCertificates=TEXT,
        caCrl=TEXT,
        cipherSuites=TEXTS,
        credentialName=TEXT,
        credentialNames=array(TEXT, minItems=1, maxItems=2),
        httpsRedirect=FLAG,
        insecureSkipVerify=nullable(FLAG),
        maxProtocolVersion=TLS_VERSION,
        minProtocolVersion=TLS_VERSION,
        privateKey=TEXT,
        serverCertificate=TEXT,
        subjectAltNames=TEXTS,
        tlsCertificates=array(
            struct(caCertificates=TEXT, privateKey=TEXT, serverCertificate=TEXT), minItems=1, maxItems=2
        ),
        verifyCertificateHash=TEXTS,
        verifyCertificateSpki=TEXTS,
    ),
    rule(
        "only one of credentialNames or tlsCertificates can be set", "at-most-one", "credentialNames", "tlsCertificates"
    ),
    rule(
        "only one of credentialName or credentialNames can be set", "at-most-one", "credentialName", "credentialNames"
    ),
    # The real third rule speaks of credentialName and looks at credentialNames: it can only repeat the first.
    rule(
        "only one of credentialName or tlsCertificates can be set", "at-most-one", "credentialNames", "tlsCertificates"
    ),
)
GATEWAY = struct(
    selector=LABELS,
    servers=array(
        struct(
            required=("port", "hosts"),
            port=struct(
                required=("number", "protocol", "name"), number=UINT32, protocol=TEXT, name=TEXT, targetPort=UINT32
            ),
            bind=TEXT,
            hosts=TEXTS,
            tls=SERVER_TLS,
            defaultEndpoint=TEXT,
            name=TEXT,
        )
    ),
)

PORT_RULE = rule("port must be between 1-65535", "port")
SERVICE_ENTRY = ruled(
    struct(
        required=("hosts",),
        hosts=array(ruled(TEXT, rule("hostname cannot be wildcard", "other-than", "*")), minItems=1, maxItems=256),
        addresses=array({"type": "string", "maxLength": 64}, maxItems=256),
        endpoints=array(
            ruled(
                struct(
                    address=ruled(
                        {"type": "string", "maxLength": 256},
                        rule("UDS must be an absolute path or abstract socket", "socket-path"),
                        rule("UDS may not be a dir", "socket-file"),
                    ),
                    labels=mapping(TEXT, maxProperties=256),
                    locality={"type": "string", "maxLength": 2048},
                    network={"type": "string", "maxLength": 2048},
                    ports=ruled(
                        mapping(ruled(UINT32, PORT_RULE), maxProperties=128),
                        rule("port name must be valid", "port-names"),
                    ),
                    serviceAccount={"type": "string", "maxLength": 253},
                    weight=UINT32,
                ),
                rule("Address is required", "has-address"),
                rule("UDS may not include ports", "socket-without-ports"),
            ),
            maxItems=4096,
        ),
        exportTo=TEXTS,
        location=choice("MESH_EXTERNAL", "MESH_INTERNAL"),
        ports=ruled(
            {
                **array(
                    struct(
                        required=("number", "name"),
                        name={"type": "string", "maxLength": 256},
                        number=ruled(UINT32, PORT_RULE),
                        protocol={"type": "string", "maxLength": 256},
                        targetPort=ruled(UINT32, PORT_RULE),
                    ),
                    maxItems=256,
                ),
                "x-kubernetes-list-type": "map",
                "x-kubernetes-list-map-keys": ["name"],
            },
            rule("port number cannot be duplicated", "distinct", "number"),
        ),
        resolution=choice("NONE", "STATIC", "DNS", "DNS_ROUND_ROBIN", "DYNAMIC_DNS"),
        subjectAltNames=TEXTS,
        workloadSelector=ALPHA_SELECTOR,
    ),
    rule("only one of WorkloadSelector or Endpoints can be set", "at-most-one", "workloadSelector", "endpoints"),
    rule("CIDR addresses are allowed only for NONE/STATIC resolution types", "ranges-are-static"),
    rule("NONE mode cannot set endpoints", "none-has-no-endpoints"),
    rule("DNS_ROUND_ROBIN mode cannot have multiple endpoints", "round-robin-of-one"),
)
SIDECAR_PORT = struct(name=TEXT, number=UINT32, protocol=TEXT, targetPort=UINT32)
CAPTURE_MODE = choice("DEFAULT", "IPTABLES", "NONE")
SIDECAR = struct(
    egress=array(
        struct(required=("hosts",), bind=TEXT, captureMode=CAPTURE_MODE, hosts=TEXTS, port=SIDECAR_PORT),
    ),
    inboundConnectionPool=CONNECTION_POOL,
    ingress=array(
        struct(
            required=("port",),
            bind=TEXT,
            captureMode=CAPTURE_MODE,
            connectionPool=CONNECTION_POOL,
            defaultEndpoint=TEXT,
            port=SIDECAR_PORT,
            tls=SERVER_TLS,
        )
    ),
    outboundTrafficPolicy=struct(egressProxy=DESTINATION, mode=choice("REGISTRY_ONLY", "ALLOW_ANY")),
    workloadSelector=ALPHA_SELECTOR,
)
MTLS = struct(mode=choice("UNSET", "DISABLE", "PERMISSIVE", "STRICT"))
PEER_AUTHENTICATION = ruled(
    struct(
        selector=struct(matchLabels=MATCH_LABELS),
        mtls=MTLS,
        portLevelMtls=ruled(mapping(MTLS, minProperties=1), rule("port must be between 1-65535", "ports-as-keys")),
    ),
    rule("portLevelMtls requires selector", "levels-need-selector"),
)
STATUS: Schema = {
    **struct(
        conditions=array(
            struct(
                lastProbeTime=TIME,
                lastTransitionTime=TIME,
                message=TEXT,
                observedGeneration=INT_OR_TEXT,
                reason=TEXT,
                status=TEXT,
                type=TEXT,
            )
        ),
        observedGeneration=INT_OR_TEXT,
        validationMessages=array(
            struct(
                documentationUrl=TEXT,
                level=choice("UNKNOWN", "ERROR", "WARNING", "INFO"),
                type=struct(code=TEXT, name=TEXT),
            )
        ),
    ),
    "x-kubernetes-preserve-unknown-fields": True,
}


ANYTHING: Schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}


def _resource(
    kind: str,
    plural: str,
    short: str,
    spec: Schema,
    *columns: tuple[str, str],
    group: str = "networking.istio.io",
    versions: tuple[str, ...] = ("v1", "v1beta1", "v1alpha3"),
    required: tuple[str, ...] = (),
) -> Resource:
    return Resource(
        group=group,
        versions=versions,
        kind=kind,
        plural=plural,
        short_names=(short,) if short else (),
        categories=("istio-io", group.replace(".", "-")),
        has_status=True,
        has_generation=True,
        unconditional_update=False,
        schema=struct(spec=spec, status=STATUS, required=required),
        columns=(*(Column(name, path=path) for name, path in columns), Column("Age", "date", path=AGE)),
    )


ISTIO_RESOURCES = (
    _resource(
        "VirtualService",
        "virtualservices",
        "vs",
        VIRTUAL_SERVICE,
        ("Gateways", ".spec.gateways"),
        ("Hosts", ".spec.hosts"),
    ),
    _resource("DestinationRule", "destinationrules", "dr", DESTINATION_RULE, ("Host", ".spec.host")),
    _resource("Gateway", "gateways", "gw", GATEWAY),
    _resource(
        "ServiceEntry",
        "serviceentries",
        "se",
        SERVICE_ENTRY,
        ("Hosts", ".spec.hosts"),
        ("Location", ".spec.location"),
        ("Resolution", ".spec.resolution"),
        required=("spec",),
    ),
    _resource("Sidecar", "sidecars", "", SIDECAR),
    # Kept as they are given: they change who sees which route, and a preflight may want to read them.
    _resource("WorkloadEntry", "workloadentries", "we", ANYTHING, ("Address", ".spec.address")),
    _resource("WorkloadGroup", "workloadgroups", "wg", ANYTHING),
    _resource("EnvoyFilter", "envoyfilters", "", ANYTHING, versions=("v1alpha3",)),
    _resource("ProxyConfig", "proxyconfigs", "", ANYTHING, versions=("v1beta1",)),
    _resource(
        "PeerAuthentication",
        "peerauthentications",
        "pa",
        PEER_AUTHENTICATION,
        ("Mode", ".spec.mtls.mode"),
        group="security.istio.io",
        versions=("v1", "v1beta1"),
    ),
    _resource(
        "AuthorizationPolicy",
        "authorizationpolicies",
        "ap",
        ANYTHING,
        ("Action", ".spec.action"),
        group="security.istio.io",
        versions=("v1", "v1beta1"),
    ),
    _resource(
        "RequestAuthentication",
        "requestauthentications",
        "ra",
        ANYTHING,
        group="security.istio.io",
        versions=("v1", "v1beta1"),
    ),
    _resource(
        "Telemetry",
        "telemetries",
        "telemetry",
        ANYTHING,
        group="telemetry.istio.io",
        versions=("v1", "v1alpha1"),
    ),
    _resource("WasmPlugin", "wasmplugins", "", ANYTHING, group="extensions.istio.io", versions=("v1alpha1",)),
)
