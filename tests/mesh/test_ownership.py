"""Which operations take our entries out of managedFields; what an API server makes of them: tests/contracts."""

from __future__ import annotations

from typing import Any

import pytest

from canaryd.lab.kubernetes.status import ApiError
from canaryd.mesh.ownership import disown_patch
from canaryd.mesh.weights import marker_key
from tests.mesh.objects import applied, at, marker

Object = dict[str, Any]


def entry(manager: str, operation: str = "Update", **more: str) -> Object:
    return {"manager": manager, "operation": operation, "apiVersion": "networking.istio.io/v1", **more}


def owned(*entries: Object, plans: tuple[str, ...] = ("reviews",)) -> Object:
    found = at(100, 0)
    found["metadata"]["managedFields"] = list(entries)
    found["metadata"]["annotations"] = {marker_key(plan): marker().dump() for plan in plans}
    return found


def left(found: Object, plan: str = "reviews") -> list[Object]:
    fields: list[Object] = applied(found, disown_patch(found, plan, "canaryd"))["metadata"]["managedFields"]
    return fields


def test_our_entries_go_and_no_other() -> None:
    """Two of ours: a cluster that was asked as v1beta1 first, and as v1 later."""
    old = entry("canaryd", apiVersion="networking.istio.io/v1beta1")
    others = [entry("argocd-controller", "Apply"), entry("kubectl-edit"), entry("helm")]
    found = owned(others[0], old, others[1], entry("canaryd"), others[2])
    assert left(found) == others


@pytest.mark.parametrize(
    "kept",
    [
        entry("canaryd", "Apply"),
        entry("canaryd", subresource="status"),
        entry("canaryd-of-somebody"),
    ],
    ids=["applied", "status", "a name that begins the same"],
)
def test_what_is_not_made_by_our_patches_stays(kept: Object) -> None:
    assert left(owned(kept, entry("canaryd"))) == [kept]


def test_nothing_to_do() -> None:
    assert disown_patch(owned(entry("helm")), "reviews", "canaryd") == []
    assert disown_patch({"metadata": {"name": "reviews"}}, "reviews", "canaryd") == []


def test_as_long_as_another_plan_has_its_marker_the_entry_stays() -> None:
    found = owned(entry("helm"), entry("canaryd"), plans=("reviews", "checkout"))
    assert disown_patch(found, "reviews", "canaryd") == []
    del found["metadata"]["annotations"][marker_key("checkout")]
    assert left(found) == [entry("helm")]


def test_an_entry_alone_is_replaced_by_an_empty_one() -> None:
    """The API server takes an empty list for one that was left out, and keeps what it had."""
    assert left(owned(entry("canaryd"))) == [{}]


def test_a_list_that_was_rearranged_meanwhile_is_left_alone() -> None:
    """The whole patch is guarded by the resourceVersion; this is the second lock on other managers' entries."""
    patch = disown_patch(owned(entry("helm"), entry("canaryd")), "reviews", "canaryd")
    with pytest.raises(ApiError):
        applied(owned(entry("canaryd"), entry("helm")), patch)
