"""Delegation: what becomes of a root's entry and the entries of its delegate."""

from __future__ import annotations

from typing import Any

import pytest

from canaryd.errors import Rejected
from canaryd.lab.istiod.delegates import merged_entries

from .translating import PLAIN, V1, V3, host_of, mesh, shares, to, translate, virtual

Json = dict[str, Any]


def root(entry: Json | None = None, *more: Json, **delegate: str) -> Json:
    return virtual({"delegate": {"name": "team", **delegate}, **(entry or {})}, *more, name="root")


def delegate(*http: Json, namespace: str = "default", **spec: Any) -> Json:
    found = virtual(*http, name="team", namespace=namespace, **spec)
    del found["spec"]["hosts"]
    return found


def served(*objects: Json) -> list[Json]:
    found: list[Json] = host_of(translate(mesh(*objects)))["routes"]
    return found


def test_weights_live_in_the_delegate() -> None:
    found = served(root({"name": "shop"}), delegate({"name": "reviews", "route": [to("v1", 90), to("v3", 10)]}))
    assert [(each["name"], shares(each)) for each in found] == [("shop-reviews", {V1: 90, V3: 10})]


def test_a_delegate_alone_says_nothing() -> None:
    assert [shares(each) for each in served(delegate({"route": [to("v3")]}))] == [{PLAIN: 100}]


def test_without_its_delegate_an_entry_is_not_there() -> None:
    """The rest of the root stands. Istio says so in its log only."""
    rest = {"route": [to("v1")]}
    assert [shares(each) for each in served(root(None, rest))] == [{V1: 100}]
    assert [shares(each) for each in served(root())] == [{PLAIN: 100}]


@pytest.mark.parametrize(("exported", "seen"), [(["*"], True), (["."], False), (["default"], True), (["shop"], False)])
def test_a_delegate_must_be_exported_to_its_root(exported: list[str], seen: bool) -> None:
    theirs = delegate(
        {"route": [to("v3", host="reviews.default.svc.cluster.local")]}, namespace="ops", exportTo=exported
    )
    found = served(root(None, {"route": [to("v1")]}, namespace="ops"), theirs)
    assert [shares(each) for each in found] == [{V3: 100} if seen else {V1: 100}]


def test_a_short_host_in_a_delegate_is_of_the_delegates_namespace() -> None:
    found = served(root(namespace="ops"), delegate({"route": [to("v3")]}, namespace="ops"))
    assert [shares(each) for each in found] == [{"outbound|9080|v3|reviews.ops.svc.cluster.local": 100}]


def test_what_the_delegate_leaves_open_it_has_from_the_root() -> None:
    settings = {
        "timeout": "5s",
        "retries": {"attempts": 7},
        "rewrite": {"uri": "/r"},
        "headers": {"request": {"set": {"a": "b"}}},
        "fault": {"abort": {"httpStatus": 500, "percentage": {"value": 1}}},
        "corsPolicy": {"allowMethods": ["GET"]},
        "mirror": {"host": "reviews", "subset": "v3"},
        "mirrorPercentage": {"value": 5},
    }
    inherited = served(root(settings), delegate({"route": [to("v1")]}))[0]
    alone = served(virtual({**settings, "route": [to("v1")]}))[0]
    assert inherited == alone
    several = {"mirrors": [{"destination": {"host": "reviews", "subset": "v3"}}]}
    assert "request_mirror_policies" in served(root(several), delegate({"route": [to("v1")]}))[0]["route"]
    closed = {"directResponse": {"status": 503}}
    assert "direct_response" in served(root(closed), delegate({"route": [to("v1")]}))[0]
    own = {"timeout": "1s", "retries": {"attempts": 1}, "mirror": {"host": "reviews", "subset": "v2"}}
    mixed = served(root(settings), delegate({**own, "route": [to("v1")]}))[0]["route"]
    assert (mixed["timeout"], mixed["retry_policy"]["num_retries"], mixed["prefix_rewrite"]) == ("1s", 1, "/r")
    assert "|v2|" in mixed["request_mirror_policies"][0]["cluster"]
    assert mixed["request_mirror_policies"][0]["runtime_fraction"]["default_value"]["numerator"] == 50000


# Matches


def merged(roots: list[Json], leaves: list[Json]) -> list[Json] | None:
    """The matches of one delegated entry; None where it is dropped."""
    found = merged_entries({"match": roots}, [{"match": leaves}])
    return found[0][1]["match"] if found else None


@pytest.mark.parametrize(
    ("of_root", "of_leaf", "fits"),
    [
        ({"uri": {"prefix": "/a"}}, {"uri": {"prefix": "/a/b"}}, True),
        ({"uri": {"prefix": "/a"}}, {"uri": {"exact": "/a/b"}}, True),
        ({"uri": {"prefix": "/a"}}, {"uri": {"prefix": "/b"}}, False),
        ({"uri": {"prefix": "/a/b"}}, {"uri": {"prefix": "/a"}}, False),
        ({"uri": {"exact": "/a"}}, {"uri": {"exact": "/a"}}, True),
        ({"uri": {"exact": "/a"}}, {"uri": {"prefix": "/a"}}, False),
        ({"uri": {"exact": "/a"}}, {"uri": {"exact": "/b"}}, False),
        ({"uri": {"regex": "/a"}}, {"uri": {"regex": "/a"}}, False),
        ({"uri": {"prefix": "/"}}, {"uri": {"regex": "/a"}}, False),
        ({"uri": {"regex": "/a"}}, {"method": {"exact": "GET"}}, True),
        ({"method": {"exact": "GET"}}, {"method": {"exact": "PUT"}}, False),
        ({"headers": {"x": {"prefix": "a"}}}, {"headers": {"x": {"exact": "ab"}}}, True),
        ({"headers": {"x": {"exact": "a"}}}, {"headers": {"x": {"exact": "b"}}}, False),
        ({"headers": {"x": {"exact": "a"}}}, {"headers": {"y": {"exact": "b"}}}, True),
        ({"headers": {"x": {}}}, {"headers": {"x": {"exact": "b"}}}, False),
        ({"withoutHeaders": {"x": {"exact": "a"}}}, {"withoutHeaders": {"x": {"exact": "b"}}}, False),
        ({"queryParams": {"q": {"exact": "1"}}}, {"queryParams": {"q": {"exact": "2"}}}, False),
        ({"ignoreUriCase": True}, {"uri": {"exact": "/"}}, False),
        ({"port": 80}, {"port": 81}, False),
        ({"port": 80}, {}, True),
        ({"sourceNamespace": "a"}, {}, False),
        ({"sourceNamespace": "a"}, {"sourceNamespace": "a"}, True),
        ({"sourceLabels": {"a": "1"}}, {"sourceLabels": {"b": "1"}}, True),
        ({"sourceLabels": {"a": "1"}}, {"sourceLabels": {"a": "2"}}, False),
        ({"gateways": ["mesh", "a/b"]}, {"gateways": ["mesh"]}, True),
        ({"gateways": ["mesh"]}, {"gateways": ["mesh", "a/b"]}, False),
    ],
)
def test_a_match_of_the_delegate_must_lie_within_one_of_the_roots(of_root: Json, of_leaf: Json, fits: bool) -> None:
    """Otherwise the delegate's entry is dropped: a team cannot take more than it was given."""
    assert (merged([of_root], [of_leaf]) is not None) == fits


def test_merged_matches_ask_for_both() -> None:
    of_root = {"name": "r", "uri": {"prefix": "/a"}, "headers": {"x": {"exact": "1"}}, "port": 9080}
    of_leaf = {"name": "l", "method": {"exact": "GET"}, "headers": {"y": {"exact": "2"}}}
    assert merged([of_root], [of_leaf]) == [
        {
            "name": "r-l",
            "uri": {"prefix": "/a"},
            "method": {"exact": "GET"},
            "headers": {"x": {"exact": "1"}, "y": {"exact": "2"}},
            "port": 9080,
        }
    ]


def test_each_pair_of_matches_that_fits_is_one() -> None:
    roots: list[Json] = [{"uri": {"prefix": "/a"}}, {"uri": {"prefix": "/b"}}]
    assert merged(roots, [{"method": {"exact": "GET"}}]) == [
        {"uri": {"prefix": "/a"}, "method": {"exact": "GET"}},
        {"uri": {"prefix": "/b"}, "method": {"exact": "GET"}},
    ]
    assert merged(roots, [{"uri": {"exact": "/b/c"}}]) == [{"uri": {"exact": "/b/c"}}]
    assert merged(roots, [{"uri": {"exact": "/b/c"}}, {"uri": {"exact": "/d"}}]) is None
    assert merged(roots, []) == roots
    assert merged([], [{"uri": {"exact": "/d"}}]) == [{"uri": {"exact": "/d"}}]


def test_only_the_entry_that_conflicts_is_lost() -> None:
    found = served(
        root({"match": [{"uri": {"prefix": "/a"}}]}),
        delegate({"match": [{"uri": {"prefix": "/b"}}], "route": [to("v3")]}, {"route": [to("v1")]}),
    )
    assert [(each["match"], shares(each)) for each in found] == [({"prefix": "/a"}, {V1: 100})]


def test_a_refusal_names_the_delegate_and_who_asked_for_it() -> None:
    first = {"match": [{"uri": {"exact": "/"}}], "route": [to("v1")]}
    words = r"VirtualService default/team, http\[1\], to which VirtualService default/root, http\[0\] delegates: `warp`"
    with pytest.raises(Rejected, match=words):
        served(root(), delegate(first, {"route": [to("v1")], "warp": 9}))


def test_delegation_goes_one_level_deep() -> None:
    """Istio's webhook refuses a delegate that delegates; here its entry has no way to answer."""
    with pytest.raises(Rejected, match="`delegate`"):
        served(root(), delegate({"delegate": {"name": "third"}}))
