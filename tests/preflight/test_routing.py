"""Whose word counts, held against the lab's own translation of Istio's rules, on any mesh of VirtualServices."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from canaryd.lab.istiod.hosts import covers, specificity
from canaryd.lab.istiod.objects import age_of
from canaryd.lab.istiod.virtualservices import bound_to, virtual_services
from canaryd.mesh.routing import MESH, exported_to, full_gateway, hosts_of, in_order, speaks_for
from tests.preflight.objects import virtual_service

Object = dict[str, Any]
PLACES = ("books", "default", "shops")
HOST = "reviews.books.svc.cluster.local"
HOSTS = (HOST, "reviews", "*.books.svc.cluster.local", "*.svc.cluster.local", "reviews.books", "ratings")
EXPORTS: tuple[list[str] | None, ...] = (None, ["*"], ["."], ["books"], ["shops", "."], ["~"])
GATEWAYS: tuple[list[str] | None, ...] = (None, ["mesh"], ["world"], ["world", "mesh"])


@st.composite
def meshes(draw: st.DrawFn) -> list[Object]:
    found = []
    for number in range(draw(st.integers(1, 5))):
        hosts = draw(st.lists(st.sampled_from(HOSTS), min_size=1, max_size=2, unique=True))
        spec = {"exportTo": draw(st.sampled_from(EXPORTS)), "gateways": draw(st.sampled_from(GATEWAYS))}
        written = {key: value for key, value in spec.items() if value}
        each = virtual_service(f"v{number}", *hosts, namespace=draw(st.sampled_from(PLACES)), **written)
        each["metadata"]["creationTimestamp"] = f"2026-01-0{draw(st.integers(1, 3))}T00:00:00Z"
        found.append(each)
    return found


def obeyed_in_the_lab(mesh: list[Object], namespace: str) -> str:
    """The name of the VirtualService that speaks for the host to sidecars in ``namespace``."""
    bound = bound_to(virtual_services(sorted(mesh, key=age_of)), MESH, namespace)
    claims = [(pattern, one.name) for one in bound for pattern in one.hosts if covers(pattern, HOST)]
    return max(claims, key=lambda each: specificity(each[0]), default=("", ""))[1]


@settings(max_examples=300, deadline=None)
@given(meshes(), st.sampled_from(PLACES))
def test_who_is_obeyed_is_who_the_labs_istiod_obeys(mesh: list[Object], namespace: str) -> None:
    first = next(iter(speaks_for(HOST, in_order(mesh, namespace, {}))), None)
    assert (first["metadata"]["name"] if first else "") == obeyed_in_the_lab(mesh, namespace)


def test_names_of_gateways_and_hosts_are_completed_as_istiod_does() -> None:
    """A host with a dot is taken as it is."""
    assert {full_gateway(one, "books") for one in ("gw", "./gw", "books/gw", "gw.books.svc.cluster.local")} == {
        "books/gw"
    }
    found = virtual_service("a", "reviews", "reviews.books", "*", "10.0.0.1", namespace="books")
    assert hosts_of(found) == (HOST, "reviews.books", "*", "10.0.0.1")


def test_the_meshs_default_says_who_sees_what_says_nothing() -> None:
    found = virtual_service("a", "reviews", namespace="books")
    assert exported_to(found, {}) == ("*",)
    assert exported_to(found, {"defaultVirtualServiceExportTo": ["."]}) == ("books",)
    found["spec"]["exportTo"] = ["~"]
    assert exported_to(found, {}) == ()
