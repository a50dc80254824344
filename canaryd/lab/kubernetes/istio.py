"""
Istio's custom resources as the CRDs declare them: VirtualService, DestinationRule, Gateway, and loosely a few more.

Written from the API's documentation (istio/api: networking/v1alpha3/*.proto), in the shape of its generated CRDs:
served as v1 (stored), v1beta1 and v1alpha3 with one schema, status as a subresource, *every list atomic*. No bounds
on `weight`: a negative one passes here and is stopped by the webhook.
"""

from __future__ import annotations

from typing import Any

from canaryd.lab.kubernetes.resources import Resource, Schema

TEXT: Schema = {"type": "string"}
FLAG: Schema = {"type": "boolean"}
COUNT: Schema = {"type": "integer", "format": "int32"}
SIZE: Schema = {"type": "integer"}
NUMBER: Schema = {"type": "number", "format": "double"}
DURATION: Schema = {"type": "string", "format": "duration"}
ANYTHING: Schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}


def struct(*, required: tuple[str, ...] = (), **properties: Schema) -> Schema:
    found: dict[str, Any] = {"type": "object", "properties": properties}
    if required:
        found["required"] = list(required)
    return found


def array(items: Schema) -> Schema:
    return {"type": "array", "items": items}


def mapping(values: Schema) -> Schema:
    return {"type": "object", "additionalProperties": values}


def choice(*values: str) -> Schema:
    return {"type": "string", "enum": list(values)}


TEXTS = array(TEXT)
LABELS = mapping(TEXT)
PERCENT = struct(value=NUMBER)
PORT = struct(number=SIZE)
STRING_MATCH = struct(exact=TEXT, prefix=TEXT, regex=TEXT)
DESTINATION = struct(required=("host",), host=TEXT, subset=TEXT, port=PORT)
HEADER_OPERATIONS = struct(set=LABELS, add=LABELS, remove=TEXTS)
HEADERS = struct(request=HEADER_OPERATIONS, response=HEADER_OPERATIONS)

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
    port=SIZE,
    sourceLabels=LABELS,
    sourceNamespace=TEXT,
    gateways=TEXTS,
    statPrefix=TEXT,
)
HTTP_ROUTE = struct(
    name=TEXT,
    match=array(HTTP_MATCH),
    route=array(struct(required=("destination",), destination=DESTINATION, weight=COUNT, headers=HEADERS)),
    redirect=struct(
        uri=TEXT,
        authority=TEXT,
        scheme=TEXT,
        port=SIZE,
        derivePort=choice("FROM_PROTOCOL_DEFAULT", "FROM_REQUEST_PORT"),
        redirectCode=SIZE,
        prefixRewrite=TEXT,
        uriRegexRewrite=struct(match=TEXT, rewrite=TEXT),
    ),
    directResponse=struct(
        required=("status",),
        status=SIZE,
        body=struct(string=TEXT, bytes=TEXT),
        headers=LABELS,
    ),
    delegate=struct(name=TEXT, namespace=TEXT),
    rewrite=struct(uri=TEXT, authority=TEXT, uriRegexRewrite=struct(match=TEXT, rewrite=TEXT)),
    timeout=DURATION,
    retries=struct(
        attempts=COUNT,
        perTryTimeout=DURATION,
        retryOn=TEXT,
        backoff=DURATION,
        retryRemoteLocalities={"type": "boolean", "nullable": True},
        retryIgnorePreviousHosts={"type": "boolean", "nullable": True},
    ),
    fault=struct(
        delay=struct(fixedDelay=DURATION, exponentialDelay=DURATION, percent=COUNT, percentage=PERCENT),
        abort=struct(httpStatus=COUNT, grpcStatus=TEXT, http2Error=TEXT, percentage=PERCENT),
    ),
    mirror=DESTINATION,
    mirrors=array(struct(required=("destination",), destination=DESTINATION, percentage=PERCENT)),
    mirrorPercentage=PERCENT,
    mirrorPercent={"type": "integer", "nullable": True},
    mirror_percent={"type": "integer", "nullable": True},
    corsPolicy=struct(
        allowOrigin=TEXTS,
        allowOrigins=array(STRING_MATCH),
        allowMethods=TEXTS,
        allowHeaders=TEXTS,
        exposeHeaders=TEXTS,
        maxAge=DURATION,
        allowCredentials={"type": "boolean", "nullable": True},
        unmatchedPreflights=choice("UNSPECIFIED", "FORWARD", "IGNORE"),
    ),
    headers=HEADERS,
)
ROUTE_DESTINATIONS = array(struct(required=("destination",), destination=DESTINATION, weight=COUNT))
TLS_ROUTE = struct(
    required=("match",),
    match=array(
        struct(
            required=("sniHosts",),
            sniHosts=TEXTS,
            destinationSubnets=TEXTS,
            port=SIZE,
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
            port=SIZE,
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

# Only what a canary can trip over is spelled out; the rest of a traffic policy is let through as it is.
TRAFFIC_POLICY = struct(
    loadBalancer=ANYTHING,
    connectionPool=ANYTHING,
    outlierDetection=ANYTHING,
    tls=ANYTHING,
    portLevelSettings=array(ANYTHING),
    tunnel=ANYTHING,
    proxyProtocol=ANYTHING,
    retryBudget=ANYTHING,
)
DESTINATION_RULE = struct(
    required=("host",),
    host=TEXT,
    trafficPolicy=TRAFFIC_POLICY,
    subsets=array(struct(required=("name",), name=TEXT, labels=LABELS, trafficPolicy=TRAFFIC_POLICY)),
    exportTo=TEXTS,
    workloadSelector=struct(matchLabels=LABELS),
)
GATEWAY = struct(
    selector=LABELS,
    servers=array(
        struct(
            required=("port", "hosts"),
            port=struct(
                required=("number", "protocol", "name"), number=SIZE, protocol=TEXT, name=TEXT, targetPort=SIZE
            ),
            bind=TEXT,
            hosts=TEXTS,
            tls=ANYTHING,
            defaultEndpoint=TEXT,
            name=TEXT,
        )
    ),
)


def _resource(
    kind: str,
    plural: str,
    short: str,
    spec: Schema,
    *columns: tuple[str, str],
    group: str = "networking.istio.io",
    versions: tuple[str, ...] = ("v1", "v1beta1", "v1alpha3"),
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
        schema=struct(spec=spec, status=ANYTHING),
        columns=columns,
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
    # Kept as they are given: they change who sees which route, and a preflight may want to read them.
    _resource("ServiceEntry", "serviceentries", "se", ANYTHING, ("Hosts", ".spec.hosts")),
    _resource("Sidecar", "sidecars", "", ANYTHING),
    _resource(
        "PeerAuthentication",
        "peerauthentications",
        "pa",
        ANYTHING,
        ("Mode", ".spec.mtls.mode"),
        group="security.istio.io",
        versions=("v1", "v1beta1"),
    ),
)
