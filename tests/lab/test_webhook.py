"""
Istio's webhook, rule by rule, on small objects: what is refused, what is warned of, and in which words.

Every text was held against Istio's own validator (1.32, eed52ebb66ad), compiled and run on these objects.
"""

from __future__ import annotations

from typing import Any

import pytest

from canaryd.lab.kubernetes import ApiError, Cluster
from canaryd.lab.kubernetes.durations import nanoseconds
from canaryd.lab.kubernetes.webhook import VALIDATORS, admit, validate
from canaryd.lab.kubernetes.webhook.problems import listed, number, quoted, told, wrong

Object = dict[str, Any]
GROUPS = {"PeerAuthentication": "security.istio.io"}
TO_REVIEWS = [{"destination": {"host": "reviews"}}]


def an(kind: str, spec: Object, **metadata: Any) -> Object:
    group = GROUPS.get(kind, "networking.istio.io")
    about = {"name": "under-test", "namespace": "default", **metadata}
    return {"apiVersion": f"{group}/v1", "kind": kind, "metadata": about, "spec": spec}


def errors(kind: str, spec: Object, **metadata: Any) -> list[str]:
    return [one.text for one in validate(an(kind, spec, **metadata)) if not one.warning]


def warnings(kind: str, spec: Object, **metadata: Any) -> list[str]:
    found = validate(an(kind, spec, **metadata))
    assert all(one.warning for one in found), found
    return [one.text for one in found]


def service(*http: Object, **spec: Any) -> Object:
    return {"hosts": ["reviews"], "http": list(http), **spec}


def entry(**fields: Any) -> Object:
    return service({"route": TO_REVIEWS, **fields})


def weighted(*weights: int | None) -> Object:
    route = [{"destination": {"host": "reviews"}, **({} if one is None else {"weight": one})} for one in weights]
    return service({"route": route})


def matching(**match: Any) -> Object:
    return entry(match=[match])


def to(**destination: Any) -> Object:
    return service({"route": [{"destination": destination}]})


RE2 = "; Istio uses RE2 style regex-based match (https://github.com/google/re2/wiki/Syntax)"
NO_WEIGHT = "total destination weight = 0"
RULES_OF_ROUTES: list[tuple[Object, list[str]]] = [
    # Weights are shares of their sum.
    (weighted(0, 0), [NO_WEIGHT]),
    (weighted(None, None), [NO_WEIGHT]),
    (weighted(0, 0, 0), [NO_WEIGHT]),
    (weighted(0), []),
    (weighted(None), []),
    (weighted(None, 1), []),
    (weighted(50, 49), []),
    (weighted(-1, 2), ["weight -1 < 0"]),
    (weighted(-1, 1), ["weight -1 < 0", NO_WEIGHT]),
    (weighted(2147483647, 2147483647, 2), [NO_WEIGHT]),
    (weighted(2147483647, 2147483647, 3), []),
    ({"hosts": ["reviews"], "tcp": [{"route": weighted(0, 0)["http"][0]["route"]}]}, [NO_WEIGHT]),
    # Destinations: form is checked, existence is not.
    (to(host="*"), ["invalid destination host *"]),
    (to(host=""), ["empty domain name not allowed"]),
    (to(host="*.com"), []),
    (to(host="a_b"), ['domain name "a_b" invalid (label "a_b" invalid)']),
    (to(host="reviews.1"), ['domain name "1" invalid (top level domain "1" cannot be all-numeric)']),
    (to(host="reviews."), []),
    (to(host="x" * 256), [f'domain name "{"x" * 256}" too long (max 255)']),
    (to(host="a." + "x" * 64), [f'domain name "{"x" * 64}" invalid (label "{"x" * 64}" invalid)']),
    (to(host="reviews", subset="v_1"), ["subset name is invalid: v_1"]),
    (to(host="reviews", subset="V1"), []),
    (to(host="reviews", port={"number": 0}), ["port number 0 must be in the range 1..65535"]),
    (to(host="reviews", port={"number": 65536}), ["port number 65536 must be in the range 1..65535"]),
    (service({"route": [{"weight": 1}]}), ["destination is required"]),
    # Hosts, delegates and gateways.
    ({"hosts": ["reviews"]}, ["http, tcp or tls must be provided in virtual service"]),
    (entry() | {"hosts": ["*"]}, ["wildcard host * is not allowed for virtual services bound to the mesh gateway"]),
    (
        entry() | {"hosts": ["*"], "gateways": ["gw", "mesh"]},
        ["wildcard host * is not allowed for virtual services bound to the mesh gateway"],
    ),
    (entry() | {"hosts": ["*"], "gateways": ["gw"]}, []),
    (entry() | {"hosts": ["10.0.0.1", "fd00::1"]}, []),
    (entry() | {"hosts": ["a/b"]}, ['domain name "a/b" invalid (label "a/b" invalid)']),
    (entry() | {"hosts": ["*.foo.bar", "*.bar"]}, ["duplicate hosts in virtual service: *.foo.bar & *.bar"]),
    (entry() | {"hosts": ["a.bar", "*.bar", "a.bar"]}, [
        "duplicate hosts in virtual service: a.bar & *.bar",
        "duplicate hosts in virtual service: a.bar & a.bar",
        "duplicate hosts in virtual service: *.bar & a.bar",
    ]),
    (entry() | {"hosts": ["foo.bar", "*.foo.bar"]}, []),
    (entry() | {"hosts": [], "gateways": ["gw"]}, ["delegate virtual service must have no gateways specified"]),
    (
        {"tcp": [{"route": TO_REVIEWS}], "tls": [{"match": [{"sniHosts": ["a.b"]}], "route": TO_REVIEWS}]},
        [
            "delegate virtual service must have no tls route specified",
            "delegate virtual service must have no tcp route specified",
            'SNI host "a.b" is not a compatible subset of any of the virtual service hosts: []',
        ],
    ),
    ({"http": [{"delegate": {"name": "more"}}]}, [
        "delegate HTTP route cannot contain delegate",
        "HTTP route, redirect or direct_response is required",
    ]),
    (
        entry(name="root", delegate={"name": "more"}, redirect={"uri": "/"}),
        ["root HTTP route root must not specify redirect", "root HTTP route root must not specify route"],
    ),
    (service({"delegate": {"name": "more"}, "mirror": {"host": "ratings"}}), []),
    (entry() | {"gateways": ["ns/gw", "/gw"]}, [
        "config namespace and gateway name cannot be empty",
        'invalid value for namespace: ""',
    ]),
    (entry() | {"gateways": ["ns/g_w"]}, ['invalid value for gateway name: "g_w"']),
    (entry() | {"gateways": ["mesh", "ns/g_w"]}, []),  # Istio looks no further than the first name without a slash
    (entry() | {"gateways": ["g_w"]}, ['domain name "g_w" invalid (label "g_w" invalid)']),
    (entry() | {"exportTo": [".", "default"]}, ["duplicate entries in exportTo for entry default"]),
    (entry() | {"exportTo": ["default", "."]}, ["duplicate entries in exportTo: . and current namespace default"]),
    (entry() | {"exportTo": ["*", "other"]}, [
        "cannot have both public (*) and non-public exportTo values for a resource"
    ]),
    (entry() | {"exportTo": ["~"]}, ["exportTo ~ (none) is not allowed for Istio configuration objects"]),
    (entry() | {"exportTo": ["a b"]}, ["only .,*, or a valid DNS 1123 label is allowed as exportTo entry"]),
    # What an entry does.
    (service({}), ["HTTP route, redirect or direct_response is required"]),
    (entry(redirect={"uri": "/"}), ["HTTP route cannot contain both route and redirect"]),
    (entry(directResponse={"status": 200}), ["HTTP route cannot contain both route and direct_response"]),
    (
        service({"redirect": {"uri": "/"}, "directResponse": {"status": 200}, "fault": {"delay": {"fixedDelay": "1s"}},
                 "rewrite": {"uri": "/x"}}),
        [
            "HTTP route cannot contain both fault and redirect",
            "HTTP route rule cannot contain both rewrite and redirect",
            "HTTP route rule cannot contain both direct_response and redirect",
        ],
    ),
    (
        service({"directResponse": {"status": 100}, "fault": {"delay": {}}, "rewrite": {"uri": "/x"}}),
        [
            "HTTP route cannot contain both fault and direct_response",
            "HTTP route rule cannot contain both rewrite and direct_response",
            "HTTP status 100 is not in range 200-599",
        ],
    ),
    (
        entry(mirror={"host": "a"}, mirrors=[{"destination": {"host": "b"}}]),
        ["HTTP route cannot contain both mirror and mirrors"],
    ),
    (entry(mirrors=[{"percentage": {"value": 1}}]), ["destination is required for mirrors"]),
    (
        entry(mirrors=[{"destination": {"host": "b"}, "percentage": {"value": 101}}]),
        ["mirror percentage must have a max value of 100 (it has 101.000000)"],
    ),
    (entry(mirrorPercentage={"value": -1}), ["mirror_percentage must have a min value of 0 (it has -1.000000)"]),
    (entry(mirrorPercent=101), ["mirror_percent must have a max value of 100 (it has 101)"]),
    (service({"redirect": {}}), ["redirect must specify URI, authority, scheme, or port"]),
    (
        service({"redirect": {"uri": "/a", "prefixRewrite": "/b"}}),
        ["redirect may only specify one of uri or prefix_rewrite"],
    ),
    (
        service({"redirect": {"prefixRewrite": "/b"}, "match": [{"uri": {"exact": "/a"}}]}),
        ["redirect prefix_rewrite requires all URI matches to use prefix match type"],
    ),
    (service({"redirect": {"uri": "/a", "redirectCode": 299}}), ["299 is not a valid redirect code, must be 3xx"]),
    (service({"redirect": {"scheme": "ftp"}}), ['invalid redirect scheme, must be "http" or "https"']),
    (service({"redirect": {"port": 65536}}), ["port number 65536 must be in the range 1..65535"]),
    (entry(rewrite={}), [
        ("rewrite must specify at least one of URI, UriRegexRewrite, or authority. "
        "Only one of URI or UriRegexRewrite may be specified")
    ]),
    (
        entry(rewrite={"uri": "/", "uriRegexRewrite": {"match": "a", "rewrite": "b"}}),
        ["rewrite may only contain one of URI or UriRegexRewrite"],
    ),
    (
        entry(rewrite={"uriRegexRewrite": {"match": "a"}}),
        ["UriRegexRewrite has errors\nUriRegexRewrite requires both Rewrite and Match fields to be specified"],
    ),
    (entry(rewrite={"uriRegexRewrite": {"match": "(", "rewrite": "b"}}), [
        ("UriRegexRewrite has errors\n"
         f'"HTTPRewrite.UriRegexRewrite.Match": error parsing regexp: missing closing ): `(`{RE2}')
    ]),
    (service({"directResponse": {"status": 200, "body": {"string": "x" * 2**20 + "x"}}}), [
        "large direct_responses may impact control plane performance, must be less than 1MB"
    ]),
    (
        entry(rewrite={"authority": "a"}, headers={"request": {"set": {"Host": "b"}}}),
        ['authority header cannot be set multiple times: have "a", attempting to set "b"'],
    ),
    (entry(timeout="0s"), ["duration must be greater than 1ms"]),
    (entry(timeout="1.5ms"), ["only durations to ms precision are supported"]),
    (entry(timeout="1m30s"), []),
    (entry(retries={"attempts": -1}), ["attempts cannot be negative"]),
    (entry(retries={"attempts": 0}), []),
    (entry(retries={"retryOn": "5xx"}), ["http retry policy configured when attempts are set to 0 (disabled)"]),
    (entry(retries={"attempts": 1, "retryOn": "5xx,reset,404,soon,099"}), [
        '"soon" is not a valid retryOn policy',
        '"099" is not a valid retryOn policy',
    ]),
    (entry(retries={"attempts": 1, "perTryTimeout": "0s", "backoff": "0s"}), ["duration must be greater than 1ms"] * 2),
    (entry(fault={}), ["HTTP fault injection must have an abort and/or a delay"]),
    (entry(fault={"abort": {"httpStatus": 601}}), ["HTTP status 601 is not in range 200-599"]),
    (entry(fault={"abort": {"httpStatus": 600}}), []),
    (entry(fault={"abort": {"http2Error": "x"}}), ["HTTP/2 abort fault injection not supported yet"]),
    (entry(fault={"abort": {"grpcStatus": "SO_SO"}}), [
        ('gRPC status "SO_SO" is not supported. See https://github.com/grpc/grpc/blob/master/doc/statuscodes.md '
        "for a list of supported codes, for example 'NOT_FOUND'")
    ]),
    (
        entry(fault={"delay": {"percentage": {"value": 0.00001}, "exponentialDelay": "1s"}}),
        [
            "percentage 1e-05 is neither 0.0, nor in range [0.0001, 100.0]",
            "exponentialDelay not supported yet",
        ],
    ),
    (entry(corsPolicy={"allowMethods": ["GET", "PUTT"]}), ['"PUTT" is not a supported HTTP method']),
    (entry(corsPolicy={"allowOrigins": [{"exact": ""}]}), ["'' is not a valid match type for CORS allow origins"]),
    (entry(corsPolicy={"allowOrigins": [{"regex": "a("}]}), [
        f'"corsPolicy.allowOrigins": error parsing regexp: missing closing ): `a(`{RE2}'
    ]),
    (entry(corsPolicy={"allowHeaders": [""], "exposeHeaders": ["a b", "*"]}), [
        "header name cannot be empty",
        "header name a b is not a valid header name",
    ]),
    (entry(corsPolicy={"maxAge": "1.5s"}), ["max_age duration is accurate only to seconds precision"]),
    (
        entry(headers={"request": {"add": {":path": "/"}, "remove": ["host"]}, "response": {"set": {":status": "1"}}}),
        [
            'invalid header ":path": header cannot have ":" prefix',
            'invalid header "host": cannot set Host header',
            'invalid header ":status": header cannot have ":" prefix',
        ],
    ),
    (entry(headers={"request": {"set": {"a": "50%"}}}), [
        "header value configuration: invalid header configuration. Un-escaped %"
    ]),
    (entry(headers={"request": {"set": {"a": "%REQ(x-id)% 50%%"}}}), []),
    (entry(headers={"response": {"add": {"a": "%REQ(x"}}}), [
        "header value configuration: invalid header configuration. Un-terminated variable expression '%REQ(x'"
    ]),
    (entry(headers={"response": {"add": {"a": "b\n"}}}), ["header value configuration b\n is invalid"]),
    (
        service({"route": [{**TO_REVIEWS[0], "headers": {"response": {"remove": [""]}}}]}),
        ["header name cannot be empty"],
    ),
    # Matches.
    (matching(), []),
    (matching(uri={"prefix": ""}), []),
    (matching(method={"prefix": ""}), ['"method": prefix string match should not be empty']),
    (matching(headers={"a": {"prefix": ""}}), ['"headers": prefix string match should not be empty']),
    (matching(headers={"a": {}}), []),
    (matching(headers={"a b": {"exact": "c"}}), ["header name a b is not a valid header name"]),
    (matching(headers={":method": {"exact": "GET"}}), []),
    (matching(queryParams={"a": {"regex": ""}}), ['"queryParams": regex string match should not be empty']),
    (matching(uri={"regex": "(a"}), [f'"uri": error parsing regexp: missing closing ): `(a`{RE2}']),
    (matching(uri={"regex": "a(?=b)"}), [
        f'"uri": error parsing regexp: invalid or unsupported Perl syntax: `(?=`{RE2}'
    ]),
    (matching(uri={"regex": "x" * 1025}), ['"uri": regex is too large, max length allowed is 1024']),
    (matching(uri={"regex": r"\pL{1000}"}), []),  # too large for Envoy, which nobody asks here
    (matching(headers={"a": {"regex": "*"}}), [
        f'"headers": error parsing regexp: missing argument to repetition operator: `*`{RE2}'
    ]),
    (matching(withoutHeaders={"a": {"regex": "*"}}), []),
    (matching(withoutHeaders={"a": {"prefix": ""}}), ['"withoutHeaders": prefix string match should not be empty']),
    (matching(headers={"a": None}), []),  # it reaches Istio as an empty one
    (matching(headers={"": {}}), ["header name cannot be empty"]),
    (matching(port=65536), ["port number 65536 must be in the range 1..65535"]),
    (matching(sourceLabels={"a/b/c": "-"}), ['invalid tag key: "a/b/c"', 'invalid tag value: "-"']),
    (matching(sourceNamespace="a_b"), ["sourceNamespace match a_b is invalid"]),
    (matching(gateways=["ns/g_w"]), ['invalid value for gateway name: "g_w"']),
    (matching(headers={"@request.auth.claims.group": {"exact": "dev"}}), [
        ("JWT claim based routing (key: @request.auth.claims.group) is only supported for gateway, "
        "found no gateways: []")
    ]),
    (matching(headers={"@request.auth.claims[group]": {"exact": "dev"}}) | {"gateways": ["gw"]}, []),
    # TLS and TCP.
    (
        {"hosts": ["a.b"], "tls": [{"match": [], "route": []}]},
        ["TLS route must have at least one match condition", "TLS route is required"],
    ),
    ({"hosts": ["a.b"], "tls": [{"match": [{"sniHosts": []}], "route": TO_REVIEWS}]}, [
        "TLS match must have at least one SNI host"
    ]),
    ({"hosts": ["a.b"], "tls": [{"match": [{"sniHosts": ["c.b"]}], "route": TO_REVIEWS}]}, [
        'SNI host "c.b" is not a compatible subset of any of the virtual service hosts: [a.b]'
    ]),
    ({"hosts": ["*.b"], "tls": [{"match": [{"sniHosts": ["c.b"]}], "route": TO_REVIEWS}]}, []),
    (
        {"hosts": ["outbound_.80_._.a.b"], "gateways": ["gw"],
         "tls": [{"match": [{"sniHosts": ["outbound_.80_._.a.b"]}], "route": TO_REVIEWS}]},
        [],
    ),
    (
        {"hosts": ["outbound_.x_._.a"], "gateways": ["gw"],
         "tls": [{"match": [{"sniHosts": ["outbound_.x_._.a"]}], "route": TO_REVIEWS}]},
        [('domain name "outbound_.x_._.a" invalid (label "x" invalid). '
         "should follow outbound_.<PORT>_._.<HOSTNAME> format")] * 2,
    ),
    ({"hosts": ["a.b"], "tcp": [{"match": [{"destinationSubnets": ["10.0.0.0/33", "x"], "port": 65536}]}]}, [
        "10.0.0.0/33 is not a valid CIDR block",
        "x is not a valid IP",
        "port number 65536 must be in the range 1..65535",
        "TCP route is required",
    ]),
]  # fmt: skip


@pytest.mark.parametrize(("spec", "wanted"), RULES_OF_ROUTES)
def test_what_is_said_of_a_virtual_service(spec: Object, wanted: list[str]) -> None:
    assert errors("VirtualService", spec) == wanted


def policy(**fields: Any) -> Object:
    return {"host": "reviews", "trafficPolicy": fields}


def balanced(**fields: Any) -> Object:
    return policy(loadBalancer=fields)


def spread(**fields: Any) -> Object:
    return balanced(localityLbSetting=fields)


V1 = {"name": "v1", "labels": {"version": "v1"}}
RULES_OF_DESTINATIONS: list[tuple[Object, list[str]]] = [
    ({"host": "reviews", "subsets": [V1]}, []),
    ({"host": "reviews", "subsets": [V1, V1]}, ["duplicate subset names: v1"]),
    ({"host": "", "subsets": [{"name": ""}]}, ["empty domain name not allowed", "subset name cannot be empty"]),
    ({"host": "reviews", "subsets": [{"name": "v1", "labels": {"": "v1"}}]}, ['invalid tag key: ""']),
    ({"host": "reviews", "subsets": [{**V1, "trafficPolicy": {}}]}, ["traffic policy must have at least one field"]),
    (policy(), ["traffic policy must have at least one field"]),
    (policy(portLevelSettings=[]), ["traffic policy must have at least one field"]),
    (policy(tunnel={"targetHost": "a", "targetPort": 1}, proxyProtocol={}), [
        "tunnel and proxyProtocol must not be set together"
    ]),
    (policy(tunnel={"protocol": "GET", "targetHost": "a_b", "targetPort": 0}), [
        'tunnel protocol must be "CONNECT" or "POST"',
        ('tunnel target host must be valid FQDN or IP address: domain name "a_b" invalid (label "a_b" invalid); '
        "a_b is not a valid IP"),
        "tunnel target port is invalid: port number 0 must be in the range 1..65535",
    ]),
    (policy(portLevelSettings=[{}]), [
        "portTrafficPolicy must have valid port",
        "port traffic policy must have at least one field",
    ]),
    (policy(connectionPool={}), ["connection pool must have at least one field"]),
    (policy(connectionPool={"http": {"maxRetries": -1, "h2UpgradePolicy": "UPGRADE", "useClientProtocol": True}}), [
        "max retries must be non-negative",
        "use client protocol must not be true when H2UpgradePolicy is UPGRADE",
    ]),
    (policy(connectionPool={"http": {"http2KeepAlive": {"interval": "1s"}}}), ["http2 keepalive timeout is required"]),
    (policy(connectionPool={"tcp": {"maxConnections": -1, "idleTimeout": "0s", "connectTimeout": "0s"}}), [
        "max connections must be non-negative",
        "duration must be greater than 1ms",
    ]),
    (policy(connectionPool={"http": {"idleTimeout": "0s", "http2KeepAlive": {"interval": "0s", "timeout": "0s"}}}), [
        *["duration must be greater than 1ms"] * 3
    ]),
    (
        policy(connectionPool={"tcp": {"maxConnectionDuration": "0s", "idleTimeout": "1.5ms",
                                       "tcpKeepalive": {"time": "0s", "interval": "1.5ms"}}}),
        [
            "duration must be greater than 1ms",
            "only durations to ms precision are supported",
            "duration must be greater than 1ms",
            "only durations to ms precision are supported",
        ],
    ),
    (policy(outlierDetection={"consecutiveLocalOriginFailures": 1, "maxEjectionPercent": 101}), [
        ("outlier detection consecutive local origin failures is specified, "
        "but split external local origin errors is set to false"),
        "percentage 101 is not in range 0..100",
    ]),
    (balanced(consistentHash={"httpCookie": {"name": "", "attributes": [{"name": one} for one in ("a", "a", "")]}}), [
        "name required for HttpCookie",
        "duplicate cookie attribute name: a",
        "cookie attribute name cannot be empty",
    ]),
    (balanced(consistentHash={"maglev": {"tableSize": 4}}), ["tableSize must be a prime number for maglev"]),
    (balanced(consistentHash={"maglev": {"tableSize": 65537}}), []),
    (balanced(consistentHash={"maglev": {"tableSize": 5000011}}), ["tableSize must be less than 5000011 for maglev"]),
    (balanced(consistentHash={"minimumRingSize": 1, "ringHash": {}}), [
        "only one of MinimumRingSize or Maglev/Ringhash can be specified"
    ]),
    (balanced(warmup={"minimumPercent": 101, "aggression": 0}), [
        "duration is required",
        "minimumPercent value should be less than or equal to 100",
        "aggression should be greater than 0",
    ]),
    (balanced(localityLbSetting={}, zoneAwareLbSetting={}), [
        "only one of localityLbSetting and zoneAwareLbSetting can be set"
    ]),
    (spread(distribute=[{"from": "a", "to": {"b": 99}}]), ["total locality weight 99 != 100"]),
    (spread(distribute=[{"from": "a", "to": {"b": 0, "c": 100}}]), ["locality weight must be in range [1, 100]"]),
    (spread(distribute=[{"from": "a/*", "to": {"b": 100}}, {"from": "a/z", "to": {"b": 100}}]), [
        "locality a/z overlap with previous specified ones"
    ]),
    (spread(distribute=[{"from": "a/z", "to": {"b": 100}}, {"from": "a/*", "to": {"b": 100}}]), []),
    (spread(distribute=[{"from": "a//s", "to": {"*x": 100}}]), [
        "locality *x wildcard '*' number can not exceed 1 and must be in the end",
        "locality a//s must not contain empty region/zone/subzone info",
    ]),
    (spread(distribute=[{}], failover=[{}]), ["can not simultaneously specify 'distribute' and 'failover'"]),
    (policy(outlierDetection={}, loadBalancer={"localityLbSetting": {"failover": [{"from": "a/*", "to": "a/*"}]}}), [
        "locality lb failover settings must specify different regions",
        "locality lb failover only specify region",
        "locality lb failover region should not contain '*' wildcard",
    ]),
    (
        balanced(zoneAwareLbSetting={"failoverPriority": ["topology.kubernetes.io/zone"]}),
        [("'failover_priority' for zone aware lb must not use topology label 'topology.kubernetes.io/zone'; "
         "region- and zone-level routing are handled automatically")],
    ),
    (policy(tls={"mode": "MUTUAL"}), [
        "client certificate required for mutual tls",
        "private key required for mutual tls",
    ]),
    (policy(tls={"mode": "SIMPLE", "credentialName": "a", "caCertificates": "b"}), [
        "cannot specify client certificates or CA certificate or CA CRL If credentialName is set"
    ]),
    (policy(tls={"mode": "SIMPLE", "insecureSkipVerify": True, "subjectAltNames": ["a"]}), [
        "cannot specify CaCertificates or CredentialName or SubjectAltNames when InsecureSkipVerify is set true"
    ]),
    (policy(tls={"mode": "SIMPLE", "credentialName": "configmap://other/a"}), [
        'invalid configmap:// credentialName: namespace must match the configuration namespace "default"'
    ]),
    ({"host": "reviews", "workloadSelector": {"matchLabels": {"a": "*"}}, "exportTo": ["*"]}, [
        "destination rule with workload selector cannot have exportTo beyond current namespace",
        'wildcard is not supported in selector: "a=*"',
    ]),
]  # fmt: skip


@pytest.mark.parametrize(("spec", "wanted"), RULES_OF_DESTINATIONS)
def test_what_is_said_of_a_destination_rule(spec: Object, wanted: list[str]) -> None:
    assert errors("DestinationRule", spec) == wanted


def server(**fields: Any) -> Object:
    return {"servers": [{"port": {"number": 443, "protocol": "HTTPS", "name": "a"}, "hosts": ["a.b"], **fields}]}


RULES_OF_GATEWAYS: list[tuple[Object, list[str]]] = [
    ({}, ["gateway must have at least one server"]),
    ({"servers": [{}]}, ["server config must contain at least one host", "port is required"]),
    (server(tls={"mode": "SIMPLE", "credentialName": "a"}), []),
    (server(), ["server must have TLS settings for HTTPS/TLS protocols"]),
    (server(port={"number": 80, "protocol": "HTTP", "name": "a"}, tls={"mode": "ISTIO_MUTUAL"}), [
        "server cannot have TLS settings for plain text HTTP ports"
    ]),
    (server(port={"number": 80, "protocol": "HTTP", "name": "a"}, tls={"httpsRedirect": True}), []),
    (server(port={"number": 80, "protocol": "TCP", "name": "a"}, tls={}), [
        "server cannot have TLS settings for non HTTPS/TLS ports"
    ]),
    (server(port={"number": 0, "protocol": "ODD", "targetPort": 1}), [
        'invalid protocol "ODD", supported protocols are HTTP, HTTP2, GRPC, GRPC-WEB, MONGO, REDIS, MYSQL, TCP',
        "port number 0 must be in the range 1..65535",
        "targetPort has no impact on Gateways",
        'port name must be set: protocol:"ODD" target_port:1',
    ]),
    (server(bind="unix://a/", tls={}), ["a/ is not an absolute path to a file",
                                        ('port number must be 0 for unix domain socket: '
                                        'number:443 protocol:"HTTPS" name:"a"')]),
    (server(hosts=["~/*", "a", "*x.b"], tls={}), [
        'invalid namespace value "~" in gateway',
        "short names (non FQDN) are not allowed",
        'partial wildcard "*x.b" not allowed',
    ]),
    (server(tls={"mode": "MUTUAL"}), [
        "MUTUAL TLS requires a client CA bundle",
        "MUTUAL TLS requires a server certificate",
        "MUTUAL TLS requires a private key",
    ]),
    (server(tls={"mode": "SIMPLE", "caCrl": "c", "serverCertificate": "a", "privateKey": "b"}), [
        "CRL is not supported with SIMPLE TLS"
    ]),
    (server(tls={"mode": "ISTIO_MUTUAL", "privateKey": "a"}), ["ISTIO_MUTUAL TLS cannot have associated private key"]),
    (server(tls={"mode": "SIMPLE", "credentialName": "a", "credentialNames": ["b"]}), [
        ("only one of credential_name, credential_names, server_certificate/private_key, tls_certificates "
        "should be specified")
    ]),
    ({"servers": server(tls={})["servers"] * 2}, ["port names in servers must be unique: duplicate name a"]),
]  # fmt: skip


@pytest.mark.parametrize(("spec", "wanted"), RULES_OF_GATEWAYS)
def test_what_is_said_of_a_gateway(spec: Object, wanted: list[str]) -> None:
    assert errors("Gateway", spec) == wanted


def test_a_gateway_has_no_dots_in_its_name() -> None:
    wanted = ['invalid gateway name: "a.b"', "gateway must have at least one server"]
    assert errors("Gateway", {}, name="a.b") == wanted


TCP = {"number": 80, "name": "tcp", "protocol": "TCP"}
RULES_OF_OTHERS: list[tuple[str, Object, list[str]]] = [
    ("ServiceEntry", {"workloadSelector": {"labels": {"a": "*"}}}, ['wildcard is not supported in selector: "a=*"']),
    ("ServiceEntry", {}, ["service entry must have at least one host"]),
    ("ServiceEntry", {"hosts": ["*"], "addresses": ["10.0.0.0/8"], "resolution": "DNS"}, [
        "invalid host *",
        "CIDR addresses are allowed only for NONE/STATIC resolution types",
        ("hosts must be FQDN or contain only prefix wildcards if no endpoints are provided for resolution mode DNS, "
        'domain name "*" invalid (label "*" invalid)'),
    ]),
    ("ServiceEntry", {"hosts": ["a.b"], "endpoints": [{"address": "1.2.3.4"}], "workloadSelector": {}}, [
        "only one of WorkloadSelector or Endpoints is allowed in Service Entry",
        "no endpoints should be provided for resolution type none",
    ]),
    ("ServiceEntry", {"hosts": ["a.b"], "ports": [TCP, {**TCP, "protocol": "ODD"}], "exportTo": ["~"]}, [
        'service entry port name "tcp" already defined',
        "service entry port 80 already defined",
        "unsupported protocol: ODD",
    ]),
    ("ServiceEntry", {"hosts": ["a.b", "c.d"], "ports": [TCP], "resolution": "STATIC",
                      "endpoints": [{"address": "x.y", "ports": {"http": 0}}]}, [
        'endpoint address "x.y" is not a valid IP address',
        "endpoint port 0 is not defined by the service entry",
        "port number 0 must be in the range 1..65535",
        "multiple hosts provided with non-HTTP, non-TLS ports",
    ]),
    ("ServiceEntry", {"hosts": ["a.b"], "ports": [TCP], "resolution": "DYNAMIC_DNS"}, [
        "host must be wildcarded for resolution mode DYNAMIC_DNS",
        "only HTTP, TLS, GRPC, and HTTP2 protocols are supported for resolution type DYNAMIC_DNS",
    ]),
    ("Sidecar", {}, ["sidecar: empty configuration provided"]),
    ("Sidecar", {"egress": [{"hosts": []}, {"hosts": ["a.b", "n s/c.d"]}]}, [
        "sidecar: the egress listener with empty port should be the last listener in the list",
        "sidecar: egress listener must contain at least one host",
        "host must be of form namespace/dnsName",
        'invalid namespace value "n s" in sidecar',
    ]),
    ("Sidecar", {"ingress": [{"port": {"number": 80, "protocol": "HTTP"}, "defaultEndpoint": "10.0.0.1:x"}]}, [
        ("sidecar: defaultEndpoint must be of form 127.0.0.1:<port>,0.0.0.0:<port>,[::1]:port,[::]:port,"
        "unix://filepath or unset"),
        'sidecar: defaultEndpoint port (x) is not a number: strconv.Atoi: parsing "x": invalid syntax',
    ]),
    ("Sidecar", {"outboundTrafficPolicy": {"egressProxy": {"host": "a"}}}, [
        "sidecar: egress_proxy must be set only with ALLOW_ANY outbound_traffic_policy mode"
    ]),
    ("PeerAuthentication", {"mtls": {"mode": "STRICT"}}, []),
    ("PeerAuthentication", {"portLevelMtls": {"0": {}}}, [
        "mesh/namespace peer authentication cannot have port level mTLS",
        "port must be in range 1..65535",
    ]),
    ("PeerAuthentication", {"portLevelMtls": {}, "selector": {"matchLabels": {"": "a"}}}, [
        "port level mTLS, if defined, must have at least one element",
        'empty key is not supported in selector: "=a"',
    ]),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "spec", "wanted"), RULES_OF_OTHERS)
def test_what_is_said_of_other_kinds(kind: str, spec: Object, wanted: list[str]) -> None:
    assert errors(kind, spec) == wanted


def rule(*matches: Object, name: str = "") -> Object:
    return {"route": TO_REVIEWS, "match": list(matches), **({"name": name} if name else {})}


A, B = {"uri": {"prefix": "/a"}}, {"uri": {"prefix": "/b"}}
OVERLAP = "is not used (duplicate/overlapping match in rule"
PAIR = {"serverCertificate": "a", "privateKey": "b"}
WARNINGS: list[tuple[str, Object, list[str]]] = [
    ("VirtualService", service(rule(), rule(name="b")), [
        'virtualService rule "b" not used (only the last rule can have no matches)'
    ]),
    ("VirtualService", service(rule(), rule(A)), [
        "virtualService rule #1 not used (route without matches defined before)"
    ]),
    ("VirtualService", service(rule(A), rule(A | {"name": "again"})), [
        f'virtualService rule #1 match "again" {OVERLAP} #0)',
        "virtualService rule #1 not used (all matches used by prior rules)",
    ]),
    ("VirtualService", service(rule(A), rule(B, A)), [f"virtualService rule #1 match #1 {OVERLAP} #0)"]),
    ("VirtualService", service(rule(A, name="short"), rule({"uri": {"prefix": "/ab"}})), [
        f'virtualService rule #1 match #0 of prefix /ab {OVERLAP} #0 of prefix /a on "short")'
    ]),
    ("VirtualService", service(rule(A), rule({"uri": {"prefix": "/ab"}, "port": 80})), []),
    ("VirtualService", service(rule(A | {"method": {"exact": "PUT"}}), rule({"uri": {"prefix": "/ab"}})), []),
    ("VirtualService", {"hosts": ["a.b"], "tcp": [{"route": TO_REVIEWS}] * 2}, [
        "virtualService rule #1 not used (only the last rule can have no matches)"
    ]),
    ("VirtualService", entry(mirrorPercent=1), [
        'using deprecated setting "mirrorPercent", use "mirrorPercentage" instead'
    ]),
    ("VirtualService", entry() | {"gateways": ["gw.ns.svc.cluster.local"]}, [
        'using legacy gatewayName format "gw.ns.svc.cluster.local"; prefer the <namespace>/<name> format: "ns/gw"'
    ]),
    ("VirtualService", matching(gateways=["gw.ns"]), []),  # dropped on the way up
    ("VirtualService", {"hosts": ["a.b"], "tls": [{"match": [{"sniHosts": ["1.1.1.1"]}], "route": TO_REVIEWS}]}, [
        'using an IP address ("1.1.1.1") goes against SNI spec and most clients do not support this'
    ]),
    ("VirtualService", service({"directResponse": {"status": 200, "body": {"string": "x" * 200_000}}}), [
        "large direct_responses may impact control plane performance"
    ]),
    ("DestinationRule", policy(outlierDetection={"consecutiveErrors": 1}), [
        ("outlier detection consecutive errors is deprecated, use consecutiveGatewayErrors or "
         "consecutive5xxErrors instead")
    ]),
    (
        "DestinationRule",
        {"host": "reviews", "subsets": [{**V1, "trafficPolicy": {"outlierDetection": {"consecutiveErrors": 1}}}]},
        [],
    ),
    ("DestinationRule", balanced(consistentHash={"minimumRingSize": 1}), [
        "consistent hash MinimumRingSize is deprecated, use ConsistentHashLB's RingHash configuration instead"
    ]),
    ("DestinationRule", spread(failover=[{"from": "a", "to": "b"}]), [
        "outlier detection policy must be provided for failover"
    ]),
    ("Gateway", server(tls={"httpsRedirect": True, "cipherSuites": ["ODD", "AES128-SHA", "AES128-SHA"]}), [
        "ignoring invalid cipher suites: [ODD]",
        "ignoring duplicate cipher suites: [AES128-SHA]",
        "tls.httpsRedirect should only be used with http servers",
    ]),
    ("Gateway", server(tls={"mode": "SIMPLE", "tlsCertificates": [PAIR] * 3}), [
        "SIMPLE TLS can support up to 2 server certificates"
    ]),
    ("Gateway", server(tls={"credentialName": "a", "minProtocolVersion": "TLSV1_0"}), [
        ("TLS version below TLSV1_2 require setting compatible ciphers as by default they no longer include "
        "compatible ciphers."),
        "PASSTHROUGH mode does not use certificates, they will be ignored",
    ]),
    ("ServiceEntry", {"hosts": ["*a.b"], "ports": [TCP], "workloadSelector": {}}, [
        "service entry: workload selector specified without labels, will be applied to all services in namespace",
        'partial wildcard "*a.b" not allowed',
        "addresses are required for ports serving TCP (or unset) protocol when IP Autoallocation is not enabled",
        "workloadSelector should not be set when resolution mode is NONE",
    ]),
    ("Sidecar", {"egress": [{"hosts": ["*/*", "./a.b", "default/a.b"]}]}, [
        "duplicated egress host: default/a.b",
        "`*/*` host select all resources, no other hosts can be added",
    ]),
    ("PeerAuthentication", {"selector": {}}, ["workload selector specified without labels"]),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "spec", "wanted"), WARNINGS)
def test_what_is_only_warned_of(kind: str, spec: Object, wanted: list[str]) -> None:
    assert warnings(kind, spec) == wanted


@pytest.mark.parametrize(
    ("annotation", "wanted"),
    [
        ("istio.io/dry-run",
         "default/under-test has unsupported annotation istio.io/dry-run, please remove the annotation"),
        ("internal.istio.io/parents", '"internal.istio.io/parents" annotation found, this may not be set by users'),
        ("internal.istio.io/webhook-always-reject",
         '"internal.istio.io/webhook-always-reject" annotation found, rejecting'),
    ],
)  # fmt: skip
def test_annotations_that_are_not_for_users_are_refused_before_anything_else(annotation: str, wanted: str) -> None:
    assert errors("VirtualService", {}, annotations={annotation: "x"}) == [wanted]


def refusal_of(spec: Object) -> str:
    with pytest.raises(ApiError) as refusal:
        admit(an("VirtualService", spec))
    assert (refusal.value.code, refusal.value.reason) == (400, "")
    return refusal.value.message


def test_one_error_is_told_as_it_is_and_several_as_a_list() -> None:
    denied = 'admission webhook "rev.validation.istio.io" denied the request: configuration is invalid: '
    assert refusal_of(weighted(0, 0)) == denied + NO_WEIGHT
    assert refusal_of(weighted(-1, 1)) == f"{denied}2 errors occurred:\n\t* weight -1 < 0\n\t* {NO_WEIGHT}\n\n"
    alone = f"{denied}1 error occurred:\n\t* destination is required\n\n"
    assert refusal_of(service({"route": [{"weight": 1}]})) == alone
    assert told([wrong("a"), listed("b")]) == "2 errors occurred:\n\t* a\n\t* b\n\n"


def test_other_kinds_are_not_looked_at() -> None:
    """Above all not the Gateway API's Gateway, which has its kind's name from another group."""
    assert set(VALIDATORS) == {
        "VirtualService", "DestinationRule", "Gateway", "ServiceEntry", "Sidecar", "PeerAuthentication"
    }  # fmt: skip
    other = an("Gateway", {}) | {"apiVersion": "gateway.networking.k8s.io/v1"}
    assert admit(other) == ()
    assert admit(an("Telemetry", {})) == ()


def test_warnings_arrive_with_what_was_written_each_once() -> None:
    cluster = Cluster()
    obj = an("VirtualService", service(rule(), rule(A, B)))
    written = cluster.create(cluster.registry.of(obj), "default", obj)
    assert written.warnings == ("virtualService rule #1 not used (route without matches defined before)",)


def test_a_status_is_written_without_the_webhook() -> None:
    """Istio's webhook does not subscribe to the subresource: a VirtualService that it would refuse keeps its status."""
    from canaryd.lab.kubernetes.objects import Options

    cluster = Cluster()
    obj = an("VirtualService", entry())
    resource = cluster.registry.of(obj)
    written = cluster.create(resource, "default", obj).object
    changed = written | {"spec": weighted(0, 0), "status": {"observedGeneration": "1"}}
    found = cluster.replace(resource, "default", "under-test", changed, Options(subresource="status")).object
    assert found["status"] == {"observedGeneration": "1"}
    assert found["spec"] == written["spec"]


@pytest.mark.parametrize(
    ("text", "wanted"),
    [("1s", 10**9), ("1h1m1s", 3661 * 10**9), ("-1.5ms", -1_500_000), (".5s", 500_000_000), ("0", 0)],
)
def test_durations_are_read_as_go_reads_them(text: str, wanted: int) -> None:
    assert nanoseconds(text) == wanted


@pytest.mark.parametrize("text", ["", "1", "1 s", "s", "1d", "--1s", "1s?"])
def test_what_is_no_duration_is_an_error(text: str) -> None:
    with pytest.raises(ValueError, match="not a duration"):
        nanoseconds(text)


def test_numbers_and_strings_are_printed_as_go_prints_them() -> None:
    printed = [number(one) for one in (0.0, 100.0, 12.5, 1e-5, 1234567.5, 123456.0)]
    assert printed == ["0", "100", "12.5", "1e-05", "1.2345675e+06", "123456"]
    assert quoted('a"b\\\n\x01\u200bé') == r'"a\"b\\\n\x01\u200bé"'


def test_over_http_warnings_are_headers_and_a_refusal_is_a_status() -> None:
    """What kubectl prints as `Warning:`, and the bare 400 that clients tell from a failed patch by its message."""
    import requests

    from canaryd.lab.kubernetes import ApiServer

    path = "/apis/networking.istio.io/v1/namespaces/default/virtualservices"
    with ApiServer(Cluster()) as server:
        taken = requests.post(
            server.address + path, json=an("VirtualService", service(rule(), rule(name="b"))), timeout=10
        )
        refused = requests.post(
            server.address + path,
            params={"dryRun": "All"},
            json=an("VirtualService", weighted(0, 0), name="nothing"),
            timeout=10,
        )
    assert taken.status_code == 201
    assert taken.headers["Warning"] == (
        r'299 - "virtualService rule \"b\" not used (only the last rule can have no matches)"'
    )
    assert refused.status_code == 400
    assert "reason" not in refused.json()
    assert refused.json()["message"].endswith(f"configuration is invalid: {NO_WEIGHT}")
